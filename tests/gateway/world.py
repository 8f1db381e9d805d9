"""A gateway with fakes at its ports, and shorthands to talk to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from andon.gateway.bodies import BodySink
from andon.gateway.gateway import Gateway, Parts
from andon.gateway.settings import GatewaySettings
from andon.kernel.clock import SystemClock
from andon.kernel.errors import AndonError, Transient
from andon.kernel.exchange import Exchange
from andon.kernel.guarding import Guards
from andon.kernel.ids import Ids
from andon.kernel.ports import Body, Opening
from andon.kernel.random import SeededRandom
from andon.kernel.reports import Report
from andon.kernel.snapshot import EndpointEntry, ReleaseEntry, Signature, Snapshot, TargetEntry, TensorSpec
from andon.ledger.row import Intent, Outcome, Row
from andon.wire.model import Header, Request

CHAT = b'{"model":"chat","messages":[{"role":"user","content":"hi"}],"extra":{"kept":1e400}}'.replace(
    b"1e400", b"1.50"
)
STREAM = b'{"model":"chat","stream":true,"messages":[{"role":"user","content":"hi"}]}'
ANSWER = b'{"id":"a","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}'
INFER = b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1.0,2.5]}]}'
JSON: tuple[Header, ...] = ((b"content-type", b"application/json"),)
EVENTS: tuple[Header, ...] = ((b"content-type", b"text/event-stream"),)

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 2), minimum=-10, maximum=10),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1,)),),
)


class FakeClock(SystemClock):
    """Time that moves only when somebody sleeps or a test says so."""

    def __init__(self) -> None:
        self.t = 1000.0
        self.slept: list[float] = []

    def now_ns(self) -> int:
        return int(self.t * 1e9)

    def monotonic(self) -> float:
        return self.t

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.t += seconds
        await asyncio.sleep(0)


class FakeLog:
    """Rows in a list; `problem`, `full` and `fails` make it misbehave."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.problem: Transient | None = None
        self.full = False
        self.fails = False
        self.lag_s = 0.0
        self.commits = 0
        self.gate: asyncio.Event | None = None

    def append(self, row: Row) -> None:
        if self.full:
            raise Transient("ledger_unavailable", "The ledger has no room.")
        self.rows.append(row)

    async def _committed(self) -> None:
        self.commits += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.fails:
            raise Transient("ledger_unavailable", "The ledger's disk fails.")

    def committed(self) -> Awaitable[None]:
        return self._committed()

    @property
    def intents(self) -> list[Intent]:
        return [row for row in self.rows if isinstance(row, Intent)]

    @property
    def outcomes(self) -> list[Outcome]:
        return [row for row in self.rows if isinstance(row, Outcome)]


class FakeAnswer(msgspec.Struct):
    status: int = 200
    body: bytes = ANSWER
    headers: Sequence[Header] = JSON
    opening: Opening | None = None


class Sent(msgspec.Struct):
    target: TargetEntry
    path: bytes
    headers: dict[bytes, bytes]
    body: bytes


Step = Any  # FakeAnswer, an exception, a list of chunks (bytes or exceptions), or an async function


class FakeUpstream:
    """Does the next step of its script for each call; the last step repeats."""

    def __init__(self, *script: Step) -> None:
        self.script = list(script) or [FakeAnswer()]
        self.sent: list[Sent] = []
        self.cancelled = 0

    async def send(
        self,
        target: TargetEntry,
        method: bytes,
        path: bytes,
        headers: Sequence[Header],
        body: bytes,
        *,
        sink: Body | None = None,
        **timeouts: float,
    ) -> FakeAnswer:
        self.sent.append(Sent(target, path, dict(headers), body))
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        try:
            if callable(step):
                step = await step(target)
            if isinstance(step, list):
                return await self._stream(step, sink)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(step, BaseException):
            raise step
        if sink is not None:
            sink.head(step.status, step.headers)
            sink.chunk(step.body)
            return FakeAnswer(step.status, b"", step.headers)
        return step

    async def _stream(self, chunks: list[Any], sink: Body | None) -> FakeAnswer:
        assert sink is not None
        sink.head(200, EVENTS)
        for chunk in chunks:
            if isinstance(chunk, BaseException):
                raise chunk
            if callable(chunk):
                await chunk()
                continue
            sink.chunk(chunk)
            await sink.writable()
        return FakeAnswer(200, b"", EVENTS)


