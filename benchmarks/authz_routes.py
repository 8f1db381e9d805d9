"""Every route of every plane, really called: by nobody, and by somebody who was granted nothing.

The routes are those of the tables that the processes serve; what stands behind them is replaced by a mark that says
that a call got through. A route that answers anything but 401 and 403, and is not among the open ones named here, is
unchecked.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from andon.app.policy_vocabulary import every_route
from andon.gateway.admin import Admin
from andon.kernel.access import OPEN
from andon.kernel.clock import SystemClock
from andon.kernel.ids import Ids
from andon.kernel.principals import Principal
from andon.kernel.random import SystemRandom
from andon.kernel.snapshot import KeyEntry, PolicyEntry
from andon.security.identity.stage import IdentifyStage
from andon.security.identity.token import keyed_digest as gateway_digest
from andon.security.identity.token import make_token
from andon.security.policy.engine import Engine
from andon.security.policy.model import PolicySpec, text_of
from andon.security.policy.stage import AuthoriseStage
from andon.web.application import Surroundings, build_application
from andon.web.authentication import Authenticator, Credential, keyed_digest
from andon.web.authorisation import Authoriser
from andon.web.routes import Call, Raw, Route
from tests.gateway import world

PEPPER = b"p" * 32
NOBODYS = "nobody-granted-this-anything"
# Meant to be open: liveness, the documents, and signing in, which is how one comes by a credential. The observer
# decides on /metrics by its own setting; the gateway's own listener is bound to loopback, or to mutual TLS.
OPEN_ADMIN = frozenset(
    {
        "GET /livez",
        "GET /readyz",
        "GET /metrics",
        "GET /openapi.json",
        "GET /v1/session",
        "POST /v1/session",
        "POST /v1/session/acceptance",
        "GET /v1/session/login",
        "GET /v1/session/callback",
        "POST /v1/session/collection",
        "POST /v1/session/logout",
    }
)
OPEN_DATA = frozenset({"GET /v2", "GET /v2/health/live", "GET /v2/health/ready"})
OPEN_OWN = frozenset({"GET /livez", "GET /readyz", "GET /healthz", "GET /metrics", "GET /debug/snapshot"})
_SAMPLES = {"kind": "endpoints", "number": "1", "id": "plan-0123456789abcdef"}
_REFUSED = (401, 403)


@dataclass(frozen=True)
class Probe:
    """How one route answered."""

    plane: str
    route: str  # "GET /v1/kinds"
    to_nobody: int
    to_ungranted: int
    meant_open: bool
    reached: bool  # somebody without a grant got to the handler

    @property
    def unchecked(self) -> bool:
        """Whether somebody got further than they should."""
        refused = self.to_nobody == 401 and self.to_ungranted in _REFUSED
        return not self.meant_open and (self.reached or not refused)


async def probe_everything() -> list[Probe]:
    """Every route of control, observer, the gateway's data listener and its own listener."""
    return [*await probe_admin(), *await probe_data(), *await probe_own()]


async def probe_admin() -> list[Probe]:
    """Control's table, which holds the observer's routes too."""
    reached: list[str] = []
    clock = SystemClock()
    ungranted = Credential(principal=Principal(kind="user", id="eve"), digest=keyed_digest(NOBODYS, PEPPER))
    application = build_application(
        [_marked(route, reached) for route in every_route()],
        Surroundings(
            authenticator=Authenticator((ungranted,), PEPPER),
            authoriser=Authoriser(Engine(text_of(())), clock, "control"),
            clock=clock,
            ids=Ids(clock, SystemRandom()),
            version="0",
        ),
    )
    found = []
    for route in every_route():
        path = re.sub(r"\{([a-z_]+)\}", lambda place: _SAMPLES.get(place[1], "x"), route.path)
        nobody = await ask(application, route.method, path, "")
        reached.clear()
        eve = await ask(application, route.method, path, NOBODYS)
        name = f"{route.method} {route.path}"
        is_open = route.action == OPEN and name in OPEN_ADMIN
        found.append(Probe("admin", name, nobody, eve, is_open, bool(reached)))
    document = await ask(application, "GET", "/openapi.json", "")
    found.append(Probe("admin", "GET /openapi.json", document, document, True, True))
    return found


