"""The admin API as an ASGI application, built from a route table.

Each request: host check → route → authorise → decode → one verb → encode. Handlers see typed values and raise the
kernel's errors; they never see HTTP. Nothing here knows what the routes are about.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from andon.kernel.access import OPEN, Resource
from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Refused, Transient
from andon.kernel.ids import Ids
from andon.kernel.principals import NOBODY, Principal
from andon.kernel.redaction import calm
from andon.web import decoding, problems
from andon.web.authentication import ATTEMPT_COOKIE, SESSION_COOKIE, Authenticator, Visit, cookie_name
from andon.web.authorisation import Authoriser
from andon.web.openapi import document
from andon.web.routes import Call, Raw, Route, ServerEvent, Stream, check_table

_SECURITY_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)


PEER = "andon.peer"  # in a request's scope: the process that its TLS certificate stands for


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one caller may ask of the API at most."""

    body_bytes_max: int = 8 * 2**20
    streams_max: int = 64  # followers at one time; more are told to come back
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")  # against DNS rebinding


class Forwarded(msgspec.Struct, frozen=True, kw_only=True):
    """A request on its way to the process that answers it, and back."""

    method: str
    path: str  # with the query
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What the other process said."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


Forward = Callable[[Forwarded], Awaitable[Answered]]


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What the application is given by `app`."""

    authenticator: Authenticator
    authoriser: Authoriser
    clock: Clock
    ids: Ids
    version: str
    limits: Limits = Limits()
    forward: Forward | None = None  # for routes that are answered elsewhere
    mutual: bool = False  # whether a gateway must show a gateway's certificate besides its key


def build_application(routes: Sequence[Route], surroundings: Surroundings) -> ASGIApp:
    """The ASGI application; raises ValueError if the table cannot be served as written."""
    check_table(routes)
    text = msgspec.json.encode(document(routes, surroundings.version))
    streams = _Streams(surroundings.limits.streams_max)
    by_path: dict[str, dict[str, Route]] = {}
    for route in routes:
        by_path.setdefault(route.path, {})[route.method] = route
    table = [_openapi_route(text)]
    for path, methods in by_path.items():
        built = StarletteRoute(path, _endpoint(methods, surroundings, streams), methods=list(methods))
        # Starlette adds HEAD to every GET; a HEAD of a follower would never end.
        built.methods = set(methods)
        table.append(built)
    handlers = {HTTPException: _http_problem, AndonError: _problem, Exception: _bug}
    app = Starlette(routes=table, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return _Envelope(app, surroundings)


class _Streams:
    """Counts followers, so that they stay bounded."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._count = 0

    async def run(self, events: AsyncIterator[ServerEvent | None]) -> AsyncIterator[bytes]:
        self._count += 1
        try:
            async for event in events:
                yield encode_event(event)
        finally:
            self._count -= 1

    def check(self) -> None:
        if self._count >= self._maximum:
            raise Transient(
                "streams_exhausted",
                f"{self._maximum} followers are connected already.",
                hint="Close one, or ask without follow.",
                retry_after_s=5,
            )


def encode_event(event: ServerEvent | None) -> bytes:
    """One server-sent event as bytes; None is a comment that keeps the connection alive."""
    if event is None:
        return b":\n\n"
    lines = b""
    if event.id:
        lines += b"id: " + event.id.encode() + b"\n"
    if event.name:
        lines += b"event: " + event.name.encode() + b"\n"
    return lines + b"data: " + msgspec.json.encode(event.data) + b"\n\n"


def _openapi_route(text: bytes) -> StarletteRoute:
    async def serve(request: Request) -> Response:
        return Response(text, media_type="application/json")

    built = StarletteRoute("/openapi.json", serve, methods=["GET"])
    built.methods = {"GET"}
    return built


def _endpoint(
    methods: dict[str, Route], surroundings: Surroundings, streams: _Streams
) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        route = methods[request.method]
        if route.problem is None:
            return await answer(request, route)
        try:
            return await answer(request, route)
        except AndonError as error:
            request.scope["andon.code"] = error.code
            return _encode(route.problem(error, request.headers.get("content-type", "")), streams)

    async def answer(request: Request, route: Route) -> Response:
        # Authorised here as well as there: what nobody may do does not reach another process.
        principal = NOBODY
        if route.action != OPEN:
            header = request.headers.get("authorization")
            principal = await surroundings.authenticator.identify(header, visit_of(request))
            request.scope["andon.principal"] = principal.name
            if surroundings.mutual and principal.kind == "gateway":
                _check_peer(request)
            await _authorise(request, route, principal, surroundings.authoriser)
        if route.elsewhere:
            try:
                return await _forward(request, route, surroundings)
            except Transient:
                if not route.here_otherwise:
                    raise
        call = Call(
            id=request.scope["andon.request_id"],
            principal=principal,
            address=_address(request),
            visit=visit_of(request),
            # What needs nobody's permission may still ask who it is.
            authorization=request.headers.get("authorization", "") if route.action == OPEN else "",
            path=decoding.decode_params(request, route),
            query=decoding.decode_query(request, route),
            # A route with a fallback takes no body, and what there was has been read for forwarding.
            body=None
            if route.elsewhere
            else await decoding.decode_body(request, route, surroundings.limits.body_bytes_max),
            last_event_id=request.headers.get("last-event-id", "")[:200],
            accept=request.headers.get("accept", "")[:1000],
        )
        if route.streaming:
            streams.check()
        return _encode(await route.handler(call), streams)

    return serve


