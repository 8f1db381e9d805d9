"""The route table: what the admin API offers, stated once.

The application, the authorisation and the OpenAPI document are all made from these values. A route that does not say
which action it is cannot be built, so nothing is ever open by omission.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Literal

import msgspec

from andon.kernel.access import Resource
from andon.kernel.errors import AndonError
from andon.kernel.principals import Principal
from andon.web.authentication import NO_VISIT, Visit

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class Nothing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No parameters."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request, already authorised and decoded: what a handler gets."""

    id: str
    principal: Principal
    address: str = ""  # where it came from
    path: Any = Nothing()
    query: Any = Nothing()
    body: Any = None
    last_event_id: str = ""  # where a follower left off
    visit: Visit = NO_VISIT  # what a browser added by itself
    authorization: str = ""  # as sent, for routes that are open and yet ask who it is
    accept: str = ""  # what the caller would like to read, for the few routes that offer a choice


class Bytes(msgspec.Struct, frozen=True, kw_only=True):
    """A body that is not JSON of this API, as it came."""

    data: bytes
    content_type: str  # media type in lower case, without parameters
    encoding: str  # of the content: "identity", "gzip"


class ServerEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One server-sent event (WHATWG HTML §9.2). `data` is encoded as JSON on one line."""

    data: Any
    id: str = ""
    name: str = ""


class Stream(msgspec.Struct, frozen=True):
    """An answer without an end: events as they happen, None for a sign of life."""

    events: AsyncIterator[ServerEvent | None]


class Raw(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that are JSON already, or nothing with a status of its own such as 304."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = {}


class Named(msgspec.Struct, frozen=True):
    """What a route acts upon, where its path names one thing of a kind."""

    kind: str
    field: str = "name"  # of the path parameters

    def __call__(self, params: Any) -> Resource:
        """The thing that these path parameters name."""
        return Resource(kind=self.kind, name=getattr(params, self.field))


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One operation: what comes in, what goes out, who may, and the verb that does it."""

    method: Literal["GET", "POST"]
    path: str  # "/v1/resources/{kind}/{name}"
    name: str  # operationId: "getResource"
    action: str  # "factory.read"; `OPEN` only where it is meant
    summary: str
    response: Any  # a type that msgspec can describe
    handler: Callable[[Call], Awaitable[Any]]
    params: type[msgspec.Struct] = Nothing  # path parameters
    resource: Callable[[Any], Resource] | None = None  # what is acted upon, from the decoded path parameters
    query: type[msgspec.Struct] = Nothing
    request: Any = (
        None  # type of the JSON body, `Bytes` for a body taken as it comes; None = no body is taken
    )
    body_bytes_max: int = 0  # 0 = the application's own limit
    shape: Any = None  # type of such a body where it is JSON, for the document
    problem: Callable[[AndonError, str], Raw] | None = (
        None  # a foreign protocol's own form of errors, by the request's media type; None = problem details
    )
    media_types: tuple[str, ...] = ()  # of a body taken as it comes, and of an answer that is not JSON
    elsewhere: bool = False  # answered by another process, which authorises and decodes
    here_otherwise: bool = False  # where that process does not answer, this route's own handler does
    onward: bool = False  # answers 303 and says where to go
    streaming: bool = False  # may also answer `text/event-stream`, with `follow=true`
    may_be_unchanged: bool = False  # may answer 304 without a body
    may_be_unready: bool = False  # may answer 503 with the same type as 200


def check_table(routes: Sequence[Route]) -> None:
    """Refuse a table that could not be served as written; raises ValueError naming the route."""
    seen: set[tuple[str, str]] = set()
    names: set[str] = set()
    for route in routes:
        if not route.action:
            raise ValueError(f"{route.method} {route.path} has no action: nobody could say who may call it")
        if (route.method, route.path) in seen or route.name in names:
            raise ValueError(f"{route.method} {route.path} ({route.name}) is there twice")
        seen.add((route.method, route.path))
        names.add(route.name)
        wanted = set(_PLACEHOLDER.findall(route.path))
        given = {field.encode_name for field in msgspec.structs.fields(route.params)}
        if wanted != given:
            raise ValueError(f"{route.method} {route.path} declares path parameters {sorted(given)}")
        if route.here_otherwise and route.request is not None:
            raise ValueError(f"{route.method} {route.path} takes a body, which cannot be read twice")
        if route.method == "GET" and route.request is not None:
            raise ValueError(f"GET {route.path} cannot take a body")
