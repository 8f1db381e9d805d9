"""Problem details (RFC 9457): every error of the admin API is rendered here and nowhere else.

Deliberate errors keep their code, words and hint. Anything else is a bug: it gets an id to find it by in the log, and
nothing of what is inside leaves the process.
"""

from __future__ import annotations

import math
import re
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from andon.kernel.errors import AndonError, Refused, Transient
from andon.kernel.redaction import calm

MEDIA_TYPE = "application/problem+json"
_LOCATED = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing at fault: a field, and the line of a factory file where it stands."""

    path: str
    message: str
    hint: str = ""
    file: str = ""
    line: int = 0


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong, for people and for programs. `code` is stable; words may change."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    hint: str = ""
    param: str = ""
    request_id: str = ""
    errors: tuple[Fault, ...] = ()


def title_of(code: str) -> str:
    """`key_not_found` → `Key not found`."""
    return code.replace("_", " ").capitalize()


def details(error: AndonError, request_id: str) -> ProblemDetails:
    """The body for a deliberate error. Errors that carry `faults` list each of them."""
    listed = getattr(error, "faults", ())
    return ProblemDetails(
        type=f"/problems/{error.code}",
        title=title_of(error.code),
        status=error.status,
        code=error.code,
        detail=error.message,
        hint=error.hint,
        param=error.param or "",
        request_id=request_id,
        errors=tuple(msgspec.convert(one, Fault, from_attributes=True) for one in listed),
    )


def render(error: AndonError, request_id: str) -> Response:
    """The answer for a deliberate error."""
    headers = {}
    if isinstance(error, Transient):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
        headers["x-should-retry"] = "true" if error.should_retry else "false"
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = 'Bearer realm="andon"'
    body = msgspec.json.encode(details(error, request_id))
    return Response(body, error.status, headers, MEDIA_TYPE)


def render_bug(request_id: str) -> Response:
    """The answer when the product itself is wrong: an id, and no internals."""
    problem = ProblemDetails(
        type="/problems/internal_error",
        title=title_of("internal_error"),
        status=500,
        code="internal_error",
        detail=f"Andon failed on this request ({request_id}); this is a defect, not something you did.",
        hint="Look for this id in .andon/logs and report what you find there.",
        request_id=request_id,
    )
    return Response(msgspec.json.encode(problem), 500, None, MEDIA_TYPE)


def render_http(status: int, method: str, path: str, allow: str, request_id: str) -> Response:
    """The answers of the router: no such path, no such method."""
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        error = Refused(
            "method_not_allowed",
            f"{method} is not offered at {calm(path)}.",
            hint=f"Use {allow}.",
            status=status,
        )
    else:
        error = Refused(
            "route_not_found",
            f"There is nothing at {calm(path)}.",
            hint="GET /openapi.json lists every route.",
            status=404,
        )
    answer = render(error, request_id)
    if allow:
        answer.headers["allow"] = allow
    return answer


def field_refused(error: msgspec.ValidationError, place: str) -> Refused:
    """A typed decode that failed, with the path of the field: `spec.steps[1].weight`.

    `place` says where the value came from: "body", "query" or "path".
    """
    match = _LOCATED.match(str(error))
    what = calm(match["what"] if match else str(error))
    path = ((match["path"] if match else "") or "").removeprefix("$").removeprefix(".")
    named = re.search(r"field `([^`]*)`", what)
    if named and ("unknown" in what or "missing" in what):
        path = f"{path}.{named[1]}".removeprefix(".")
    path = calm(path)
    where = f"{place} at `{path}`" if path else place
    return Refused(
        "invalid_parameter" if place != "body" else "invalid_field",
        f"The {where} is not what this route takes: {what}.",
        hint="GET /openapi.json describes every field.",
        param=path or None,
    )
