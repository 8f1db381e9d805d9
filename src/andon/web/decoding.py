"""What a request says, as typed values: path, query and JSON body, each refused with the field at fault.

Runs after authorisation, before the handler. It reads no more than the declared number of bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request

from andon.kernel.errors import Refused
from andon.web.problems import field_refused
from andon.web.routes import Bytes, Route


def decode_params(request: Request, route: Route) -> Any:
    """Path parameters in the route's type."""
    try:
        return msgspec.convert(request.path_params, route.params, strict=False)
    except msgspec.ValidationError as error:
        raise field_refused(error, "path") from error


def decode_query(request: Request, route: Route) -> Any:
    """Query parameters in the route's type. A parameter given twice is refused: nobody could say which one counts."""
    pairs = request.query_params.multi_items()
    values = dict(pairs)
    if len(values) != len(pairs):
        raise Refused(
            "invalid_parameter", "A query parameter is given twice.", hint="Give each of them once."
        )
    try:
        return msgspec.convert(values, route.query, strict=False)
    except msgspec.ValidationError as error:
        raise field_refused(error, "query") from error


async def decode_body(request: Request, route: Route, bytes_max: int) -> Any:
    """The JSON body in the route's type; nothing where the route takes none."""
    raw = await read_body(request, route.body_bytes_max or bytes_max)
    if route.request is Bytes:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if route.media_types and media_type not in route.media_types:
            raise Refused(
                "media_type_unsupported",
                f"The body must be {' or '.join(route.media_types)}.",
                hint="Set the content-type header to what the body is.",
                status=415,
            )
        encoding = request.headers.get("content-encoding", "identity").lower()
        return Bytes(data=raw, content_type=media_type, encoding=encoding)
    if route.request is None:
        if raw:
            raise Refused(
                "body_unexpected", "This route takes no body.", hint="Send the request without one."
            )
        return None
    if raw:
        _check_media_type(request)
    try:
        return msgspec.json.decode(raw or b"{}", type=route.request)
    except msgspec.ValidationError as error:
        raise field_refused(error, "body") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(
            "malformed_json", f"The body is not JSON: {error}.", hint="Send one JSON object, in UTF-8."
        ) from error
    except RecursionError as error:
        raise Refused(
            "malformed_json", "The body is nested too deeply.", hint="Send a flatter one."
        ) from error


def _check_media_type(request: Request) -> None:
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if media_type.strip().lower() != "application/json" or charset not in ("", "utf-8"):
        raise Refused(
            "media_type_unsupported",
            "The body must be application/json in UTF-8.",
            hint="Send 'content-type: application/json'.",
            status=415,
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(
            "media_type_unsupported", "Compressed bodies are not taken.", hint="Send it as it is.", status=415
        )


async def read_body(request: Request, bytes_max: int) -> bytes:
    """The whole body; raises `Refused` 413 beyond `bytes_max`."""
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > bytes_max:
            raise Refused(
                "body_too_large",
                f"The body is larger than {bytes_max} bytes.",
                hint="Send it in several parts.",
                status=413,
            )
        pieces.append(piece)
    return b"".join(pieces)
