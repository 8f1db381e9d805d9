"""Proof `audit`: what clients had accepted, the ledger's rows, the spans received, the metrics' delta: one number.

A real factory before the dummy provider, and clients that do all that clients do: whole answers and streams, errors,
retries, cut streams, leaving amid a stream and while waiting, repeats with an Idempotency-Key, bad requests.
The collector is down for the middle third of the run. Accepted: the request was sent whole, and the protocol did not
refuse it as something that is no request; whether it was answered, refused by policy or left makes no difference.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from prometheus_client.parser import text_string_to_metric_families

from andon.app.home import Home
from andon.ledger.disk import FileDisk
from andon.ledger.reader import read
from andon.ledger.row import Outcome
from benchmarks.collector import Collector, collecting
from benchmarks.harness import QUICK, ROOT, conclude, free_port, table

SECONDS = 12.0 if QUICK else 60.0
CLIENTS = 24
PATIENCE_S = 30.0
REFUSALS_PER_S = 60.0  # the gateway writes a row for each of 100 refusals a second, and samples beyond
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(2**31)

# Endpoint, and what the provider does when asked for it.
BEHAVIOURS = {
    "good": "dummy",
    "flaky": "dummy?fail_every=3",
    "failing": "dummy?status=500",
    "busy": "dummy?status=429&retry_after_s=0.1",
    "cut": "dummy?cut_after=2",
    "slow": "dummy?latency_ms=5000",
    "endless": "dummy?tokens=100000&gap_ms=10",
}


@dataclass(frozen=True)
class Kind:
    """One thing that clients do."""

    name: str
    share: float
    model: str = "good"
    stream: bool = False
    leave_after: str = ""  # "first bytes" of the answer, or "a while" without one
    body: bytes = b""  # sent instead of a chat
    key: bool = True
    idempotent: bool = False
    refusal: bool = False  # counts against the rate of refusals


KINDS = (
    Kind("whole", 40),
    Kind("stream", 20, stream=True),
    Kind("retried", 12, model="flaky"),
    Kind("failing", 5, model="failing"),
    Kind("busy", 2, model="busy"),
    Kind("cut by provider", 4, model="cut", stream=True),
    Kind("client leaves stream", 6, model="endless", stream=True, leave_after="first bytes"),
    Kind("client leaves wait", 2, model="slow", leave_after="a while"),
    Kind("repeated", 2, idempotent=True, refusal=True),
    Kind("unknown model", 2, model="nobody", refusal=True),
    Kind("not JSON", 2, body=b"{", refusal=True),
    Kind("no key", 2, key=False, refusal=True),
)
NO_REQUEST = b"THIS IS NO REQUEST\r\n\r\n"


@dataclass
class Tally:
    """What the clients saw."""

    accepted: int = 0
    unsure: int = 0  # sent whole, and the connection ended without a word
    not_http: int = 0  # refused by the protocol
    results: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)


class Client:
    """One client: a connection, kept where it can be; one request at a time."""

    def __init__(self, port: int, key: str, tally: Tally, chance: random.Random) -> None:
        self._port, self._key, self._tally, self._chance = port, key, tally, chance
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._sent = 0

    async def run(self, until: float, refusals: Callable[[], bool]) -> None:
        """Requests until a time."""
        shares = [kind.share for kind in KINDS]
        while time.perf_counter() < until:
            kind = self._chance.choices(KINDS, shares)[0]
            if kind.refusal and not refusals():
                continue
            result = await self._one(kind)
            self._tally.results[kind.name, result] += 1
            if self._chance.random() < 0.002:
                await self._babble()
        self._close()

    async def _one(self, kind: Kind) -> str:
        request = self._request(kind)
        reader, writer = await self._connection()
        try:
            writer.write(request)
            await writer.drain()
        except OSError:
            self._close()
            return "not sent"
        self._tally.accepted += 1
        if kind.leave_after == "a while":
            await asyncio.sleep(1.0)  # long enough that the gateway has begun, however busy the machine is
            self._close()
            return "left"
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if kind.leave_after:
                await reader.read(1)
                self._close()
                return "left"
            await self._body(reader, head)
        except (OSError, asyncio.IncompleteReadError) as error:
            self._close()
            got = getattr(error, "partial", b"")
            if not got and "head" not in locals():
                self._tally.unsure += 1
                return "no answer"
            return "broken off"
        return head.split(b" ", 2)[1].decode()

    async def _body(self, reader: asyncio.StreamReader, head: bytes) -> None:
        lines = head.lower().split(b"\r\n")
        fields = dict(line.split(b": ", 1) for line in lines[1:] if b": " in line)
        if b"content-length" in fields:
            await reader.readexactly(int(fields[b"content-length"]))
        else:
            while size := int((await reader.readline()).split(b";")[0] or b"0", 16):
                await reader.readexactly(size + 2)
            await reader.readline()
        if fields.get(b"connection") == b"close":
            self._close()

    def _request(self, kind: Kind) -> bytes:
        chat: dict[str, Any] = {
            "model": kind.model,
            "messages": [{"role": "user", "content": "which spindle?"}],
        }
        if kind.stream:
            chat["stream"] = True
        body = kind.body or json.dumps(chat).encode()
        lines = ["POST /v1/chat/completions HTTP/1.1", "host: audit", "content-type: application/json"]
        lines.append(f"content-length: {len(body)}")
        if kind.key:
            lines.append(f"authorization: Bearer {self._key}")
        if kind.idempotent:
            self._sent += 1
            lines.append(f"idempotency-key: {id(self)}-{self._sent // 2}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def _babble(self) -> None:
        """Something that is no request: refused by the protocol, and neither accepted nor a row."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(NO_REQUEST)
        if b" 400 " in await reader.read(100):
            self._tally.not_http += 1
        writer.close()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None or self._reader.at_eof():
            self._close()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self._reader, self._writer

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


