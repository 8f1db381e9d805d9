"""Proof `limits`: four real gateway processes on one real Redis, 200 clients at each, against pools of a known size.

A pool does not refill while it is measured, so what must happen is known exactly: of more requests than it holds, as
many are served as it holds, and nobody is refused before that many were on their way. Then a gateway is killed, the
store is killed and comes back, and each declared mode must do what it says. `overshoot` is the most that any pool gave
beyond its size, in reservations; `refused_wrongly` counts refusals for which there was room.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import uvloop

from andon.kernel.clock import SystemClock
from andon.kernel.errors import AndonError
from andon.kernel.snapshot import EndpointEntry, LimitEntry, ReleaseEntry, Snapshot, TargetEntry
from andon.wire.client import Client
from andon.wire.limits import ClientLimits
from benchmarks.factory import KEY_HEADER, gateway_command, gateway_environment, make_home
from benchmarks.harness import (
    LOAD_CORE,
    QUICK,
    ROOT,
    SERVER_CORE,
    Server,
    conclude,
    free_port,
    running,
    table,
)

PROCESSES = 4
CLIENTS = 200  # at each gateway
POOL = 1_000 if QUICK else 5_000
ASKED = 2 * POOL
CAP = 40  # tokens that a request may generate
TOKENS = 20_000 if QUICK else 60_000
SHARE = 200  # of the limits with a declared mode; a quarter of it for each gateway
PATIENCE_S = 0.5  # stated bound of the wait for a store that does not answer; the machine is shared
LEASE_S = 2.0
MARGIN_S = 1.0  # for clients that share two cores with what they measure
HEADERS = ((b"content-type", b"application/json"), *((k.encode(), v.encode()) for k, v in KEY_HEADER.items()))
MODES = ("closed", "open", "localShare")


def content(upstream: int) -> Snapshot:
    """One endpoint for each pool."""

    def endpoint(name: str, *models: str) -> EndpointEntry:
        targets = tuple(
            TargetEntry(
                id=f"provider-{at}", url=f"http://127.0.0.1:{upstream}", protocol="openai", model=model
            )
            for at, model in enumerate(models or ("dummy?latency_ms=5",))
        )
        release = ReleaseEntry(id=f"{name}@1", arm="stable", weight=10_000, targets=targets)
        return EndpointEntry(
            name=name, protocol="openai", releases=(release,), durability="relaxed", retries=0
        )

    def limit(name: str, **more: object) -> LimitEntry:
        return LimitEntry(name=name, scope="endpoint", subject=name, **more)  # type: ignore[arg-type]  # fields of a struct

    names = ("requests", "killed", "again", *MODES)
    return Snapshot(
        version=2,
        factory="proof",
        revision=1,
        compiled_at_ns=SystemClock().now_ns(),
        endpoints=(
            *(endpoint(name) for name in names),
            # One of two answers says what it used, later than the other; the other never does.
            endpoint("tokens", "dummy?latency_ms=80", "dummy?latency_ms=5&usage=false"),
            endpoint("places", "dummy?latency_ms=1500"),
        ),
        limits=(
            *(
                limit(
                    name, requests_per_minute=1, burst_requests=POOL if name not in MODES else SHARE,
                    on_store_down=name if name in MODES else "closed",
                )
                for name in names
            ),
            limit("tokens", tokens_per_minute=1, burst_tokens=TOKENS, on_store_down="closed"),
            limit("places", concurrency=POOL // 10, on_store_down="closed"),
        ),
    )  # fmt: skip


@dataclass
class Answer:
    """One request as its client saw it."""

    status: int  # 0 = the connection was lost
    began: float
    ended: float
    code: str = ""
    tokens: int | None = None


@dataclass
class Gateways:
    """The gateways, and clients at each."""

    ports: list[int]
    admin_ports: list[int]
    client: Client
    processes: list[Server] = field(default_factory=list)
    dead: set[int] = field(default_factory=set)

    async def ask(self, place: int, endpoint: str) -> Answer:
        """One request to one gateway."""
        target = TargetEntry(id=f"g{place}", url=f"http://127.0.0.1:{self.ports[place]}", protocol="openai")
        body = json.dumps(
            {"model": endpoint, "max_tokens": CAP, "messages": [{"role": "user", "content": "hi"}]}
        ).encode()
        began = time.perf_counter()
        try:
            answer = await self.client.send(
                target, b"POST", b"/v1/chat/completions", HEADERS, body,
                connect_timeout_s=30, first_byte_timeout_s=60, idle_timeout_s=60, deadline_at=began + 120,
            )  # fmt: skip
        except AndonError:
            return Answer(0, began, time.perf_counter())
        found = msgspec.json.decode(answer.body) if answer.body else {}
        error, usage = found.get("error") or {}, found.get("usage") or {}
        return Answer(
            answer.status, began, time.perf_counter(), str(error.get("code", "")), usage.get("total_tokens")
        )

    async def crowd(self, endpoint: str, asked: int, answers: list[Answer] | None = None) -> list[Answer]:
        """`asked` requests by 200 clients at each living gateway, one after the other; into `answers` as they come."""
        alive = [place for place in range(PROCESSES) if place not in self.dead]
        left = [asked // len(alive) + (at < asked % len(alive)) for at in range(len(alive))]
        answers = [] if answers is None else answers

        async def client(at: int, place: int) -> None:
            while left[at] > 0:
                left[at] -= 1
                answers.append(await self.ask(place, endpoint))

        clients = (client(at, place) for at, place in enumerate(alive) for _ in range(CLIENTS))
        await asyncio.gather(*clients)
        return answers

    async def total(self, metric: str) -> float:
        """The sum of a counter over the living gateways."""
        loop = asyncio.get_running_loop()
        found = 0.0
        for place, port in enumerate(self.admin_ports):
            if place not in self.dead:
                text = await loop.run_in_executor(None, read, f"http://127.0.0.1:{port}/metrics")
                found += sum(float(line.split()[1]) for line in text.splitlines() if line.startswith(metric))
        return found

    async def until_in_touch(self, *, away: bool) -> float:
        """Wait until every living gateway says of the store that it is away, or is back; how long that took."""
        began = time.perf_counter()
        loop = asyncio.get_running_loop()
        for place, port in enumerate(self.admin_ports):
            while place not in self.dead:
                text = await loop.run_in_executor(None, read, f"http://127.0.0.1:{port}/metrics")
                if f"andon_limits_store_away {int(away)}" in text:
                    break
                if time.perf_counter() - began > 60:
                    raise RuntimeError(f"gateway {place} does not say that the store is away={away}")
                await asyncio.sleep(0.02)
        return time.perf_counter() - began


def read(url: str) -> str:
    """A page of a gateway's admin listener; empty while it does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=5) as page:
            text: str = page.read().decode()
            return text
    except OSError:
        return ""


