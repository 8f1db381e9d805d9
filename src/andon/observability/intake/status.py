"""Errors as OTLP/HTTP writes them: a `google.rpc.Status` in the content type of the request. Imports no protobuf.

OTLP specification 1.x, "OTLP/HTTP Response"; read by control as well, which forwards and refuses by itself.
"""

from __future__ import annotations

import math

import msgspec

from andon.kernel.errors import AndonError, Transient

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
MESSAGE_BYTES_MAX = 2000

# HTTP status to google.rpc.Code (google/rpc/code.proto).
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 413: 8, 415: 3, 422: 3, 429: 8, 502: 14, 503: 14, 504: 4}
_INTERNAL = 13


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of OTLP/HTTP."""

    status: int
    body: bytes
    media_type: str
    retry_after_s: int = 0


def render_status(error: AndonError, content_type: str) -> Reply:
    """The answer for an error: JSON to those who sent JSON, protobuf to all others."""
    code = _CODES.get(error.status, _INTERNAL)
    message = str(error)
    is_json = content_type.partition(";")[0].strip().lower() == JSON
    body = msgspec.json.encode({"code": code, "message": message}) if is_json else _encode(code, message)
    return Reply(
        status=error.status,
        body=body,
        media_type=JSON if is_json else PROTOBUF,
        retry_after_s=math.ceil(error.retry_after_s) if isinstance(error, Transient) else 0,
    )


def _encode(code: int, message: str) -> bytes:
    """Field 1 (int32) and field 2 (string) of google.rpc.Status, in the protobuf wire format."""
    text = message.encode()[:MESSAGE_BYTES_MAX].decode(errors="ignore").encode()
    return b"\x08" + _varint(code) + b"\x12" + _varint(len(text)) + text


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
