"""Bodies: inputs and outputs of requests, where an endpoint records them; a log of their own with a quota of its own.

Written by the gateway after the answer has left, never waited for. A full or broken store of bodies loses bodies,
counted, and nothing else: facts and rows live elsewhere.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from andon.ledger.reader import Decode

SCHEMA_VERSION = 1


class Body(msgspec.Struct, array_like=True, tag="body", gc=False):
    """One input or output."""

    id: Annotated[str, Meta(description="the request")]
    attempt: Annotated[int, Meta(description="which attempt of it")] = 0
    at_ns: Annotated[int, Meta(description="wall time of writing, since the Unix epoch, UTC")] = 0
    endpoint: Annotated[str | None, Meta(description="name of the endpoint called")] = None
    release: Annotated[str | None, Meta(description="release that served, such as credit@2")] = None
    part: Annotated[str, Meta(description="input or output")] = "input"
    media_type: Annotated[str | None, Meta(description="as sent")] = None
    header_length: Annotated[
        int | None, Meta(description="bytes of JSON before binary tensors, where there are any")
    ] = None
    size_bytes: Annotated[int, Meta(description="of the whole body")] = 0
    truncated: Annotated[bool, Meta(description="data is only its beginning")] = False
    data: Annotated[bytes, Meta(description="the body, or its beginning")] = b""
    share: Annotated[float, Meta(description="chance with which it was recorded, in (0, 1]")] = 1.0
    key: Annotated[
        str | None, Meta(description="name of the key that data is sealed under; null = plain")
    ] = None


decode_bodies: Decode = msgspec.msgpack.Decoder(list[Body]).decode
