"""Trace context: how a request is followed through systems that know nothing of one another. Pure.

Reads and writes `traceparent` (W3C Trace Context, level 2) and `X-Amzn-Trace-Id` (AWS X-Ray tracing header). Every id
that the gateway itself gives is a function of the request's UUIDv7, so that it costs nothing on the path and whoever
reads the ledger later derives the same ids without being told.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final, NamedTuple

_ATTEMPTS_MAX: Final = 126  # attempts beyond share a span id; no gateway makes as many
_NUMBERS: Final = tuple(f"{number + 1:02x}" for number in range(_ATTEMPTS_MAX))
_COPY: Final = "7f"  # first byte of the span of a shadow copy
_PARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[\x20-\x7e]*)?")
_ROOT: Final = re.compile(r"1-([0-9a-f]{8})-([0-9a-f]{24})")
_SPAN: Final = re.compile(r"[0-9a-f]{16}")
# Formatted with %, which is faster than an f-string: these are made for every request.
_TRACE_FORM: Final = "%08x%s%s%s%s"
_BEGUN_FORM: Final = "00-%s-%s-01"
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16
_KNOWN_FLAGS: Final = 0x03  # sampled, and random trace id (level 2); others must not be passed on
_XRAY_BYTES_MAX: Final = 512


class Trace(NamedTuple):
    """A trace context: which trace, whose child, and whether it is being recorded."""

    trace_id: str  # 32 hexadecimal digits in lower case, not all zero
    parent_id: str  # span of the caller: 16 hexadecimal digits; empty where the caller named none
    flags: int = 1  # 1 = sampled, 2 = the trace id is random
    is_xray: bool = False  # the caller speaks X-Ray, so it is answered and passed on in that form too


def trace_id_of(id_: str) -> str:
    """The trace id that a gateway begins for a request: seconds since the epoch, then the UUID from its 9th digit on.

    X-Ray wants the time in the first 32 bits; the digits left out are in those seconds, so ids stay as unique as
    the requests' own.
    """
    seconds = int(id_[:8] + id_[9:13], 16) // 1000
    return _TRACE_FORM % (seconds, id_[9:13], id_[14:18], id_[19:23], id_[24:])


def server_span_of(id_: str) -> str:
    """The span of the whole exchange: the last 64 bits of its UUID. Their first byte is 80 to bf (RFC 9562 §4.1)."""
    return id_[19:23] + id_[24:]


def attempt_span_of(id_: str, attempt: int) -> str:
    """The span of one attempt: the exchange's with its first byte replaced by the attempt's number from 01 to 7e."""
    number = _NUMBERS[attempt] if attempt < _ATTEMPTS_MAX else _NUMBERS[-1]
    return number + id_[21:23] + id_[24:]


def copy_span_of(id_: str) -> str:
    """The span of a shadow copy: first byte 7f."""
    return _COPY + id_[21:23] + id_[24:]


def part_span_of(id_: str, attempt: int, part: str) -> str:
    """The span of a part of an exchange or attempt (`queue`, `connect`, `guard`): a hash, first byte c0 to ff."""
    digest = blake2b(f"{id_}/{attempt}/{part}".encode(), digest_size=8).digest()
    return f"{digest[0] | 0xC0:02x}{digest[1:].hex()}"


def begin(id_: str) -> str:
    """The `traceparent` of a request that came without one. Its parent is the exchange's own span: it has no other."""
    return _BEGUN_FORM % (trace_id_of(id_), server_span_of(id_))


class Beginnings:
    """`begin`, for who needs it for every request: the second is written once for the requests of a millisecond."""

    def __init__(self) -> None:
        self._stamp = ""
        self._second = ""

    def traceparent(self, id_: str) -> str:
        """As `begin`."""
        stamp = id_[:13]
        if stamp != self._stamp:
            self._stamp, self._second = stamp, trace_id_of(id_)[:8]
        digits = id_.replace("-", "")
        return _BEGUN_FORM % (self._second + digits[8:], digits[16:])


def render(id_: str, trace: Trace) -> str:
    """What the ledger remembers of a context that came in; without a caller's span, the exchange's own."""
    return f"00-{trace.trace_id}-{trace.parent_id or server_span_of(id_)}-{trace.flags:02x}"


def pass_on(id_: str, attempt: int, traceparent: str) -> bytes:
    """The `traceparent` for an upstream: that of the exchange, with the attempt's span as the parent."""
    number = _NUMBERS[attempt] if attempt < _ATTEMPTS_MAX else _NUMBERS[-1]
    return (traceparent[:36] + number + id_[21:23] + id_[24:] + traceparent[52:]).encode()


def pass_on_copy(id_: str, traceparent: str) -> bytes:
    """The `traceparent` for the target of a shadow copy."""
    return f"{traceparent[:36]}{copy_span_of(id_)}{traceparent[52:]}".encode()


def pass_on_xray(id_: str, attempt: int, trace: Trace) -> bytes:
    """The `X-Amzn-Trace-Id` for an upstream of a caller that used it."""
    return (
        f"Root=1-{trace.trace_id[:8]}-{trace.trace_id[8:]};"
        f"Parent={attempt_span_of(id_, attempt)};Sampled={trace.flags & 1}"
    ).encode()


def parse_traceparent(value: bytes) -> Trace | None:
    """A W3C context; None for one that must be ignored. Later versions are read as far as version 00 goes (§3.2.4)."""
    match = _PARENT.fullmatch(value)
    if match is None:
        return None
    version, trace_id, parent_id, flags, more = match.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    trace, parent = trace_id.decode(), parent_id.decode()
    if trace == _NO_TRACE or parent == _NO_SPAN:
        return None
    return Trace(trace, parent, int(flags, 16) & _KNOWN_FLAGS)


def parse_xray(value: bytes) -> Trace | None:
    """An X-Ray context; None without a valid Root. Without Parent the trace goes on and the caller's span is unknown.

    `Sampled=0` is obeyed; `1`, `?` (undecided) and silence mean that it is recorded, as the ledger does anyway.
    Fields of others (`Self`, `Lineage`) are left out.
    """
    if len(value) > _XRAY_BYTES_MAX:
        return None
    fields: dict[str, str] = {}
    for part in value.decode("latin-1").split(";"):
        name, _, text = part.strip().partition("=")
        if name in fields:
            return None
        fields[name] = text
    root = _ROOT.fullmatch(fields.get("Root", ""))
    parent, sampled = fields.get("Parent", ""), fields.get("Sampled", "?")
    if root is None or (parent and not _SPAN.fullmatch(parent)) or sampled not in ("0", "1", "?", ""):
        return None
    trace_id = root[1] + root[2]
    if trace_id == _NO_TRACE or parent == _NO_SPAN:
        return None
    return Trace(trace_id, parent, 0 if sampled == "0" else 1, True)


def recall(id_: str, traceparent: str | None) -> Trace:
    """The context of a row, from its id and its `traceparent`; an empty parent means that the exchange is the root."""
    trace = parse_traceparent(traceparent.encode()) if traceparent else None
    if trace is None:
        return Trace(trace_id_of(id_), "")
    return trace._replace(parent_id="") if trace.parent_id == server_span_of(id_) else trace


def to_xray(trace_id: str) -> str:
    """A trace id in X-Ray's form; whether its first 32 bits are a time is up to whoever began the trace."""
    return f"1-{trace_id[:8]}-{trace_id[8:]}"
