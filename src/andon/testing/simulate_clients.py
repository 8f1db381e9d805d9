"""Simulated clients: requests of both dialects with real keys, some of which leave before the answer.

Each request runs inside its gateway's process, on the real `Gateway.handle`. What was promised is remembered, so that
the ledger can be held to it. Knows nothing of the gateway beyond what a client sees, but for the snapshot in force.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from andon.gateway.gateway import Gateway
from andon.kernel.random import Random
from andon.testing.simulate_factory import CHAT, CREDIT
from andon.testing.simulate_process import Process
from andon.wire.model import Header, Request

INFER = b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1.0,2.0,3.0,4.0]}]}'
CHATTING = b'{"model":"chat","max_tokens":16,"messages":[{"role":"user","content":"hi"}]}'
STREAMING = b'{"model":"chat","stream":true,"max_tokens":16,"messages":[{"role":"user","content":"hi"}]}'
WRONG = b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1.0,2.0,3.0]}]}'


@dataclass
class Held:
    """A key in a client's hands."""

    id: str
    secret: str
    team: str
    revoked: bool = False  # a person was told so


@dataclass
class Answered:
    """What a client was told, whole."""

    gateway: str
    process: str
    id: str
    status: int
    code: str
    started_at: float
    team: str
    replayed: bool


@dataclass
class Clients:
    """All clients of a factory."""

    keys: list[Held] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    left: int = 0
    wrongs: list[str] = field(default_factory=list)  # what a client must never see


class SimulatedReply:
    """`wire.model.Reply` in memory: keeps the rules that the real one enforces."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.gone = False
        self.status = 0
        self.head = b""
        self.body = bytearray()
        self.calls: list[str] = []

    @property
    def whole(self) -> bool:
        """Whether the client got a complete answer from a living process."""
        return bool(self.calls) and self.calls[-1] in ("send", "end")

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        self._call("send")
        self.status, self.head = status, headers
        self.body += body

    def start(self, status: int, headers: bytes) -> None:
        self._call("start")
        self.status, self.head = status, headers

    def write(self, data: bytes) -> None:
        if not self._process.dead:
            self.body += data

    async def writable(self) -> None:
        if self.gone:
            raise ConnectionResetError("the client has left")
        await asyncio.sleep(0)

    def end(self) -> None:
        self._call("end")

    def abort(self) -> None:
        self._call("abort")

    def _call(self, name: str) -> None:
        if self._process.dead or self.gone:
            self.calls.append("lost")
            return
        if name in ("send", "start") and self.calls:
            raise RuntimeError("This request has been answered already.")
        self.calls.append(name)

    def header(self, name: bytes) -> str:
        """One header's value; empty if it is not there."""
        for line in self.head.split(b"\r\n"):
            if line.lower().startswith(name + b":"):
                return line.partition(b":")[2].strip().decode()
        return ""


@dataclass
class Call:
    """One request about to be made."""

    key: Held | None
    path: bytes
    body: bytes
    headers: list[Header]
    leaves_after_s: float | None


def draw_call(random: Random, keys: list[Held]) -> Call:
    """A request as clients make them."""
    chance = random.uniform
    tried = [key for key in keys if not key.revoked] if chance() < 0.9 else keys
    key = tried[int(chance() * len(tried))] if tried and chance() < 0.97 else None
    headers: list[Header] = [(b"content-type", b"application/json")]
    if key is not None:
        headers.append((b"authorization", b"Bearer " + key.secret.encode()))
    if chance() < 0.5:
        path, body = b"/v2/models/" + CREDIT.encode() + b"/infer", INFER if chance() < 0.97 else WRONG
    else:
        path, body = b"/v1/chat/completions", STREAMING if chance() < 0.5 else CHATTING
        assert CHAT.encode() in body
    if chance() < 0.05:
        headers.append((b"idempotency-key", b"k%d" % int(chance() * 5)))
    leaves = chance() * 0.05 if chance() < 0.08 else None
    return Call(key, path, body, headers, leaves)


async def make_call(clients: Clients, call: Call, name: str, gateway: Gateway, process: Process) -> None:
    """Make a request, leave early if so inclined, and remember what was said."""
    reply = SimulatedReply(process)
    started_at = process.clock.monotonic()
    lacking: list[bool] = []

    async def walk() -> None:
        # The first stage runs before anything is awaited, so this is the snapshot that it sees.
        now_ns, snapshot = process.clock.now_ns(), gateway.snapshot
        entries = snapshot.keys if snapshot is not None else ()
        known = {one.id for one in entries if not one.expires_at_ns or now_ns < one.expires_at_ns}
        lacking.append(call.key is None or call.key.id not in known)
        await gateway.handle(Request(b"POST", call.path, b"", call.headers, call.body, "::1"), reply)

    task = process.start(walk())
    await asyncio.wait([task], timeout=call.leaves_after_s)
    if not task.done():
        if call.leaves_after_s is not None:
            reply.gone = True
            clients.left += 1
            task.cancel()
            await asyncio.wait([task])
    if process.dead or reply.gone:
        return
    if not task.cancelled() and task.exception() is not None:
        clients.wrongs.append(f"handling a request raised {task.exception()!r}")
    if not reply.calls or reply.calls[-1] == "start":
        clients.wrongs.append(f"a request of {name} was never answered: {reply.calls}")
    if not reply.whole:
        return
    if lacking and lacking[0] != (reply.status == 401) and gateway.snapshot is not None:
        clients.wrongs.append(
            f"{name} answered {reply.status} to a key that its snapshot {'lacks' if lacking[0] else 'has'}"
        )
    clients.statuses[reply.status] = clients.statuses.get(reply.status, 0) + 1
    clients.answered.append(
        Answered(
            gateway=name,
            process=process.name,
            id=reply.header(b"x-request-id"),
            status=reply.status,
            code="" if reply.status == 200 else code_of(bytes(reply.body)),
            started_at=started_at,
            team=call.key.team if call.key is not None else "",
            replayed=reply.header(b"idempotent-replayed") != "",
        )
    )


def code_of(body: bytes) -> str:
    """The stable code in an error of either dialect, as far as it can be seen."""
    return "ledger_unavailable" if b"ledger" in body else "error"