@dataclass
class Verdict:
    """What one scenario showed."""

    name: str
    pool: float
    asked: int
    served: int
    refused: int
    overshoot: float
    wrongly: int
    note: str = ""


def judge_pool(name: str, pool: int, answers: list[Answer], before: int = 0, lost: int = 0) -> Verdict:
    """Against a pool without refill, of which `before` were served earlier and `lost` may have been taken.

    A refusal is wrong if, when it came, fewer requests than the pool holds had even been sent that were served at last;
    and each unit that nobody got, although more was asked, is one more.
    """
    served = sorted(answer.began for answer in answers if answer.status == 200)
    refused = [answer for answer in answers if answer.status not in (200, 0)]
    early = 0
    for answer in refused:
        on_their_way = bisect_right(served, answer.ended) + before + lost
        early += on_their_way < pool
    unused = max(0, pool - before - lost - len(served)) if refused else 0
    return Verdict(
        name, pool, len(answers), len(served), len(refused),
        float(max(0, before + len(served) - pool)), max(early, unused),
    )  # fmt: skip


async def fixed_pool(gateways: Gateways) -> Verdict:
    """More requests than the pool holds, at once."""
    began = time.perf_counter()
    answers = await gateways.crowd("requests", ASKED)
    verdict = judge_pool("requests", POOL, answers)
    seconds = time.perf_counter() - began
    lent = await gateways.total("andon_limits_lent_total")
    verdict.note = f"{len(answers) / seconds:,.0f} requests/s, {lent:,.0f} granted from what was lent"
    return verdict


