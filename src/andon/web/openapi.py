"""The OpenAPI 3.1 document of the admin API, made from the route table and the types it names.

Pure: the same table gives the same document, which is kept as a golden file and fuzzed against the running app.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from andon.kernel.access import OPEN
from andon.web.problems import MEDIA_TYPE, ProblemDetails
from andon.web.routes import Bytes, Route

_REF = "#/components/schemas/{name}"
_PROBLEM = {
    "description": "What went wrong, as problem details (RFC 9457).",
    "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="ProblemDetails")}}},
}


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The whole document."""
    types = list(dict.fromkeys(_types(routes)))
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    named = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {"/openapi.json": {"get": _self_operation()}}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, named)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Andon admin API",
            "version": version,
            "description": "Desired state, releases, keys and the ledger of one factory.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "responses": {"Problem": _PROBLEM},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _types(routes: Sequence[Route]) -> Iterable[Any]:
    yield ProblemDetails
    for route in routes:
        yield route.response
        if route.request is not None and route.request is not Bytes:
            yield route.request
        if route.shape is not None:
            yield route.shape


def _self_operation() -> dict[str, Any]:
    return {
        "operationId": "getOpenapi",
        "summary": "This document",
        "security": [],
        "responses": {
            "200": {
                "description": "This document",
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            "default": {"$ref": "#/components/responses/Problem"},
        },
    }


def _operation(route: Route, named: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": named[route.response]}}
    if route.streaming:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    if route.request is not Bytes:
        binary = {"type": "string", "format": "binary"}
        content |= {media_type: {"schema": binary} for media_type in route.media_types}
    responses: dict[str, Any] = {"200": {"description": route.summary, "content": content}}
    if route.onward:
        responses = {
            "303": {"description": route.summary, "headers": {"location": {"schema": {"type": "string"}}}}
        }
    if route.may_be_unchanged:
        responses["304"] = {"description": "Nothing newer than what the caller has."}
    if route.may_be_unready:
        responses["503"] = {"description": "The same, when it does not hold.", "content": content}
    responses["default"] = {"$ref": "#/components/responses/Problem"}
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.action.partition(".")[0]],
        "x-action": route.action,
        "responses": responses,
    }
    if route.problem is not None:
        # By the form of the request; control answers for an observer that is away in the same form.
        forms: dict[str, Any] = {media_type: {"schema": {}} for media_type in route.media_types}
        responses["default"] = {"description": "What went wrong, as this protocol says it.", "content": forms}
    if route.action == OPEN:
        operation["security"] = []
    parameters = [*_parameters(route.params, "path"), *_parameters(route.query, "query")]
    if parameters:
        operation["parameters"] = parameters
    if route.request is not None:
        operation["requestBody"] = _request_body(route, named)
    return operation


def _request_body(route: Route, named: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    if route.request is Bytes:
        binary = {"schema": {"type": "string", "format": "binary"}}
        content: dict[str, Any] = dict.fromkeys(route.media_types or ("*/*",), binary)
        if route.shape is not None:
            content["application/json"] = {"schema": named[route.shape]}
        return {"required": True, "content": content}
    return {
        "required": any(field.required for field in msgspec.structs.fields(route.request)),
        "content": {"application/json": {"schema": named[route.request]}},
    }


def _parameters(type_: type[msgspec.Struct], place: str) -> Iterable[dict[str, Any]]:
    (whole,), components = msgspec.json.schema_components([type_], ref_template="{name}")
    body = components[whole["$ref"]]
    for name, schema in body["properties"].items():
        described = dict(schema)
        parameter: dict[str, Any] = {"name": name, "in": place}
        if "description" in described:
            parameter["description"] = described.pop("description")
        parameter["required"] = place == "path" or name in body.get("required", ())
        parameter["schema"] = described
        yield parameter
