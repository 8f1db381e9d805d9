"""Proof `rollback`: how soon a worse release is stopped, and how seldom one that is no worse.

Drives the real stage of the gateway, `admit` and `settle` with Exchanges, over simulated outcomes on virtual time: no
second implementation of the test. The A/A pairs are cut from VM noise measured by others, where it is present.
The last line is one JSON object. QUICK=1 ends within 50 s by looking less long at each null rollout.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import math
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from andon.kernel.exchange import Exchange
from andon.kernel.random import SeededRandom
from andon.kernel.reports import Cut, Report
from andon.kernel.snapshot import EndpointEntry, ReleaseEntry, RolloutEntry, Snapshot, TargetEntry
from andon.lifecycle.rollouts.compilation import gate_entries
from andon.lifecycle.rollouts.cuts import KeptCut
from andon.lifecycle.rollouts.stage import RolloutStage
from andon.lifecycle.rollouts.strategy import StrategySpec
from benchmarks.rollback_live import rounds

QUICK = bool(os.environ.get("QUICK"))
CANARY_RPS = 10.0  # open loop
NULL_ROLLOUTS = 2_000
NULL_LOOKS = 250 if QUICK else 5_000  # canary requests of each null rollout; every one is looked at
REPEATS = 300 if QUICK else 2_000
PAIR_WINDOW = 400  # measurements of each VM in one A/A pair: about a fortnight
CANARY_DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "canary"
_CHANCE = random.Random(11)
NOISE = tuple(math.exp(_CHANCE.gauss(0.0, 0.5)) for _ in range(1 << 15))  # lognormal, sigma 0.5

Outcome = tuple[bool, float]  # failed, seconds
World = Callable[[bool, int], Outcome]  # (canary, number of the request) -> outcome


class VirtualTime:
    """A clock that the simulation sets."""

    def __init__(self) -> None:
        self.at = 1.0

    def now_ns(self) -> int:
        return int(self.at * 1e9)

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


class Drawer:
    """Keeps the first cut."""

    def __init__(self) -> None:
        self.cut: Cut | None = None

    def send(self, report: Report) -> None:
        if isinstance(report, Cut) and self.cut is None:
            self.cut = report


class NoCuts:
    """Writes nothing down: the disk is not what is measured."""

    def load(self) -> dict[str, KeptCut]:
        return {}

    def keep(self, entry: KeptCut) -> None: ...


def snapshot(weight: int) -> Snapshot:
    """One endpoint in the middle of a canary, with the gates that a user gets who writes none."""

    def release(id_: str, arm: str, share: int) -> ReleaseEntry:
        place = TargetEntry(id=id_, url="unix:///none", protocol="oip")
        return ReleaseEntry(id=id_, arm=arm, weight=share, targets=(place,))

    rollout = RolloutEntry(
        id="credit-1",
        generation=1,
        stable="credit@1",
        canary="credit@2",
        gates=gate_entries(StrategySpec(), 1),
    )
    releases = (release("credit@1", "stable", 10_000 - weight), release("credit@2", "canary", weight))
    entry = EndpointEntry(name="credit", protocol="oip", releases=releases, rollout=rollout)
    return Snapshot(version=1, factory="proof", revision=1, compiled_at_ns=0, endpoints=(entry,))


def run_rollout(weight: int, looks_max: int, world: World, seed: int) -> tuple[Cut | None, int]:
    """Requests one after another until a cut or so many canary requests; the cut and the requests made."""
    clock, drawer = VirtualTime(), Drawer()
    stage = RolloutStage("gw-0", clock, SeededRandom(seed), drawer, NoCuts())  # type: ignore[arg-type]  # same verbs
    now = snapshot(weight)
    stage.adopt(now)()
    endpoint = now.endpoints[0]
    step_s = weight / 10_000 / CANARY_RPS
    looks = number = 0
    while looks < looks_max and drawer.cut is None:
        exchange = Exchange()
        exchange.name, exchange.endpoint = "credit", endpoint
        clock.at += step_s
        stage.admit(exchange)
        canary = exchange.arm == "canary"
        failed, seconds = world(canary, number)
        exchange.upstream_started_at = clock.at
        exchange.upstream_ended_at = clock.at + seconds
        exchange.status, exchange.provider_error = (502, True) if failed else (200, False)
        stage.settle(exchange)
        looks += canary
        number += 1
    return drawer.cut, number


def two_worlds(stable: float, canary: float, slower: float, seed: int) -> World:
    """Fixed error rates; lognormal latencies, the canary's `slower` times as long."""
    chance = random.Random(seed)
    draw, pick = chance.random, chance.getrandbits

    def outcome(is_canary: bool, number: int) -> Outcome:
        failed = draw() < (canary if is_canary else stable)
        return failed, 0.05 * NOISE[pick(15)] * (slower if is_canary else 1.0)

    return outcome