async def late_tokens(gateways: Gateways) -> Verdict:
    """Tokens with usage that comes late or never: ask until nothing is in flight and it is refused still."""
    answers: list[Answer] = []
    stop = asyncio.Event()
    in_flight = 0

    async def client(place: int) -> None:
        nonlocal in_flight
        while not stop.is_set():
            in_flight += 1
            answer = await gateways.ask(place, "tokens")
            in_flight -= 1
            answers.append(answer)
            if answer.status != 200:
                if in_flight == 0:
                    stop.set()
                await asyncio.sleep(0.05)

    crowd = [client(place) for place in range(PROCESSES) for _ in range(CLIENTS // 4)]
    await asyncio.gather(*crowd)
    await asyncio.sleep(0.2)  # what has ended is told to the authority within a tick
    last = [await gateways.ask(place, "tokens") for place in range(PROCESSES)]
    answers += last
    while any(answer.status == 200 for answer in last):
        last = [await gateways.ask(place, "tokens") for place in range(PROCESSES)]
        answers += last
    served = [answer for answer in answers if answer.status == 200]
    reservation = reserved_tokens()
    used = sum(answer.tokens if answer.tokens is not None else reservation for answer in served)
    return Verdict(
        "tokens", TOKENS, len(answers), len(served), len(answers) - len(served),
        max(0.0, (used - TOKENS) / reservation), int(max(0, TOKENS - used) // reservation),
        f"{sum(answer.tokens is None for answer in served)} never said what they used",
    )  # fmt: skip


def reserved_tokens() -> int:
    """What the gateway reserves for one of these requests: a token for four bytes, and the stated cap."""
    body = json.dumps({"model": "tokens", "max_tokens": CAP, "messages": [{"role": "user", "content": "hi"}]})
    return len(body) // 4 + CAP


async def gateway_killed(gateways: Gateways) -> tuple[Verdict, Verdict]:
    """A gateway dies with requests in flight: what it held comes back, and the pool is exact still."""
    holding = [asyncio.ensure_future(gateways.ask(3, "places")) for _ in range(POOL // 10)]
    first: list[Answer] = []
    task = asyncio.ensure_future(gateways.crowd("killed", POOL * 3 // 4, first))
    while len(first) < POOL // 4:
        await asyncio.sleep(0.001)
    os.kill(gateways.processes[3].process.pid, signal.SIGKILL)
    gateways.dead.add(3)
    await task
    await asyncio.gather(*holding)
    lost = sum(answer.status == 0 for answer in first)
    await asyncio.sleep(LEASE_S * 1.5)
    second = await gateways.crowd("killed", ASKED)
    served = sum(answer.status == 200 for answer in first)
    verdict = judge_pool("killed", POOL, second, before=served)
    taken = POOL - served - verdict.served
    verdict.wrongly = max(0, taken - lost)
    verdict.asked += len(first)
    verdict.served += served
    verdict.note = f"{lost} requests were lost with the gateway, {taken} of them had been counted"
    alive = [place for place in range(PROCESSES) if place not in gateways.dead]
    places = POOL // 10
    asks = [gateways.ask(alive[at % len(alive)], "places") for at in range(places + 20)]
    answers = await asyncio.gather(*asks)
    got = sum(answer.status == 200 for answer in answers)
    return verdict, Verdict(
        "places", places, len(answers), got, len(answers) - got, float(max(0, got - places)),
        max(0, places - got), "held by the dead gateway a lease ago",
    )  # fmt: skip


async def store_down(gateways: Gateways, store: Store) -> list[Verdict]:
    """The store is killed: each mode does what it declares, nobody waits beyond the patience; then it is back."""
    store.kill()
    took = await gateways.until_in_touch(away=True)
    verdicts = []
    alive = PROCESSES - len(gateways.dead)
    for mode in MODES:
        answers = await gateways.crowd(mode, 2 * SHARE)
        served = sum(answer.status == 200 for answer in answers)
        expected = {"closed": 0, "open": 2 * SHARE, "localShare": alive * (SHARE // PROCESSES)}[mode]
        slow = max(answer.ended - answer.began for answer in answers)
        wrong = sum(answer.status == 503 for answer in answers) if mode != "closed" else 0
        verdict = Verdict(
            f"away: {mode}", expected, len(answers), served, len(answers) - served,
            float(max(0, served - expected)), max(0, expected - served) + wrong,
            f"noticed in {took * 1000:.0f} ms, longest wait {slow * 1000:.0f} ms",
        )  # fmt: skip
        verdicts.append(verdict)
    store.start()
    back = await gateways.until_in_touch(away=False)
    verdict = judge_pool("back again", POOL, await gateways.crowd("again", ASKED))
    verdict.note = f"back in {back * 1000:.0f} ms"
    return [*verdicts, verdict, await store_hangs(gateways, store)]


async def store_hangs(gateways: Gateways, store: Store) -> Verdict:
    """The store stops without closing anything: requests wait the stated patience, no longer."""
    store.signal(signal.SIGSTOP)
    answers = await gateways.crowd("open", 4 * PROCESSES)
    store.signal(signal.SIGCONT)
    slow = max(answer.ended - answer.began for answer in answers)
    late = sum(answer.ended - answer.began > PATIENCE_S * 1.25 + MARGIN_S for answer in answers)
    served = sum(answer.status == 200 for answer in answers)
    await gateways.until_in_touch(away=False)
    return Verdict(
        "hangs: open", len(answers), len(answers), served, len(answers) - served, 0.0,
        len(answers) - served + late, f"longest wait {slow * 1000:.0f} ms of {PATIENCE_S * 1000:.0f} stated",
    )  # fmt: skip


class Store:
    """The real Redis, which may be killed, stopped and started again."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            sys.exit("This proof needs redis-server: install the Debian package redis-server.")
        self.port = free_port()
        self._command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, empty."""
        self._process = subprocess.Popen(
            ["taskset", "-c", LOAD_CORE, *self._command],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None  # started before
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


async def scenarios(gateways: Gateways, store: Store) -> list[Verdict]:
    """All of them, on the same processes."""
    await gateways.until_in_touch(away=False)
    verdicts = [await fixed_pool(gateways), await late_tokens(gateways)]
    verdicts += await gateway_killed(gateways)
    verdicts += await store_down(gateways, store)
    await gateways.client.close()
    return verdicts


def main() -> None:
    """Start everything, run the scenarios, say what they showed."""
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = Store(work)
        store.start()
        stack.callback(store.kill)
        provider = free_port()
        command = [sys.executable, "-m", "andon.testing.provider", "--port", str(provider)]
        stack.enter_context(
            running(
                command, provider, core=LOAD_CORE, environment={"PYTHONPATH": f"{ROOT / 'src'}"}, cwd=ROOT
            )
        )
        ports, admin_ports, processes = [], [], []
        for place in range(PROCESSES):
            home = make_home(
                work / str(place), provider, "relaxed", lambda kept: with_keys(content(provider), kept)
            )
            ports.append(free_port())
            admin_ports.append(free_port())
            environment = {
                **gateway_environment(ports[-1]),
                "ANDON_GATEWAY_ADMIN_PORT": str(admin_ports[-1]),
                "ANDON_GATEWAY_NAME": str(place),
                "ANDON_GATEWAYS": str(PROCESSES),
                "ANDON_LIMITS_URL": f"redis://127.0.0.1:{store.port}/0",
                "ANDON_LIMITS_PATIENCE_S": str(PATIENCE_S),
                "ANDON_LIMITS_LEASE_S": str(LEASE_S),
            }
            processes.append(
                stack.enter_context(
                    running(
                        gateway_command(home),
                        ports[-1],
                        environment=environment,
                        core=f"{SERVER_CORE},{LOAD_CORE}",
                    )
                )
            )
        client_limits = ClientLimits(connections_max=1024, waiting_max=20_000)
        gateways = Gateways(ports, admin_ports, Client(SystemClock(), client_limits), processes)
        verdicts = uvloop.run(scenarios(gateways, store))
    table(
        ("scenario", "pool", "asked", "served", "refused", "overshoot", "refused wrongly", "note"),
        [
            (one.name, one.pool, one.asked, one.served, one.refused, one.overshoot, one.wrongly, one.note)
            for one in verdicts
        ],
    )
    conclude(
        {
            "overshoot": max(one.overshoot for one in verdicts),
            "refused_wrongly": sum(one.wrongly for one in verdicts),
            "processes": PROCESSES,
            "concurrency": PROCESSES * CLIENTS,
        }
    )


def with_keys(wanted: Snapshot, kept: Snapshot) -> Snapshot:
    """The pools' snapshot with the key that the home knows."""
    return msgspec.structs.replace(wanted, keys=kept.keys)


if __name__ == "__main__":
    main()
