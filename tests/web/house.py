"""An admin API in this process: the real factory on SQLite, small fakes for what stands behind the other verbs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import structlog
import uvicorn

from andon.app import views
from andon.app.api import build_routes
from andon.app.identity import IdentityGround, assemble_identities, read_reference
from andon.app.issuing import IssuerClients
from andon.app.policies import PolicyBook
from andon.app.services import RolloutVerb, Services
from andon.control.catalogue import Catalogue
from andon.control.factory import Factory
from andon.control.kinds import Kind, Problem
from andon.kernel.clock import SystemClock
from andon.kernel.errors import Conflict, Refused
from andon.kernel.ids import Ids
from andon.kernel.principals import Principal
from andon.kernel.random import SystemRandom
from andon.kernel.reports import GateReading, Report
from andon.store.runner import ThreadRunner
from andon.store.sql import open_store
from andon.web.application import Surroundings, build_application
from andon.web.authentication import Credential, keyed_digest
from andon.web.authorisation import Authoriser

PEPPER = b"pepper" * 8
ADMIN, GATEWAY = "admin-key-of-this-test", "gateway-key-of-this-test"


class WidgetSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What a widget should be."""

    size: Annotated[int, msgspec.Meta(ge=0, le=1000, description="How large it is, in centimetres.")] = 1
    colour: Annotated[str, msgspec.Meta(max_length=50, description="Its colour.")] = "red"
    replica_names: Annotated[list[str], msgspec.Meta(description="Others of its kind.")] = []


def check_widget(spec: WidgetSpec, record: Any, world: Any) -> list[Problem]:
    if spec.size == 13:
        return [Problem(path="spec.size", message="13 cannot be enforced", hint="choose another")]
    return []


WIDGET = Kind(
    name="Widget",
    plural="widgets",
    short=("wi",),
    spec=WidgetSpec,
    summary="A thing for tests.",
    check=check_widget,
    columns=(("SIZE", "spec.size"), ("PHASE", "status.phase")),
)
GADGET = Kind(name="Gadget", plural="gadgets", spec=WidgetSpec, summary="Made by nobody.", generated=True)


READING = GateReading(
    gate="errors",
    metric="errorRate",
    verdict="breach",
    evidence=412.3,
    threshold=200.0,
    canary_n=7,
    stable_n=133,
    canary_value=0.857,
    stable_value=0.0075,
    minimum=5,
    reason="412 times likelier that the canary is worse",
)


class FakeRollouts:
    def __init__(self) -> None:
        self.done: list[tuple[str, str, str, str]] = []

    async def act(self, verb: RolloutVerb, name: str, *, actor: str, reason: str) -> views.RolloutView:
        self._find(name)
        if verb == "resume":
            raise Conflict(
                "rollout_over", f"Rollout '{name}' is not paused.", hint="Look with andon get rollouts."
            )
        self.done.append((verb, name, actor, reason))
        return views.RolloutView(name=name, phase="Aborting" if verb == "abort" else "Progressing")

    async def explain(self, name: str) -> views.RolloutExplanation:
        self._find(name)
        return views.RolloutExplanation(
            name=name,
            endpoint="credit",
            stable="credit@2",
            canary="credit@3",
            phase="Aborted",
            step="1 of 3",
            reason="gate errors crossed",
            readings=(READING,),
        )

    def _find(self, name: str) -> None:
        if name != "credit-3":
            raise Refused("not_found", f"There is no Rollout '{name}'.", status=404, param="name")


class FakeKeys:
    def __init__(self) -> None:
        self.made: dict[str, views.KeyView] = {}

    async def create(self, request: views.KeyRequest, *, actor: Principal) -> views.NewKey:
        key = views.KeyView(
            id=f"k{len(self.made)}",
            team=request.team,
            owner=request.owner,
            endpoints=request.endpoints,
            cohorts=request.cohorts,
            state="active",
            created_ns=1_700_000_000_000_000_000,
        )
        self.made[key.id] = key
        return views.NewKey(key=key, secret=f"sk-andon-{key.id}-secret")

    async def list(self) -> Sequence[views.KeyView]:
        return list(self.made.values())

    async def rotate(self, id_: str, *, overlap_s: float, actor: Principal) -> views.NewKey:
        return await self.create(views.KeyRequest(team=self._find(id_).team), actor=actor)

    async def revoke(self, id_: str, *, actor: str, reason: str) -> views.KeyView:
        self.made[id_] = msgspec.structs.replace(self._find(id_), state="revoked")
        return self.made[id_]

    def _find(self, id_: str) -> views.KeyView:
        if id_ not in self.made:
            raise Refused("not_found", f"There is no key '{id_}'.", status=404, param="id")
        return self.made[id_]