def _marked(route: Route, reached: list[str]) -> Route:
    async def mark(call: Call) -> Raw:
        reached.append(route.name)
        return Raw(body=b"{}")

    return msgspec.structs.replace(route, handler=mark, elsewhere=False, here_otherwise=False)


async def ask(application: Any, method: str, path: str, key: str) -> int:
    """The status that an ASGI application answers."""
    told: list[int] = []
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    if key:
        headers.append((b"authorization", b"Bearer " + key.encode()))
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "scheme": "http",
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            told.append(message["status"])

    await application(scope, receive, send)
    return told[0]


async def probe_data() -> list[Probe]:
    """The data listener: every path that it serves for two endpoints, with policies that grant nothing."""
    clock = SystemClock()
    token = make_token(SystemRandom())
    stages = [IdentifyStage(PEPPER, clock), AuthoriseStage(clock)]
    gateway = world.World(stages=stages)  # type: ignore[arg-type]  # the real stages
    text = text_of([PolicySpec(cedar="", replaces=("role-model-user",))])
    snapshot = msgspec.structs.replace(
        world.snapshot(world.chat_endpoint(), world.oip_endpoint(), version=2),
        keys=(KeyEntry(id=token.id, digest=gateway_digest(token.text.encode(), PEPPER)),),
        policy=PolicyEntry(digest="d", text=text),
    )
    gateway.adopt(snapshot)
    header = (b"authorization", f"Bearer {token.text}".encode())
    posts = {"/v1/chat/completions", "/v1/completions", "/v1/embeddings"}
    posts |= {path.decode() for path in gateway.gateway._router.routes.paths}
    posts.add("/v2/models/nothing/infer")
    gets = {
        "/v1/models",
        "/v1/models/chat",
        "/v2/models/credit",
        "/v2/models/credit/ready",
        "/v2/models/credit/versions/2",
        "/v2/models/credit/versions/2/ready",
        *(route.split()[1] for route in OPEN_DATA),
    }
    bodies = {
        "/v1/completions": b'{"model":"chat","prompt":"x"}',
        "/v1/embeddings": b'{"model":"chat","input":"x"}',
    }
    found = []
    for method, path in [
        *(("POST", path) for path in sorted(posts)),
        *(("GET", path) for path in sorted(gets)),
    ]:
        body = (
            b""
            if method == "GET"
            else bodies.get(path, world.CHAT if path.startswith("/v1") else world.INFER)
        )
        statuses = [
            (await gateway.call(path.encode(), body, headers, method.encode())).status
            for headers in ((), (header,))
        ]
        name = f"{method} {path}"
        found.append(Probe("data", name, statuses[0], statuses[1], name in OPEN_DATA, statuses[1] < 400))
    return found


async def probe_own() -> list[Probe]:
    """The gateway's own listener, which serves these paths and no other."""

    class Holder:
        current = None
        version = 0

    gateway = world.World().gateway
    admin = Admin(gateway, Holder(), connected=lambda: True)  # type: ignore[arg-type]  # without a snapshot
    source = Admin.handle.__code__.co_consts
    served = {one for one in _flat(source) if isinstance(one, bytes) and one.startswith(b"/")}
    found = []
    for path in sorted(served):
        reply = world.FakeReply()
        await admin.handle(world.Request(b"GET", path, b"", [], b"", "127.0.0.1:1"), reply)
        name = f"GET {path.decode()}"
        found.append(Probe("own", name, reply.status, reply.status, name in OPEN_OWN, reply.status < 400))
    return found


def _flat(constants: Any) -> list[Any]:
    found: list[Any] = []
    for one in constants:
        found += _flat(one) if isinstance(one, tuple | frozenset) else [one]
    return found


if __name__ == "__main__":
    for probe in asyncio.run(probe_everything()):
        print(probe, probe.unchecked)
