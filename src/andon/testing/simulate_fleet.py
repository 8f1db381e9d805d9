"""The simulated network: models and providers that behave as they are told, and the link to control.

Fulfils the port `Upstream` for the processes of a simulation. Each release has a behaviour; each gateway's link may be
down, slow or forgetful. It opens no socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from andon.gateway.link import CONTROL
from andon.kernel.errors import Transient
from andon.kernel.ports import Body, Opening
from andon.kernel.snapshot import TargetEntry
from andon.testing.simulate_process import Process
from andon.wire.model import Header

JSON: tuple[Header, ...] = ((b"content-type", b"application/json"),)
EVENTS: tuple[Header, ...] = ((b"content-type", b"text/event-stream"),)
INFERRED = b'{"model_name":"m","model_version":"1","outputs":[{"name":"y","shape":[1],"datatype":"FP32","data":[1]}]}'
CHATTED = (
    b'{"id":"a","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"yes"},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}'
)
PIECE = b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"y"}}]}\n\n'
LAST = (
    b'data: {"id":"a","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}\n\n'
)
DONE = b"data: [DONE]\n\n"


class SimulatedAnswer(msgspec.Struct):
    """A complete answer (kernel port `Answer`)."""

    status: int
    headers: Sequence[Header]
    body: bytes
    opening: Opening | None = None


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """How one release behaves. Shares are between 0 and 1 and tried in this order."""

    dead: bool = False  # nobody listens
    error: float = 0.0  # answers 500
    busy: float = 0.0  # answers 429
    reset: float = 0.0  # the connection breaks
    stall: float = 0.0  # nothing comes
    malformed: float = 0.0  # what comes is no answer
    cut: float = 0.0  # a stream breaks in the middle
    latency_s: float = 0.02

    def outcome(self, luck: float) -> str:
        """What becomes of one request, by a number in [0, 1)."""
        for name in ("error", "busy", "reset", "stall", "malformed"):
            luck -= getattr(self, name)
            if luck < 0:
                return name
        return "well"


@dataclass
class Line:
    """The link between one gateway and control."""

    down: bool = False
    delay_s: float = 0.0
    forget: float = 0.0  # share of calls that arrive although the caller hears of a failure


Control = Callable[[bytes, bytes, bytes, float], Awaitable[SimulatedAnswer]]  # method, path, body, patience
Watch = Callable[[Process, TargetEntry, Sequence[Header]], None]


@dataclass
class Fleet:
    """Everything beyond the gateways."""

    control: Control
    serves: Callable[[str], bool]  # whether a replica answers
    watch: Watch  # sees each request that is sent
    behaviours: dict[str, Behaviour] = field(
        default_factory=dict
    )  # by deployment, or by the provider's model
    lines: dict[str, Line] = field(default_factory=dict)  # by gateway
    in_flight: dict[tuple[str, str], int] = field(default_factory=dict)  # by process and target id
    sent: int = 0

    def behaviour(self, target: TargetEntry) -> Behaviour:
        """How a target behaves now."""
        if not target.url.startswith("unix://"):
            return self.behaviours.get(target.model, Behaviour())
        if not self.serves(target.id):
            return Behaviour(dead=True)
        return self.behaviours.get(target.id.rsplit("-", 1)[0], Behaviour())


class SimulatedUpstream:
    """The network as one process reaches it."""

    def __init__(self, process: Process, fleet: Fleet, gateway: str = "") -> None:
        self._process = process
        self._fleet = fleet
        self._gateway = gateway

    async def send(
        self,
        target: TargetEntry,
        method: bytes,
        path: bytes,
        headers: Sequence[Header],
        body: bytes,
        *,
        connect_timeout_s: float,
        first_byte_timeout_s: float,
        idle_timeout_s: float,
        deadline_at: float,
        sink: Body | None = None,
    ) -> SimulatedAnswer:
        """See the port."""
        await self._process.gate()
        patience_s = min(first_byte_timeout_s, deadline_at - self._process.clock.monotonic())
        if target.id == CONTROL:
            answer = await self._link(method, path, body, max(0.0, patience_s))
        elif method == b"GET":
            answer = await self._look(target, connect_timeout_s)
        else:
            self._fleet.watch(self._process, target, headers)
            answer = await self._counted(target, patience_s, connect_timeout_s, idle_timeout_s, sink)
        await self._process.gate()
        return answer

    async def _link(self, method: bytes, path: bytes, body: bytes, patience_s: float) -> SimulatedAnswer:
        line = self._fleet.lines.setdefault(self._gateway, Line())
        chance, sleep = self._process.random.uniform, self._process.clock.sleep
        if line.down:
            await sleep(min(2.0, patience_s))
            raise Transient("upstream_connect", "The link is down.")
        await sleep(0.0005 + line.delay_s * chance())
        answer = await self._fleet.control(method, path, body, patience_s)
        if self._fleet.lines[self._gateway].down or chance() < line.forget:  # it may have gone down meanwhile
            await sleep(min(1.0, patience_s))
            raise Transient("upstream_reset", "The answer was lost on its way.")
        return answer

    async def _look(self, target: TargetEntry, connect_timeout_s: float) -> SimulatedAnswer:
        behaviour = self._fleet.behaviour(target)
        if behaviour.dead:
            await self._process.clock.sleep(connect_timeout_s * self._process.random.uniform())
            raise Transient("upstream_connect", "Nobody listens.")
        await self._process.clock.sleep(0.001)
        return SimulatedAnswer(200, JSON, b"{}")

    async def _counted(
        self, target: TargetEntry, patience_s: float, connect_s: float, idle_s: float, sink: Body | None
    ) -> SimulatedAnswer:
        fleet, key = self._fleet, (self._process.name, target.id)
        fleet.sent += 1
        fleet.in_flight[key] = fleet.in_flight.get(key, 0) + 1
        try:
            behaviour = fleet.behaviour(target)
            if behaviour.dead:
                await self._process.clock.sleep(connect_s * self._process.random.uniform() * 0.1)
                raise Transient("upstream_connect", "Nobody listens.")
            return await self._answer(target, behaviour, patience_s, idle_s, sink)
        finally:
            fleet.in_flight[key] -= 1

    async def _answer(
        self, target: TargetEntry, behaviour: Behaviour, patience_s: float, idle_s: float, sink: Body | None
    ) -> SimulatedAnswer:
        chance, sleep = self._process.random.uniform, self._process.clock.sleep
        outcome = behaviour.outcome(chance())
        wait_s = behaviour.latency_s * (0.5 + chance())
        if outcome == "stall" or wait_s > patience_s:
            await sleep(max(0.0, patience_s))
            raise Transient("upstream_timeout", "Nothing came.")
        await sleep(wait_s)
        if outcome == "reset":
            raise Transient("upstream_reset", "The connection broke.")
        if outcome in ("error", "busy"):
            told = SimulatedAnswer(500 if outcome == "error" else 429, JSON, b'{"error":{"message":"no"}}')
            return _through(told, sink)
        if outcome == "malformed":
            return _through(SimulatedAnswer(200, JSON, b"<html>"), sink)
        if sink is None:
            return SimulatedAnswer(200, JSON, INFERRED if target.protocol == "oip" else CHATTED)
        return await self._stream(behaviour, idle_s, sink)

    async def _stream(self, behaviour: Behaviour, idle_s: float, sink: Body) -> SimulatedAnswer:
        chance, sleep = self._process.random.uniform, self._process.clock.sleep
        sink.head(200, EVENTS)
        breaks_at = int(chance() * 4) if chance() < behaviour.cut else -1
        for number in range(4):
            if number == breaks_at:
                if chance() < 0.5:
                    await sleep(idle_s)
                    raise Transient("upstream_timeout", "Nothing more came.")
                raise Transient("upstream_reset", "The connection broke.")
            sink.chunk(PIECE)
            await sink.writable()
            await sleep(0.002 + chance() * 0.01)
        sink.chunk(LAST + DONE)
        await asyncio.sleep(0)
        return SimulatedAnswer(200, EVENTS, b"")


def _through(answer: SimulatedAnswer, sink: Body | None) -> SimulatedAnswer:
    """An answer that came at once: through the sink where there is one."""
    if sink is None:
        return answer
    sink.head(answer.status, answer.headers)
    sink.chunk(answer.body)
    return SimulatedAnswer(answer.status, answer.headers, b"")