def drifting_world(base: float, seed: int) -> World:
    """Both arms alike; errors and latencies of both rise tenfold together now and then, as in a shared outage."""
    chance = random.Random(seed)
    draw, pick = chance.random, chance.getrandbits

    def outcome(is_canary: bool, number: int) -> Outcome:
        bad = (number // 700) % 3 == 2
        return draw() < (min(0.8, 10 * base) if bad else base), (0.5 if bad else 0.05) * NOISE[pick(15)]

    return outcome


def null_rollout(seed: int) -> tuple[bool, int]:
    """One rollout of a release that is no worse: base rates, weights and drift in turn."""
    base = (0.0, 0.001, 0.01, 0.05, 0.3)[seed % 5]
    weight = (
        (500, 1000, 2500, 5000)[(seed // 5) % 4] if not QUICK else (1000, 2500, 5000, 5000)[(seed // 5) % 4]
    )
    drifts = (seed // 20) % 2 == 0
    world = drifting_world(base, seed) if drifts else two_worlds(base, base, 1.0, seed)
    cut, requests = run_rollout(weight, NULL_LOOKS, world, seed)
    return cut is not None, requests


def stopped(name: str, stable: float, canary: float, slower: float, seed: int) -> tuple[str, int, float]:
    """One rollout of a worse release: requests and seconds until it was stopped; infinite if it never was."""
    cut, _ = run_rollout(1000, 5_000, two_worlds(stable, canary, slower, seed), seed)
    return (name, cut.canary_requests, cut.seconds) if cut else (name, 10**9, math.inf)


def pair_windows() -> Iterator[tuple[str, list[float], list[float]]]:
    """Two VMs of one kind over the same fortnights, in seconds per operation: nothing differs but the machine."""
    for file in sorted(CANARY_DATA.glob("*__long_*.csv.gz")):
        machines: dict[str, list[tuple[str, float]]] = defaultdict(list)
        with gzip.open(file, "rt") as lines:
            for row in csv.DictReader(lines):
                value = float(row["value"])
                machines[row["VM_id"]].append(
                    (row["starttime"], 1 / value if "rps" in file.name else value * 1e-3)
                )
        series = {name: [value for _, value in sorted(rows)] for name, rows in machines.items()}
        for one, other in itertools.permutations(series.values(), 2):
            for start in range(0, min(len(one), len(other)) - PAIR_WINDOW, PAIR_WINDOW):
                yield file.name, one[start : start + PAIR_WINDOW], other[start : start + PAIR_WINDOW]


def false_pair(pair: tuple[str, list[float], list[float]]) -> bool:
    """Whether a stop happens between two machines that run the same thing, at even weights."""
    _, stable, canary = pair
    places = {True: 0, False: 0}

    def outcome(is_canary: bool, number: int) -> Outcome:
        values, place = (canary, places[is_canary]) if is_canary else (stable, places[is_canary])
        places[is_canary] += 1
        return False, values[place % len(values)]

    cut, _ = run_rollout(5000, PAIR_WINDOW, outcome, len(stable))
    return cut is not None


def quantile(values: list[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


LIVE_ROUNDS = 8 if QUICK else 20

CASES = {
    "dead": (0.01, 1.0, 1.0),
    "errors 1% to 10%": (0.01, 0.10, 1.0),
    "twice as slow": (0.01, 0.01, 2.0),
}


def main() -> int:
    """Measure, print the table and the last line; 1 if a promise is not kept."""
    began = time.perf_counter()
    result: dict[str, float | int | None] = {}
    with ProcessPoolExecutor(max_workers=2) as pool:
        print(
            f"{'release':<18} {'requests p50':>12} {'p90':>6} {'seconds p50':>12} {'p90':>7}  at 10 %, 10 canary/s"
        )
        found: dict[str, list[tuple[int, float]]] = {}
        for name, (stable, canary, slower) in CASES.items():
            jobs = [pool.submit(stopped, name, stable, canary, slower, seed) for seed in range(REPEATS)]
            found[name] = [job.result()[1:] for job in jobs]
            requests, seconds = ([row[place] for row in found[name]] for place in (0, 1))
            print(
                f"{name:<18} {quantile(requests, 0.5):>12.0f} {quantile(requests, 0.9):>6.0f}"
                f" {quantile(seconds, 0.5):>12.2f} {quantile(seconds, 0.9):>7.2f}"
            )
        result["dead_requests_p50"] = int(quantile([row[0] for row in found["dead"]], 0.5))
        live = rounds(LIVE_ROUNDS)
        live_requests, live_seconds = ([float(row[place]) for row in live] for place in (0, 1))
        print(
            f"{'dead, for real':<18} {quantile(live_requests, 0.5):>12.0f} {quantile(live_requests, 0.9):>6.0f}"
            f" {quantile(live_seconds, 0.5):>12.2f} {quantile(live_seconds, 0.9):>7.2f}"
            f"  {LIVE_ROUNDS} real gateways, 10 canary/s"
        )
        result["dead_seconds_p90"] = round(quantile(live_seconds, 0.9), 3)
        errors = [float(row[0]) for row in found["errors 1% to 10%"]]
        result["err_1_to_10_p50"], result["err_1_to_10_p90"] = (
            int(quantile(errors, 0.5)),
            int(quantile(errors, 0.9)),
        )
        result["slow_2x_p50"] = int(quantile([row[0] for row in found["twice as slow"]], 0.5))
        before = time.perf_counter()
        nulls = list(pool.map(null_rollout, range(NULL_ROLLOUTS), chunksize=20))
        alarms, requests_all = sum(bad for bad, _ in nulls), sum(requests for _, requests in nulls)
        took = time.perf_counter() - before
        result["false_abort_rate"] = alarms / NULL_ROLLOUTS
        print(
            f"null rollouts      {alarms} of {NULL_ROLLOUTS} stopped; up to {NULL_LOOKS} canary requests each,"
            f" {requests_all:,} requests in all ({took / max(1, requests_all) * 2e6:.1f} us each, simulation included)"
        )
        result["aa_false_abort_rate"] = None
        pairs = list(pair_windows()) if CANARY_DATA.is_dir() else []
        if pairs:
            bad = sum(pool.map(false_pair, pairs, chunksize=8))
            result["aa_false_abort_rate"] = round(bad / len(pairs), 5)
            print(
                f"A/A pairs          {bad} of {len(pairs)} stopped; two VMs, {PAIR_WINDOW} measurements each"
            )
        else:
            print("A/A pairs          not measured: the VM noise data is not present")
    print(
        f"{time.perf_counter() - began:.0f} s; dead_seconds_p90 is of real processes, the rest on virtual time"
    )
    print(json.dumps(result))
    return 0 if kept(result) else 1


LIMITS = {
    "dead_requests_p50": 4,
    "dead_seconds_p90": 1.0,
    "err_1_to_10_p50": 60,
    "err_1_to_10_p90": 120,
    "slow_2x_p50": 120,
    "false_abort_rate": 0.01,
    "aa_false_abort_rate": 0.01,
}


def kept(result: dict[str, float | int | None]) -> bool:
    """Whether every measured figure is within its limit."""
    return all(value is None or value <= LIMITS[name] for name, value in result.items())


if __name__ == "__main__":
    sys.exit(main())
