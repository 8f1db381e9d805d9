"""Compressed bodies, inflated within a bound.

A small body that would become a huge one is stopped on the way, before it takes the memory.
"""

from __future__ import annotations

import zlib

from andon.kernel.errors import Refused

MEMBERS_MAX = 64  # of one gzip body; each costs a copy of what follows it

_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def inflate(data: bytes, encoding: str, bytes_max: int) -> bytes:
    """The body as it was before `content-encoding` (RFC 9110 §8.4: gzip, deflate, identity).

    Raises `Refused` 415 for another encoding, 413 beyond `bytes_max`, 400 for bytes that do not inflate.
    """
    if encoding in ("", "identity"):
        if len(data) > bytes_max:
            raise _too_large(bytes_max)
        return data
    window = _WINDOWS.get(encoding)
    if window is None:
        raise Refused(
            "encoding_unsupported",
            f"Bodies in '{encoding[:40]}' are not taken.",
            hint="Send it as it is, or compressed with gzip.",
            status=415,
        )
    pieces: list[bytes] = []
    room, rest = bytes_max, data
    while rest:
        if len(pieces) == MEMBERS_MAX:
            raise _malformed(encoding)
        # A gzip body may have several members, one after another (RFC 1952 §2.2).
        inflater = zlib.decompressobj(window)
        try:
            piece = inflater.decompress(rest, room + 1)
        except zlib.error as error:
            raise _malformed(encoding) from error
        room -= len(piece)
        if room < 0:
            raise _too_large(bytes_max)
        if not inflater.eof:
            raise _malformed(encoding)
        pieces.append(piece)
        rest = inflater.unused_data if encoding != "deflate" else b""
    return b"".join(pieces)


def _malformed(encoding: str) -> Refused:
    return Refused(
        "malformed_encoding", f"The body is not {encoding}, or is cut short.", hint="Send all of it."
    )


def _too_large(bytes_max: int) -> Refused:
    return Refused(
        "body_too_large",
        f"The body is larger than {bytes_max} bytes.",
        hint="Send it in several parts.",
        status=413,
    )