class FakeLedger:
    def __init__(self) -> None:
        self.rows = [
            views.RequestView(
                position=number,
                id=f"0198a3f2-0000-7000-8000-00000000000{number}",
                attempt=0,
                at_ns=1_700_000_000_000_000_000 + number * 10**9,
                status=200 if number != 2 else 503,
                endpoint="credit",
                release="credit@2",
                arm="stable",
                duration_us=1500 * number,
                error_code=None if number != 2 else "upstream_timeout",
            )
            for number in (1, 2, 3)
        ]

    async def requests(self, query: views.RequestQuery) -> views.RequestPage:
        rows = tuple(
            row
            for row in self.rows
            if row.position > query.after and (not query.endpoint or row.endpoint == query.endpoint)
        )[: query.limit]
        return views.RequestPage(items=rows, next=max((row.position for row in rows), default=query.after))

    async def top(self, window_s: int) -> views.TopPage:
        row = views.TopRow(
            endpoint="credit",
            release="credit@2",
            requests=120,
            errors=3,
            p50_ms=1.25,
            p95_ms=4.0,
            p99_ms=None,
            tokens=0,
        )
        return views.TopPage(window_s=window_s, items=(row,))


class FakeGateways:
    def __init__(self) -> None:
        self.reports: list[Report] = []

    async def snapshot(self, have: int, wait_s: float) -> bytes | None:
        return b'{"version":5}' if have < 5 else None

    async def report(self, reports: Sequence[Report], *, gateway: str) -> None:
        self.reports.extend(reports)


class FakeHealth:
    def __init__(self) -> None:
        self.ok = True

    async def checks(self) -> Sequence[views.Check]:
        return [views.Check(name="store", ok=self.ok, detail="" if self.ok else "the disk is full")]


@asynccontextmanager
async def house(database: Path | None = None) -> AsyncIterator[tuple[Any, Services]]:
    """The application and what stands behind it; the database is in memory if no file is given."""
    clock = SystemClock()
    runner = ThreadRunner(1)
    store = await open_store(f"sqlite:///{database}" if database else "sqlite://", clock, runner)
    credentials = tuple(
        Credential(principal=principal, digest=keyed_digest(key, PEPPER))
        for principal, key in (
            (Principal(kind="user", id="admin", roles=("administrator",)), ADMIN),
            (Principal(kind="gateway", id="0", roles=("gateway",)), GATEWAY),
        )
    )
    issuers = IssuerClients(clock)
    identities = assemble_identities(
        IdentityGround(
            store=store,
            clock=clock,
            random=SystemRandom(),
            runner=runner,
            pepper=PEPPER,
            upstreams=issuers.find,
            credentials=credentials,
            lookup=None,
            secrets=read_reference,
        )
    )
    services = Services(
        clock=clock,
        runner=runner,
        identities=identities,
        factory=Factory(store, Catalogue([WIDGET, GADGET]), lambda: None),
        rollouts=FakeRollouts(),
        keys=FakeKeys(),
        ledger=FakeLedger(),
        gateways=FakeGateways(),
        health=FakeHealth(),
    )
    book = PolicyBook(store, clock)
    surroundings = Surroundings(
        authenticator=identities.authenticator,
        authoriser=Authoriser(book, clock, "control", facts=book),
        clock=clock,
        ids=Ids(clock, SystemRandom()),
        version="0.1.0",
    )
    try:
        yield build_application(build_routes(services), surroundings), services
    finally:
        await identities.directory.close()
        await issuers.close()
        await store.close()
        runner.close()


@contextmanager
def serving(home: Path) -> Iterator[str]:
    """A real server on a free port of loopback, for a factory in `home`; gives its address."""
    ready = threading.Event()
    stops: list[Callable[[], None]] = []
    address: list[str] = []

    async def serve() -> None:
        async with house(home / ".andon" / "state.db") as (app, _):
            config = uvicorn.Config(
                app, host="127.0.0.1", port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=1
            )
            server = uvicorn.Server(config)
            task = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.005)
            port = server.servers[0].sockets[0].getsockname()[1]
            address.append(f"http://127.0.0.1:{port}")
            stops.append(lambda: setattr(server, "should_exit", True))
            ready.set()
            await task

    (home / ".andon" / "run").mkdir(parents=True)
    (home / ".andon" / "admin.key").write_text(ADMIN + "\n")
    # The server runs in a thread of this process: its log must not mix with what the command line prints.
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(20)
    run = home / ".andon" / "run" / "control.json"
    run.write_bytes(msgspec.json.encode({"url": address[0], "gateway_url": "http://127.0.0.1:9"}))
    try:
        yield address[0]
    finally:
        stops[0]()
        thread.join(20)
        structlog.reset_defaults()