class FakeReply:
    """Keeps what was written."""

    def __init__(self) -> None:
        self.gone = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.calls: list[str] = []

    def _head(self, status: int, headers: bytes) -> None:
        assert not headers or headers.endswith(b"\r\n")
        self.status = status
        lines = headers.decode("latin-1").split("\r\n")[:-1]
        self.headers = dict(line.split(": ", 1) for line in lines)
        assert len(self.headers) == len(lines), lines

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        assert self.calls == []
        self.calls.append("send")
        self._head(status, headers)
        self.body = body

    def start(self, status: int, headers: bytes) -> None:
        assert self.calls == []
        self.calls.append("start")
        self._head(status, headers)

    def write(self, data: bytes) -> None:
        assert self.calls[0] == "start"
        self.body += data

    async def writable(self) -> None:
        if self.gone:
            raise ConnectionResetError("gone")
        await asyncio.sleep(0)

    def end(self) -> None:
        self.calls.append("end")

    def abort(self) -> None:
        self.calls.append("abort")

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class FakeStage:
    """Admits unless told otherwise; counts what it is asked."""

    def __init__(self, name: str, verdict: Callable[[Exchange], AndonError | None] | None = None) -> None:
        self.name = name
        self.verdict = verdict
        self.admitted: list[str] = []
        self.settled: list[tuple[str, int, bool]] = []
        self.settle_raises = False
        self.refuses_snapshot: Exception | None = None
        self.adopted: list[int] = []

    def adopt(self, snapshot: Snapshot) -> Callable[[], None]:
        if self.refuses_snapshot is not None:
            raise self.refuses_snapshot
        return lambda: self.adopted.append(snapshot.version)

    def admit(self, exchange: Exchange) -> AndonError | None:
        error = self.verdict(exchange) if self.verdict is not None else None
        if error is None:
            self.admitted.append(exchange.id)
        return error

    def settle(self, exchange: Exchange) -> None:
        self.settled.append((exchange.id, exchange.status, exchange.provider_error))
        if self.settle_raises:
            raise RuntimeError("a bug in a stage")


class FakeReports:
    def __init__(self) -> None:
        self.sent: list[Report] = []

    def send(self, report: Report) -> None:
        self.sent.append(report)


def target(id_: str, protocol: str = "openai", **more: Any) -> TargetEntry:
    return TargetEntry(id=id_, url=f"http://{id_}:1", protocol=protocol, **more)


def release(id_: str, arm: str, weight: int, *targets: TargetEntry, **more: Any) -> ReleaseEntry:
    return ReleaseEntry(id=id_, arm=arm, weight=weight, targets=targets, **more)


def snapshot(*endpoints: EndpointEntry, version: int = 1) -> Snapshot:
    return Snapshot(version=version, factory="f", revision=1, compiled_at_ns=1, endpoints=endpoints)


def chat_endpoint(*targets: TargetEntry, **more: Any) -> EndpointEntry:
    stable = release("chat@1", "stable", 10000, *(targets or (target("a"),)))
    return EndpointEntry(**{"name": "chat", "protocol": "openai", "releases": (stable,), **more})


def oip_endpoint(**more: Any) -> EndpointEntry:
    stable = release("credit@2", "stable", 10000, target("r", "oip"), signature=SIGNATURE)
    return EndpointEntry(**{"name": "credit", "protocol": "oip", "releases": (stable,), **more})


class World:
    """One gateway and everything around it."""

    def __init__(
        self,
        *script: Step,
        endpoints: Sequence[EndpointEntry] = (),
        stages: Sequence[FakeStage] = (),
        settings: GatewaySettings | None = None,
        bodies: BodySink | None = None,
        guards: Callable[[FakeClock], Guards] | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.log = FakeLog()
        self.upstream = FakeUpstream(*script)
        self.reports = FakeReports()
        self.stages = list(stages) or [FakeStage("identify"), FakeStage("limits"), FakeStage("choose")]
        random = SeededRandom(7)
        parts = Parts(
            upstream=self.upstream,
            log=self.log,
            reports=self.reports,
            credentials=lambda reference: f"secret of {reference}".replace(" ", "-"),
            clock=self.clock,
            ids=Ids(self.clock, random),
            random=random,
            bodies=bodies,
            guards=None if guards is None else guards(self.clock),
        )
        self.gateway = Gateway(self.stages, parts, settings or GatewaySettings())
        self.adopt(snapshot(*(endpoints or (chat_endpoint(), oip_endpoint()))))

    def adopt(self, new: Snapshot) -> None:
        for put in [adopter.adopt(new) for adopter in self.gateway.adopters]:
            put()

    async def call(
        self, path: bytes, body: bytes = b"", headers: Sequence[Header] = (), method: bytes = b"POST"
    ) -> FakeReply:
        reply = FakeReply()
        await self.gateway.handle(Request(method, path, b"", list(headers), body, "1.2.3.4"), reply)
        return reply

    async def chat(self, body: bytes = CHAT, headers: Sequence[Header] = ()) -> FakeReply:
        return await self.call(b"/v1/chat/completions", body, headers)

    def assert_whole(self) -> None:
        """Every admitted stage settled once; one final outcome for each exchange with an intent."""
        for stage in self.stages:
            assert sorted(stage.admitted) == sorted(id_ for id_, _, _ in stage.settled)
        finals = [row.id for row in self.log.outcomes if row.final]
        assert len(finals) == len(set(finals))
        assert {row.id for row in self.log.intents} <= set(finals)
        assert self.gateway.meters.in_flight == 0


def transient(code: str) -> Transient:
    return Transient(code, "The model is away.")
