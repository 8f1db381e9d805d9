"""Which requests have one meaning only: framing headers, request targets and status lines, as pure rules.

The parser (llhttp, strict) refuses most of what is ambiguous; these rules refuse the rest. The first line of defence
against request smuggling: when two readers could disagree about where a message ends, nobody reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from andon.wire.model import Header

FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"host", b"expect", b"upgrade"})
_LENGTH_DIGITS_MAX: Final = 15
BODILESS: Final = frozenset({204, 304})
STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}


class Rejection(Exception):
    """A request that the protocol itself refuses; raised inside parser callbacks to stop the parser."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def status_line(status: int) -> bytes:
    """`HTTP/1.1 200 OK` with its line end, also for codes that no registry knows."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status


def read_framing(method: bytes, version: str, special: Sequence[Header]) -> tuple[int, bool, bool]:
    """How a request's body is delimited, from the headers named in `FRAMING` (RFC 9112 §3.2, §6).

    Its length in bytes or -1 for chunked, whether the client expects a 100, whether it offers an upgrade.
    Raises `Rejection`.
    """
    if version != "1.1" and version != "1.0":
        raise Rejection(505, "http_version", f"HTTP/{version} is not served; use HTTP/1.1.")
    if method == b"CONNECT":
        raise Rejection(501, "connect_refused", "CONNECT is not served: this is not a proxy.")
    hosts = 0
    length: int | None = None
    expects_continue = offers_upgrade = False
    for name, value in special:
        if name == b"host":
            hosts += 1
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise Rejection(417, "expectation", "The only expectation served is 100-continue.")
            expects_continue = version == "1.1"
        elif name == b"upgrade":
            # An offer of h2c is ignored, as RFC 9110 §7.8 allows: some clients make it on every first request.
            offers_upgrade = True
            if value.lower() != b"h2c":
                raise Rejection(400, "upgrade_refused", "No protocol can be upgraded to here; send HTTP/1.1.")
        elif length is not None:
            raise Rejection(400, "ambiguous_length", "One Content-Length or one Transfer-Encoding, not more.")
        else:
            length = _read_length(name, value, version)
    if hosts > 1 or (not hosts and version == "1.1"):
        raise Rejection(400, "host_header", "HTTP/1.1 needs exactly one Host header.")
    return length or 0, expects_continue, offers_upgrade


def _read_length(name: bytes, value: bytes, version: str) -> int:
    if name == b"content-length":
        if not value.isdigit() or len(value) > _LENGTH_DIGITS_MAX:
            raise Rejection(400, "content_length", "Content-Length must be one decimal number.")
        return int(value)
    if value.lower() != b"chunked" or version == "1.0":
        raise Rejection(400, "transfer_encoding", "Transfer-Encoding must be 'chunked', on HTTP/1.1.")
    return -1


def split_target(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request target; absolute form becomes origin form (RFC 9112 §3.2). Raises `Rejection`."""
    if not target.startswith(b"/"):
        target = _origin_form(method, target)
    if b"#" in target:
        raise Rejection(400, "request_target", "A request target has no fragment.")
    path, _, query = target.partition(b"?")
    return path, query


def _origin_form(method: bytes, target: bytes) -> bytes:
    if target == b"*" and method == b"OPTIONS":
        return target
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        raise Rejection(400, "request_target", "The request target must be a path.")
    end = min((at for at in (rest.find(b"/"), rest.find(b"?"), len(rest)) if at >= 0), default=0)
    authority, origin = rest[:end], rest[end:]
    if not authority or b"@" in authority:
        raise Rejection(400, "request_target", "The request target's authority must be a plain host.")
    return origin if origin.startswith(b"/") else b"/" + origin