class Factory:
    """A factory of its own in a folder: three processes, their ports, a key."""

    def __init__(self, root: Path, provider: int, collector: str) -> None:
        self.root = root
        self.killed = 0
        self.port, self.admin_port, self.control_port, self.observer_port = (free_port() for _ in range(4))
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ANDON_", "OTEL_"))},
            "PYTHONPATH": str(ROOT / "src"),
            "ANDON_GATEWAY_PORT": str(self.port),
            "ANDON_GATEWAY_ADMIN_PORT": str(self.admin_port),
            "ANDON_CONTROL_PORT": str(self.control_port),
            "ANDON_OBSERVER_PORT": str(self.observer_port),
            "ANDON_OTLP_ENDPOINT": collector,
            "ANDON_TELEMETRY_PERIOD_S": "2",
        }
        (root / "factory.yaml").write_text(yaml.safe_dump_all(_documents(provider)))

    def andon(self, *words: str) -> str:
        """Run one command line; its output."""
        done = subprocess.run(
            [sys.executable, "-m", "andon.app.cli.main", *words],
            cwd=self.root, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"andon {' '.join(words)}: {done.stderr}")
        return done.stdout

    def start(self) -> str:
        """Start it, wait until all endpoints are served; the secret of a key."""
        self.andon("up", "-d", "-f", "factory.yaml")
        secret: str = json.loads(self.andon("keys", "create", "-o", "json"))["secret"]
        wait_for("the endpoints", self._serves)
        wait_for("the metrics", lambda: self.requests_total() is not None)
        time.sleep(0.5)  # the key reaches the gateway with the next snapshot
        return secret

    def stop(self) -> None:
        """End it."""
        with contextlib.suppress(SystemExit):  # what could not be started cannot be stopped
            self.andon("down")

    def kill_observer(self) -> None:
        """Kill -9; the supervisor starts another."""
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "andon.app.observer.process" in words and any(str(self.root) in word for word in words):
                process.kill()
                self.killed += 1

    def _serves(self) -> bool:
        snapshot = _get(f"http://127.0.0.1:{self.admin_port}/debug/snapshot")
        endpoints = json.loads(snapshot or "{}").get("endpoints", {})
        return all(
            endpoints.get(name) and all(release["targets"] for release in endpoints[name].values())
            for name in BEHAVIOURS
        )

    def requests_total(self) -> int | None:
        """The sum of andon_requests_total; None while nobody answers, or nothing has been counted to its end."""
        text = _get(f"http://127.0.0.1:{self.control_port}/metrics")
        if text is None or "andon_requests_total" not in text:
            return None
        return sum(
            int(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "andon_requests_total"
        )

    def rows(self) -> collections.Counter[str]:
        """How many final outcomes each request has in the ledger."""
        entries = read(FileDisk(Home(self.root).ledger))
        return collections.Counter(
            entry.row.id for entry in entries if isinstance(entry.row, Outcome) and entry.row.final
        )


def _documents(provider: int) -> Iterator[dict[str, Any]]:
    def resource(kind: str, name: str, **spec: Any) -> dict[str, Any]:
        return {"apiVersion": "andon/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}

    url = f"http://127.0.0.1:{provider}/v1"
    yield resource("Provider", "dummy", url=url, models=BEHAVIOURS)
    for name in BEHAVIOURS:
        yield resource(
            "Endpoint",
            name,
            protocol="openai",
            release={"provider": "dummy", "upstreamModel": name},
            retries=2,
        )


def _get(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:
        return None


def wait_for(what: str, look: Callable[[], bool]) -> None:
    """Return when `look` is true; ends the proof if that takes too long."""
    deadline = time.perf_counter() + PATIENCE_S
    while not look():
        if time.perf_counter() > deadline:
            raise SystemExit(f"waited {PATIENCE_S:.0f} s for {what}")
        time.sleep(0.1)


@contextlib.contextmanager
def providing() -> Iterator[int]:
    """The dummy provider; its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "andon.testing.provider", "--port", "0"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def load(port: int, key: str, seconds: float, clients: int, collector: Collector) -> Tally:
    """All clients for a while; the collector refuses everything during the middle third."""
    tally, chance, began = Tally(), random.Random(SEED), time.perf_counter()
    refused = 0

    def refusals() -> bool:
        nonlocal refused
        if refused >= (time.perf_counter() - began) * REFUSALS_PER_S:
            return False
        refused += 1
        return True

    def answer(path: str, message: Any) -> tuple[int, bytes]:
        down = seconds / 3 < time.perf_counter() - began < 2 * seconds / 3
        return (503, b"") if down else (200, b"")

    collector.answer = answer
    running = [
        Client(port, key, tally, random.Random(chance.random())).run(began + seconds, refusals)
        for _ in range(clients)
    ]
    await asyncio.gather(*running)
    return tally


@dataclass(frozen=True)
class Audit:
    """The four numbers, and what lies behind them."""

    accepted: int
    rows: int
    spans: int
    metric_delta: int
    tally: Tally
    requests: int  # distinct ids of rows
    traces: int  # distinct ids of root spans
    killed: int  # observers that were struck down


def audit(root: Path, seconds: float, clients: int, *, kill: bool = False) -> Audit:
    """Run a factory in `root` under load, then count four times. `kill` strikes the observer down half-way."""
    with collecting() as collector, providing() as provider:
        factory = Factory(root, provider, collector.url)
        try:
            key = factory.start()
            before = factory.requests_total() or 0
            rows_before, spans_before = sum(factory.rows().values()), len(collector.roots())
            strike = threading.Timer(seconds / 2, factory.kill_observer)
            if kill:
                strike.start()
            tally = asyncio.run(load(factory.port, key, seconds, clients, collector))
            strike.cancel()

            def settled() -> bool:
                rows = sum(factory.rows().values()) - rows_before
                delta = (factory.requests_total() or 0) - before
                return (
                    rows >= tally.accepted and delta >= rows and len(collector.roots()) - spans_before >= rows
                )

            deadline = time.perf_counter() + PATIENCE_S
            while not settled() and time.perf_counter() < deadline:
                time.sleep(0.5)
            time.sleep(1.5)  # whatever is there twice has come by now
            rows, roots = factory.rows(), collector.roots()
            return Audit(
                accepted=tally.accepted,
                rows=sum(rows.values()) - rows_before,
                spans=len(roots) - spans_before,
                metric_delta=(factory.requests_total() or 0) - before,
                tally=tally,
                requests=len(rows) - rows_before,
                traces=len({span.span_id for span in roots}) - spans_before,
                killed=factory.killed,
            )
        finally:
            factory.stop()


def main() -> None:
    """Run, tell what clients did, and compare."""
    with tempfile.TemporaryDirectory(prefix="andon-audit-") as name:
        found = audit(Path(name), SECONDS, CLIENTS)
    results = sorted(found.tally.results.items())
    table(("clients", "told", "requests"), [(kind, told, count) for (kind, told), count in results])
    print(
        f"{found.tally.not_http} refused as no HTTP, {found.tally.unsure} without any answer, "
        f"{found.requests} distinct rows, {found.traces} distinct root spans, seed {SEED}, {SECONDS:.0f} s; "
        "the collector was down for the middle third"
    )
    figures = {name: getattr(found, name) for name in ("accepted", "rows", "spans", "metric_delta")}
    conclude(figures)
    if len(set(figures.values())) > 1 or not found.accepted:
        sys.exit(1)


if __name__ == "__main__":
    main()