def _check_peer(request: Request) -> None:
    """A stolen key of the gateway is worth nothing without its certificate."""
    if request.scope.get(PEER) != "gateway":
        raise Refused(
            "certificate_missing",
            "This key is taken from a gateway only, and the caller has shown no gateway's certificate.",
            hint="Make one with `andon certs issue gateway`, and put it in the gateway's home.",
            status=401,
        )


async def _authorise(request: Request, route: Route, principal: Principal, authoriser: Authoriser) -> None:
    resource = (
        Resource() if route.resource is None else route.resource(decoding.decode_params(request, route))
    )
    id_, address = request.scope["andon.request_id"], _address(request)
    await authoriser.check(id_, principal, route.action, resource, address)


def visit_of(request: Request) -> Visit:
    """What the browser added by itself. A cookie with the prefix is taken by TLS only (RFC 6265bis §4.1.3)."""
    secure = request.url.scheme == "https"
    cookies, headers = request.cookies, request.headers
    return Visit(
        session=cookies.get(cookie_name(SESSION_COOKIE, secure), ""),
        attempt=cookies.get(cookie_name(ATTEMPT_COOKIE, secure), ""),
        method=request.method,
        origin=headers.get("origin", ""),
        site=headers.get("sec-fetch-site", ""),
        host=headers.get("host", ""),
        secure=secure,
    )


def _address(request: Request) -> str:
    return "" if request.client is None else request.client.host


_PASSED = (
    b"authorization",
    b"content-type",
    b"content-encoding",
    b"accept",
    b"last-event-id",
    b"traceparent",
)
_RETURNED = (
    b"content-type",
    b"content-disposition",
    b"retry-after",
    b"allow",
    b"www-authenticate",
    b"x-andon-truncated",
)


def _passed(request: Request) -> tuple[tuple[bytes, bytes], ...]:
    """The headers that go on. A cookie belongs to this host: the session in it goes on as a program would send it."""
    passed = tuple(header for header in request.headers.raw if header[0] in _PASSED)
    session = visit_of(request).session
    if session and not request.headers.get("authorization"):
        passed += ((b"authorization", b"Bearer " + session.encode("latin-1", "replace")),)
    return passed


async def _forward(request: Request, route: Route, surroundings: Surroundings) -> Response:
    """Hand a request on as it came, except for what belongs to this connection."""
    if surroundings.forward is None:
        raise Transient("observer_missing", "This process cannot reach the observer.", hint="andon status")
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    answer = await surroundings.forward(
        Forwarded(
            method=request.method,
            path=target,
            headers=_passed(request),
            body=await decoding.read_body(
                request, route.body_bytes_max or surroundings.limits.body_bytes_max
            ),
        )
    )
    headers = {name.decode(): value.decode("latin-1") for name, value in answer.headers if name in _RETURNED}
    return Response(answer.body, answer.status, headers)


def _encode(result: Any, streams: _Streams) -> Response:
    if isinstance(result, Stream):
        return StreamingResponse(streams.run(result.events), media_type="text/event-stream")
    if isinstance(result, Raw):
        media_type = None if "content-type" in result.headers or not result.body else "application/json"
        return Response(result.body, result.status, result.headers, media_type)
    return Response(msgspec.json.encode(result), media_type="application/json")


async def _problem(request: Request, error: Exception) -> Response:
    if not isinstance(error, AndonError):
        raise error
    request.scope["andon.code"] = error.code
    return problems.render(error, request.scope["andon.request_id"])


async def _http_problem(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    # Starlette writes the methods in the order of a set.
    allow = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
    id_ = request.scope["andon.request_id"]
    return problems.render_http(error.status_code, request.method, request.url.path, allow, id_)


async def _bug(request: Request, error: Exception) -> Response:
    # Starlette sends this answer and raises the error again, so that the envelope logs its traceback.
    return problems.render_bug(request.scope["andon.request_id"])


class _Envelope:
    """Around every request: an id, the host check, security headers, one line in the log, and a floor for bugs."""

    def __init__(self, app: ASGIApp, surroundings: Surroundings) -> None:
        self._app = app
        self._clock = surroundings.clock
        self._ids = surroundings.ids
        self._hosts = frozenset(surroundings.limits.hosts)
        self._log = structlog.get_logger("andon.web")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        id_ = self._ids.next()
        scope["andon.request_id"] = id_
        started = self._clock.monotonic()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = [*_SECURITY_HEADERS, (b"x-request-id", id_.encode())]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        try:
            refusal = self._refuse_host(scope)
            app = problems.render(refusal, id_) if refusal else self._app
            await app(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = status or 499
        # A bug must cost its own request only: it is logged here with its traceback, under the id that the
        # caller was given, and the server goes on.
        except Exception:
            self._log.exception("bug", request_id=id_, method=scope["method"], path=calm(scope["path"]))
            if not status:
                await problems.render_bug(id_)(scope, receive, send_with_headers)
        finally:
            self._log.info(
                "request",
                request_id=id_,
                method=scope["method"],
                path=calm(scope["path"]),
                status=status,
                code=scope.get("andon.code", ""),
                principal=scope.get("andon.principal", ""),
                duration_ms=round((self._clock.monotonic() - started) * 1000, 3),
            )

    def _refuse_host(self, scope: Scope) -> AndonError | None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1:
            return Refused("host_unknown", "Exactly one host header is needed.", hint="Send one.", status=400)
        name = hosts[0].decode("latin-1").lower()
        host = name[: name.find("]") + 1] if name.startswith("[") else name.partition(":")[0]
        if host in self._hosts or "*" in self._hosts:
            return None
        return Refused(
            "host_unknown",
            "The host header names a machine that this API does not answer for.",
            hint="Use 127.0.0.1 or localhost, or add the name to control.hosts.",
            status=421,
        )
