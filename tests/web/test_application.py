"""The application made from a table: who may, what is decoded, how errors look."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
import pytest

from andon.kernel.access import OPEN
from andon.kernel.clock import SystemClock
from andon.kernel.errors import AndonError, Conflict, Permanent, Refused, Transient
from andon.kernel.ids import Ids
from andon.kernel.principals import Principal
from andon.kernel.random import SystemRandom
from andon.web.application import Limits, Surroundings, build_application, encode_event
from andon.web.authentication import Authenticator, Credential, keyed_digest
from andon.web.authorisation import Authoriser, RoleAuthority
from andon.web.routes import Bytes, Call, Raw, Route, ServerEvent, Stream, check_table
from tests.web.calls import Answer, Caller

PEPPER = b"p" * 32


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=10)] = 5
    follow: bool = False


class Path(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(pattern="^[a-z]+$")]


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    weight: int


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    steps: list[Step]
    anything: Any = None


class Echo(msgspec.Struct, frozen=True, kw_only=True):
    principal: str
    said: Any = None


ERRORS = {
    "refused": Refused(
        "name_taken", "The name is taken.", hint="Choose another.", status=422, param="spec.name"
    ),
    "conflict": Conflict("world_moved", "The world has moved.", hint="Plan again."),
    "transient": Transient("store_away", "The store is away.", retry_after_s=2.2),
    "permanent": Permanent("parked", "It will not work.", internal="secret detail"),
    "bug": RuntimeError("secret detail"),
}


async def echo(call: Call) -> Echo:
    return Echo(principal=call.principal.name, said=[call.query.limit, call.path, call.body])


async def fail(call: Call) -> Echo:
    raise ERRORS[call.path.name]


async def answer(call: Call) -> Echo:
    return Echo(principal=call.principal.name, said=call.body)


async def follow(call: Call) -> Echo | Stream:
    async def events() -> Any:
        yield ServerEvent(data={"a": "line\nbreak"}, id="7", name="made")
        yield None

    return Stream(events()) if call.query.follow else Echo(principal=call.principal.name)


async def unsaid(call: Call) -> Echo:
    return Echo(principal=call.principal.name)


def in_own_words(error: AndonError, media_type: str) -> Raw:
    return Raw(body=f"{error.code} for {media_type}".encode(), status=error.status)


async def unchanged(call: Call) -> Raw:
    return Raw(status=304)


def route(**fields: Any) -> Route:
    return Route(**{"method": "GET", "response": Echo, "summary": "s", "name": fields["path"]} | fields)


TABLE = (
    route(path="/open", action=OPEN, handler=answer),
    route(path="/echo", action="thing.read", query=Query, handler=echo),
    route(path="/fail/{name}", action="thing.read", params=Path, handler=fail),
    route(path="/things", action="thing.read", handler=answer),
    route(path="/things", method="POST", name="make", action="thing.write", request=Body, handler=answer),
    route(path="/follow", action="thing.read", query=Query, handler=follow, streaming=True),
    route(
        path="/foreign",
        method="POST",
        action="thing.write",
        request=Bytes,
        media_types=("text/plain",),
        handler=unsaid,
        problem=in_own_words,
    ),
    route(path="/unchanged", action="other.read", handler=unchanged, may_be_unchanged=True),
)


def build(**limits: Any) -> Caller:
    credentials = (
        Credential(
            principal=Principal(kind="user", id="admin", roles=("things",)),
            digest=keyed_digest("key-a", PEPPER),
        ),
        Credential(
            principal=Principal(kind="gateway", id="0", roles=("others",)),
            digest=keyed_digest("key-g", PEPPER),
        ),
    )
    clock = SystemClock()
    surroundings = Surroundings(
        authenticator=Authenticator(credentials, PEPPER),
        authoriser=Authoriser(
            RoleAuthority({"things": ("thing.*",), "others": ("other.read",)}), clock, "control"
        ),
        clock=clock,
        ids=Ids(clock, SystemRandom()),
        version="1",
        limits=Limits(**limits),
    )
    return Caller(build_application(TABLE, surroundings), key="key-a")


def ask(method: str, target: str, *, key: str = "key-a", caller: Caller | None = None, **more: Any) -> Answer:
    caller = caller or build()
    caller.key = key
    return asyncio.run(caller.call(method, target, **more))


def test_a_route_without_an_action_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="no action"):
        check_table([route(path="/x", action="", handler=answer)])


def test_a_route_that_is_there_twice_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="twice"):
        check_table([route(path="/x", action=OPEN, handler=answer)] * 2)


def test_path_parameters_must_be_declared() -> None:
    with pytest.raises(ValueError, match="path parameters"):
        check_table([route(path="/x/{name}", action=OPEN, handler=answer)])


@pytest.mark.parametrize(
    ("key", "target", "status", "code"),
    [
        ("", "/open", 200, None),
        ("", "/echo", 401, "key_missing"),
        ("wrong", "/echo", 401, "key_refused"),
        ("k" * 10_000, "/echo", 401, "key_refused"),
        ("key-g", "/echo", 403, "action_forbidden"),
        ("key-a", "/echo", 200, None),
        ("key-a", "/unchanged", 403, "action_forbidden"),
        ("key-g", "/unchanged", 304, None),
    ],
)
def test_who_may_do_what(key: str, target: str, status: int, code: str | None) -> None:
    got = ask("GET", target, key=key)
    assert got.status == status
    if code:
        assert got.json()["code"] == code
    assert (got.header("www-authenticate") is not None) == (status == 401)


def test_the_scheme_must_be_bearer() -> None:
    assert ask("GET", "/echo", key="", headers={"authorization": "Basic key-a"}).status == 401


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("refused", 422, "name_taken"),
        ("conflict", 409, "world_moved"),
        ("transient", 503, "store_away"),
        ("permanent", 500, "parked"),
        ("bug", 500, "internal_error"),
    ],
)
def test_every_error_is_a_problem(name: str, status: int, code: str) -> None:
    got = ask("GET", f"/fail/{name}")
    assert (got.status, got.header("content-type")) == (status, "application/problem+json")
    body = got.json()
    assert (body["status"], body["code"], body["type"]) == (status, code, f"/problems/{code}")
    assert body["request_id"] == got.header("x-request-id")
    assert b"secret detail" not in got.body


def test_a_problem_says_what_to_do_and_which_field() -> None:
    body = ask("GET", "/fail/refused").json()
    assert (body["detail"], body["hint"], body["param"]) == (
        "The name is taken.",
        "Choose another.",
        "spec.name",
    )


def test_a_transient_problem_says_when_to_come_back() -> None:
    got = ask("GET", "/fail/transient")
    assert (got.header("retry-after"), got.header("x-should-retry")) == ("3", "true")


def test_unknown_paths_are_problems() -> None:
    got = ask("GET", "/nowhere")
    assert (got.status, got.json()["code"]) == (404, "route_not_found")


@pytest.mark.parametrize(
    ("method", "target"), [("DELETE", "/things"), ("HEAD", "/echo"), ("POST", "/openapi.json")]
)
def test_methods_that_are_not_offered_say_which_are(method: str, target: str) -> None:
    got = ask(method, target)
    assert (got.status, got.json()["code"]) == (405, "method_not_allowed")
    assert got.header("allow") == {"/things": "GET, POST", "/echo": "GET", "/openapi.json": "GET"}[target]


@pytest.mark.parametrize(
    ("target", "param"),
    [
        ("/echo?limit=11", "limit"),
        ("/echo?limit=x", "limit"),
        ("/echo?nope=1", "nope"),
        ("/echo?limit=1&limit=2", None),
    ],
)
def test_wrong_parameters_are_named(target: str, param: str | None) -> None:
    got = ask("GET", target)
    assert (got.status, got.json()["code"], got.json().get("param")) == (400, "invalid_parameter", param)


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"steps": [{"weight": 1}, {"weight": "x"}]}, 400, "invalid_field", "steps[1].weight"),
        ({"steps": [], "stepps": 1}, 400, "invalid_field", "stepps"),
        ({}, 400, "invalid_field", "steps"),
        (b"{", 400, "malformed_json", None),
        (b"\xff\xfe", 400, "malformed_json", None),
        (b'{"anything":' + b"[" * 100_000, 400, "malformed_json", None),
        (b"x" * 300_000, 413, "body_too_large", None),
    ],
)
def test_wrong_bodies_are_named(body: Any, status: int, code: str, param: str | None) -> None:
    got = ask("POST", "/things", body=body, caller=build(body_bytes_max=200_000))
    assert (got.status, got.json()["code"]) == (status, code)
    assert got.json().get("param") == param


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-encoding": "gzip"},
    ],
)
def test_other_media_types_are_refused(headers: dict[str, str]) -> None:
    got = ask("POST", "/things", body={"steps": []}, headers=headers)
    assert (got.status, got.json()["code"]) == (415, "media_type_unsupported")


def test_a_get_takes_no_body() -> None:
    assert ask("GET", "/things", body={"a": 1}).json()["code"] == "body_unexpected"


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:1", 200), ("localhost", 200), ("[::1]:9", 200), ("evil.example", 421), ("", 421)],
)
def test_other_hosts_are_refused(host: str, status: int) -> None:
    assert ask("GET", "/open", headers={"host": host}).status == status


def test_a_request_without_a_host_is_refused() -> None:
    caller = build()
    caller.headers = {}
    assert ask("GET", "/open", caller=caller).status == 400


def test_every_answer_carries_security_headers_and_its_id() -> None:
    for target in ("/open", "/nowhere", "/fail/bug"):
        got = ask("GET", target)
        assert got.header("x-content-type-options") == "nosniff"
        assert got.header("cache-control") == "no-store"
        assert len(got.header("x-request-id") or "") == 36


def test_events_are_streamed() -> None:
    got = ask("GET", "/follow?follow=true")
    assert got.header("content-type") == "text/event-stream; charset=utf-8"
    assert got.body == b'id: 7\nevent: made\ndata: {"a":"line\\nbreak"}\n\n:\n\n'


def test_followers_are_bounded() -> None:
    got = ask("GET", "/follow?follow=true", caller=build(streams_max=0))
    assert (got.status, got.json()["code"]) == (503, "streams_exhausted")


def test_an_event_is_one_line_of_data() -> None:
    assert encode_event(ServerEvent(data="a\r\nb")) == b'data: "a\\r\\nb"\n\n'


@pytest.mark.parametrize(
    ("key", "media_type", "status", "code"),
    [
        ("key-a", "text/plain", 200, ""),
        ("nobody", "text/plain", 401, "key_refused"),
        ("key-g", "text/plain", 403, "action_forbidden"),
        ("key-a", "text/html", 415, "media_type_unsupported"),
    ],
)
def test_a_foreign_protocol_writes_its_errors_itself(
    key: str, media_type: str, status: int, code: str
) -> None:
    found = ask("POST", "/foreign", key=key, body=b"x", headers={"content-type": media_type})
    assert found.status == status
    assert not code or found.body == f"{code} for {media_type}".encode()
