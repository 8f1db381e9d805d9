"""Proof `gateway`: what it costs with every policy and a durable ledger on, beside what others cost with theirs.

Chat body of 1 KB against a stub that answers at once. On: API key, limits of key, team and endpoint, validation, a
running 90/10 canary with both gates, intent and outcome rows, breakers, time-outs. Everything in one run, in turns.

With SECURED=1 a second gateway stands beside that one, in turns with it: callers by signed tokens in place of keys,
policies, guards in shadow on every text both ways, audit in closed mode (`secured`). The last line has the same keys
and no other, and is of the secured one: its `relaxed` has audit in open mode, for closed refuses what may lose rows.
The line before it says `secured / plain`, the median over rounds of one ratio for each. It says so twice: with the body
that both have, the same in every request, where guards remember what they said of a text; and with bodies and answers
that nobody has seen before.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks import peers, secured
from benchmarks.factory import KEY_HEADER, gateway
from benchmarks.harness import (
    LOAD_CORE,
    PAYLOADS,
    PEERS,
    QUICK,
    ROOT,
    SECURED,
    Load,
    Server,
    conclude,
    free_port,
    median,
    need,
    running,
    table,
    wrk,
)

ROUNDS, SECONDS = (1, 2.0) if QUICK else (7, 3.0) if SECURED else (3, 4.0)
GROWTH_REQUESTS = 30_000 if QUICK else 200_000
CHAT = PAYLOADS / "chat.json"
PATH = "/v1/chat/completions"
OURS, RELAXED = ("secured", "secured relaxed") if SECURED else ("acknowledged", "relaxed")


@dataclass
class Contender:
    """One server under test and what was read of it."""

    name: str
    url: str
    headers: dict[str, str]
    server: Server | None = None
    slow: bool = False
    body: Path = CHAT
    fresh: bool = False
    busy: list[Load] = field(default_factory=list)
    single: list[Load] = field(default_factory=list)

    def measure(self) -> None:
        """One round: saturated with 32 connections, then alone."""
        connections = 8 if self.slow else 32
        self._run(connections, 1.0)
        self.busy.append(self._run(connections, SECONDS))
        self.single.append(self._run(1, SECONDS / 2))

    def _run(self, connections: int, seconds: float) -> Load:
        return wrk(
            self.url,
            self.body,
            connections=connections,
            seconds=seconds,
            headers=self.headers,
            server=self.server,
            fresh=secured.FRESH.decode() if self.fresh else "",
        )

    @property
    def per_core(self) -> float:
        """Requests per CPU second, the median of the rounds."""
        return median(self.busy, lambda load: load.per_core)


def half_load(contender: Contender, rate: float) -> dict[str, float]:
    """Open loop at half of what saturates it."""
    headers = [f"--header={name}: {value}" for name, value in contender.headers.items()]
    done = subprocess.run(
        [
            *("taskset", "-c", LOAD_CORE, sys.executable, "-m", "benchmarks.client", "--url", contender.url),
            *("--body", str(CHAT), f"--rate={rate:.0f}", f"--seconds={3 if QUICK else 8}", *headers),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def growth_mb(contender: Contender) -> float:
    """How much resident memory grows over the requests of the growth check."""
    assert contender.server is not None
    send = partial(wrk, contender.url, CHAT, connections=32, headers=contender.headers)
    send(seconds=1.0)
    before, sent = contender.server.rss_mb(), 0
    while sent < GROWTH_REQUESTS:
        sent += send(seconds=3.0).requests
    return contender.server.rss_mb() - before


def gateways(stack: contextlib.ExitStack, work: Path, upstream: int) -> list[Contender]:
    """Andon as it is measured, with a ledger that is acknowledged and one that is relaxed; and secured, if asked."""
    found = []

    def add(
        name: str, start: Callable[..., contextlib.AbstractContextManager[Server]], durability: str
    ) -> None:
        port = free_port()
        server = stack.enter_context(start(work / name.replace(" ", "-"), port, upstream, durability))
        headers = KEY_HEADER if start is gateway else secured.TOKEN_HEADER
        found.append(Contender(name, f"http://127.0.0.1:{port}{PATH}", headers, server))

    add("acknowledged", gateway, "acknowledged")
    if not SECURED:
        add("relaxed", gateway, "relaxed")
        return found
    add("secured", partial(gateway, change=secured.secure, environment=secured.CLOSED), "acknowledged")
    add("secured relaxed", partial(gateway, change=secured.secure), "relaxed")
    body = secured.fresh_body(work)
    plain, guarded = found[:2]
    found.append(
        Contender("plain, fresh texts", plain.url, plain.headers, plain.server, body=body, fresh=True)
    )
    found.append(
        Contender("secured, fresh texts", guarded.url, guarded.headers, guarded.server, body=body, fresh=True)
    )
    return found


def slow_peers(work: Path, upstream: int) -> list[Contender]:
    """The interpreted gateways, one after the other, because each idles expensively."""
    makers: list[
        tuple[str, Callable[..., contextlib.AbstractContextManager[Server]], str, Path, dict[str, str]]
    ] = [
        ("litellm", peers.litellm, PATH, CHAT, {"Authorization": f"Bearer {peers.KEY}"}),
        (
            "portkey",
            peers.portkey,
            PATH,
            CHAT,
            {
                "x-portkey-provider": "openai",
                "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/v1",
                "Authorization": "Bearer sk-upstream",
            },
        ),
        ("mlflow", peers.mlflow, "/gateway/chat/invocations", PAYLOADS / "chat_nomodel.json", {}),
    ]
    found = []
    for name, make, path, body, headers in makers:
        port = free_port()
        try:
            with make(port, upstream, work) as server:
                url = f"http://127.0.0.1:{port}{path}"
                contender = Contender(name, url, headers, server, slow=True, body=body)
                for _ in range(ROUNDS):
                    contender.measure()
                found.append(contender)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            print(f"{name}: not measured: {str(error)[:300]}", file=sys.stderr)
    return found


def ratio(of: Contender, to: Contender | None) -> float | None:
    """Requests per core of one over those of another; None if the other was not measured or failed."""
    if to is None or any(load.errors for load in to.busy):
        return None
    return of.per_core / to.per_core


def paired(of: Contender, to: Contender) -> float:
    """As `ratio`, round by round, because a shared machine is not the same from one to the next."""
    return statistics.median(
        one.per_core / other.per_core for one, other in zip(of.busy, to.busy, strict=True)
    )


def main() -> None:
    """Measure, print the table, conclude."""
    need("wrk", "nginx", "taskset")
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = free_port()
        stub = [sys.executable, "-m", "benchmarks.stub", str(upstream)]
        stack.enter_context(running(stub, upstream, core=LOAD_CORE, cwd=ROOT))
        contenders = [Contender("direct", f"http://127.0.0.1:{upstream}{PATH}", {})]
        contenders += gateways(stack, work, upstream)
        for name, make in [("nginx", peers.nginx), *([("envoy", peers.envoy)] if PEERS else [])]:
            port = free_port()
            server = stack.enter_context(make(port, upstream, work))
            contenders.append(
                Contender(name, f"http://127.0.0.1:{port}{PATH}", {"x-api-key": peers.KEY}, server)
            )
        for _ in range(ROUNDS):
            for contender in contenders:
                contender.measure()
        ours = next(one for one in contenders if one.name == OURS)
        half = half_load(ours, median(ours.busy, lambda load: load.rps) / 2)
        growth = growth_mb(ours)
        rss = ours.server.rss_mb() if ours.server else float("nan")
        if PEERS:
            contenders += slow_peers(work, upstream)
        report(contenders, half, growth, rss)


def report(contenders: list[Contender], half: dict[str, float], growth: float, rss: float) -> None:
    """The table and the last line."""
    rows = []
    for one in contenders:
        busy, single = one.busy, one.single
        rows.append(
            [
                one.name,
                round(median(busy, lambda load: load.rps)),
                round(one.per_core) if one.server else "-",
                round(1e6 / one.per_core, 1) if one.server else "-",
                round(median(busy, lambda load: load.p50_us)),
                round(median(busy, lambda load: load.p99_us)),
                round(median(single, lambda load: load.p50_us)),
                round(median(single, lambda load: load.p99_us)),
                sum(load.errors for load in [*busy, *single]),
            ]
        )
    table(
        ["", "rps c32", "per core", "CPU µs", "P50 µs", "P99 µs", "c1 P50 µs", "c1 P99 µs", "errors"],
        rows,
    )
    print(f"memory grew {growth:.1f} MiB over {GROWTH_REQUESTS:,} requests; half load: {half}")
    named = {one.name: one for one in contenders}
    direct, ours, relaxed = named["direct"], named[OURS], named[RELAXED]
    added = {
        share: (median(ours.single, figure) - median(direct.single, figure)) / 1e3
        for share, figure in (("p50", lambda load: load.p50_us), ("p99", lambda load: load.p99_us))
    }
    figures: dict[str, float | int | None] = {
        "rps_per_core": ours.per_core,
        "relaxed_rps_per_core": relaxed.per_core,
        "nginx_ratio": ratio(ours, named["nginx"]),
        "added_p50_ms_c1": added["p50"],
        "added_p99_ms_c1": added["p99"],
        "half_load_p99_ms": half["p99_ms"],
        "rss_mb": rss,
        "errors": int(half["errors"])
        + sum(load.errors for one in (ours, relaxed) for load in one.busy + one.single),
    }
    if PEERS:
        figures["envoy_ratio"] = ratio(ours, named.get("envoy"))
        figures["envoy_ratio_relaxed"] = ratio(relaxed, named.get("envoy"))
        for name in ("litellm", "portkey", "mlflow"):
            figures[f"{name}_ratio"] = ratio(ours, named.get(name))
    if SECURED:
        same = paired(ours, named["acknowledged"])
        fresh = paired(named["secured, fresh texts"], named["plain, fresh texts"])
        print(
            f"secured / plain: {same:.3f} of the requests per core; with texts that are all new: {fresh:.3f}"
        )
    conclude(figures)


if __name__ == "__main__":
    main()
