"""Objectives: are budgets exact on any slice, does an outage page within a minute, does low traffic page nobody?

Random objectives over a generated ledger with late, corrected and repeated labels; counts by query (the ledger's own
engine over its own log), by live tallies (fed as the log grows) and by brute force in plain Python must be equal on
every window. Then
two replays in virtual time: a total outage at 99.9 % of 30 days, and a service with a few requests an hour and one
error a day. A mismatch is printed with its window.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from andon.kernel.clock import SystemClock
from andon.ledger.facts.model import Fact
from andon.ledger.folder import open_log
from andon.ledger.log import Log
from andon.ledger.queries import Engine
from andon.ledger.reader import Entry
from andon.ledger.row import Outcome
from andon.ledger.tables.engine import open_engine
from andon.observability.objectives.board import Board
from andon.observability.objectives.live import EVENTS_MAX, LiveObjectives
from andon.observability.objectives.model import AvailabilitySpec, IndicatorSpec, ObjectiveSpec, Slice
from andon.observability.objectives.repository import count, judged
from andon.observability.objectives.tallies import FINE_NS, NS, align_ns
from benchmarks.harness import QUICK, conclude
from benchmarks.slo_world import (
    BEGIN_NS,
    DAY_NS,
    DAYS,
    END_NS,
    Counted,
    brute,
    make_facts,
    make_rows,
    make_spec,
)

ROWS = 200_000
OBJECTIVES = 26 if QUICK else 80
WINDOWS = 6 if QUICK else 40
SEED = 20260
BATCH = 2_000


class StillClock:
    """A clock that is moved by hand."""

    def __init__(self, now_ns: int) -> None:
        self.ns = now_ns

    def now_ns(self) -> int:
        """Virtual wall time."""
        return self.ns

    def monotonic(self) -> float:
        """Virtual seconds."""
        return self.ns / NS

    async def sleep(self, seconds: float) -> None:
        """Nobody waits here."""
        raise NotImplementedError


def random_window(chance: random.Random, to_ns: int) -> tuple[int, int]:
    """A window that ends where live windows end; its length from a minute to the whole month."""
    length_s = chance.choice((60, 300, 1_800, 3_600, 7_200, 21_600, 86_400, 259_200, 2_592_000))
    return align_ns(to_ns - length_s * NS, to_ns)


class Ledger:
    """A ledger on disk, written as a gateway and the observer write it, and the engine over it."""

    def __init__(self, rows: Log, facts: Log, engine: Engine) -> None:
        self.engine = engine
        self._rows = rows
        self._facts = facts

    async def write(self, rows: Sequence[Outcome], facts: Sequence[Fact]) -> None:
        """Append, durably."""
        for log, items in ((self._rows, rows), (self._facts, facts)):
            for item in items:
                log.append(item)
            if items:
                await log.committed()


async def compare(rows: Sequence[Outcome], facts: Sequence[Fact], chance: random.Random) -> tuple[int, int]:
    """Slices looked at, and how many of their counts differ anywhere."""
    clock = StillClock(BEGIN_NS)
    live = LiveObjectives(clock)
    specs = {f"o{number}": make_spec(chance, number) for number in range(OBJECTIVES)}
    for name, spec in specs.items():
        live.put(name, 1, spec)
        live.objectives[name].filled = True  # there is nothing before the first row
    looks = sorted(
        chance.randrange(BEGIN_NS + DAY_NS, END_NS) // FINE_NS * FINE_NS for _ in range(WINDOWS - 1)
    )
    stream: list[Outcome | Fact] = sorted([*rows, *facts], key=lambda one: one.at_ns)
    slices = mismatches = at = 0
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="andon-slo-")))
        logs = {name: folder / name for name in ("rows", "facts", "bodies")}
        for log in logs.values():
            log.mkdir()
        row_log = await stack.enter_async_context(open_log(logs["rows"], SystemClock(), "0"))
        fact_log = await stack.enter_async_context(open_log(logs["facts"], SystemClock(), "facts"))
        engine = open_engine(logs["rows"], logs["facts"], logs["bodies"], str(folder / "tables"))
        stack.callback(engine.close)
        ledger = Ledger(row_log, fact_log, engine)
        for look in [*looks, END_NS]:
            begun = time.perf_counter()
            at = await feed(live, clock, stream, at, look, ledger)
            fed_s, begun = time.perf_counter() - begun, time.perf_counter()
            names = list(specs) if look == END_NS else chance.sample(sorted(specs), 2 if QUICK else 4)
            for name in names:
                truth = brute(
                    specs[name],
                    [row for row in rows if row.at_ns < look],
                    [f for f in facts if f.at_ns < look],
                )
                reload(live, live.objectives[name], engine, look)
                for window in sorted({random_window(chance, look) for _ in range(2 if QUICK else 6)}):
                    looked, bad = check(live.objectives[name], engine, truth, window, name)
                    slices += looked
                    mismatches += bad
            took_s = time.perf_counter() - begun
            print(
                f"{(look - BEGIN_NS) / DAY_NS:6.2f} d {at:>7} fed in {fed_s:4.1f} s {slices:>6} slices {took_s:5.1f} s"
            )
    return slices, mismatches


def reload(live: LiveObjectives, objective: Any, engine: Engine, now_ns: int) -> None:
    """Read a quality objective again if it asks for it, as the part's loop does."""
    if objective.verdicts is not None and (objective.stale or objective.partial):
        objective.load(
            judged(engine, objective.counting, now_ns - objective.reach_s * NS, EVENTS_MAX), now_ns
        )
        live.replay(objective, now_ns)


async def feed(
    live: LiveObjectives,
    clock: StillClock,
    stream: Sequence[Outcome | Fact],
    at: int,
    until_ns: int,
    ledger: Ledger,
) -> int:
    """Write and hand over what came before `until_ns`, in batches as the feed does."""
    while at < len(stream) and stream[at].at_ns < until_ns:
        rows: list[Outcome] = []
        facts: list[Fact] = []
        while at < len(stream) and stream[at].at_ns < until_ns and len(rows) + len(facts) < BATCH:
            one = stream[at]
            at += 1
            if isinstance(one, Outcome):
                rows.append(one)
            else:
                facts.append(one)
            clock.ns = one.at_ns
        await ledger.write(rows, facts)
        live.take_rows([Entry(at, row) for row in rows])
        live.take_facts(facts)
    clock.ns = until_ns
    for objective in live.objectives.values():
        objective.tally.advance(until_ns)
    return at


def check(
    objective: Any, engine: Engine, truth: Counted, window: tuple[int, int], name: str
) -> tuple[int, int]:
    """Slices of one window, and how many of them differ."""
    expected: dict[Slice, list[int]] = {}
    for at_ns, key, bad in truth:
        if window[0] <= at_ns < window[1]:
            counted = expected.setdefault(key, [0, 0])
            counted[0] += 1
            counted[1] += bad
    by_query = count(engine, objective.counting, *window)
    mismatches = 0
    keys = {*expected, *by_query, *objective.tally.slices}
    for key in keys:
        want = tuple(expected.get(key, (0, 0)))
        asked = by_query.get(key)
        tally = objective.tally.slices.get(key)
        got = (asked.total, asked.bad) if asked else (0, 0)
        counted_live = tally.window(*window) if tally else (0, 0)
        if got != want or counted_live != want:
            mismatches += 1
            print(f"{name} {key} {window}: brute {want}, query {got}, live {counted_live}", file=sys.stderr)
    return len(keys), mismatches


def outage_page_s(chance: random.Random) -> float:
    """The longest time from a total outage to its page, over random phases; 99.9 % of 30 days, 10 requests a second."""
    longest = 0.0
    for _ in range(5 if QUICK else 20):
        clock = StillClock(BEGIN_NS)
        live, board = world(clock, "30d")
        outage_ns = BEGIN_NS + 600 * NS + chance.randrange(10 * NS)
        for ago in range(7 * 86_400 // 5):
            live.objectives["availability"].tally.add((), BEGIN_NS - (ago + 1) * FINE_NS, 50, 0)
        number, next_ns = 0, BEGIN_NS
        while "page" not in {signal.severity for signal in board.firing()}:
            rows = []
            while next_ns < clock.ns:
                rows.append(Entry(number, request(number, next_ns, next_ns >= outage_ns)))
                number, next_ns = number + 1, next_ns + NS // 10
            live.take_rows(rows)
            if clock.ns > outage_ns - 60 * NS:
                board.evaluate()
            clock.ns += NS // 2  # the feed hands over, and the board looks, at least this often
            if clock.ns > outage_ns + 600 * NS:
                return float("inf")
        longest = max(longest, (clock.ns - NS // 2 - outage_ns) / NS)
    return longest


def lowtraffic_pages(chance: random.Random) -> tuple[int, int]:
    """Pages and tickets of 30 days with 0.5 to 2 requests an hour and one error a day at any time of it."""
    clock = StillClock(BEGIN_NS)
    live, board = world(clock, "30d")
    errors = {BEGIN_NS + day * DAY_NS + chance.randrange(DAY_NS) for day in range(DAYS)}
    moments = set(errors)
    at = float(BEGIN_NS)
    while at < END_NS:
        at += chance.expovariate(chance.uniform(0.5, 2.0) / (3_600 * NS))
        moments.add(int(at))
    events = sorted(moment for moment in moments if moment < END_NS)
    step = (60 if QUICK else 5) * NS
    pages, tickets = set(), set()
    place = 0
    while clock.ns < END_NS:
        clock.ns += step
        rows = []
        while place < len(events) and events[place] < clock.ns:
            rows.append(Entry(place, request(place, events[place], events[place] in errors)))
            place += 1
        live.take_rows(rows)
        board.evaluate()
        for signal in board.firing():
            (pages if signal.severity == "page" else tickets).add(signal.since_ns)
    return len(pages), len(tickets)


def homelab_page_s() -> float:
    """0.5 requests a second, then 90 % errors: seconds until the page."""
    clock = StillClock(BEGIN_NS)
    live, board = world(clock, "30d")
    outage_ns, number, next_ns = BEGIN_NS + 21_600 * NS, 0, BEGIN_NS
    while not [signal for signal in board.firing() if signal.severity == "page"]:
        rows = []
        while next_ns < clock.ns:
            rows.append(Entry(number, request(number, next_ns, next_ns >= outage_ns and number % 10 != 0)))
            number, next_ns = number + 1, next_ns + 2 * NS
        live.take_rows(rows)
        board.evaluate()
        clock.ns += 5 * NS
        if clock.ns > outage_ns + 86_400 * NS:
            return float("inf")
    return (clock.ns - 5 * NS - outage_ns) / NS


def world(clock: StillClock, period: str) -> tuple[LiveObjectives, Board]:
    """One objective of 99.9 % availability, and its board."""
    live = LiveObjectives(clock)
    spec = ObjectiveSpec(
        indicator=IndicatorSpec(availability=AvailabilitySpec()), objective=0.999, period=period
    )
    live.put("availability", 1, spec)
    live.objectives["availability"].filled = True
    return live, Board(live, clock)


def request(number: int, at_ns: int, failed: bool) -> Outcome:
    """One request."""
    return Outcome(
        id=str(number), at_ns=at_ns, status=503 if failed else 200, provider_error=failed, endpoint="e"
    )


def main() -> None:
    """Compare, replay, conclude."""
    chance = random.Random(SEED)
    rows = make_rows(chance, ROWS)
    facts = make_facts(chance, rows)
    print(f"{len(rows)} rows, {len(facts)} facts, {OBJECTIVES} objectives, seed {SEED}")
    slices, mismatches = asyncio.run(compare(rows, facts, chance))
    outage = outage_page_s(chance)
    pages, tickets = lowtraffic_pages(chance)
    homelab = homelab_page_s()
    print(f"one error a day for 30 days: {pages} pages, {tickets} tickets", file=sys.stderr)
    print(
        f"0.5 requests/s with 90 % errors: paged after {homelab:.0f} s (asked for: < 3600)", file=sys.stderr
    )
    conclude(
        {
            "slices": slices,
            "mismatches": mismatches,
            "outage_page_s": outage,
            "lowtraffic_false_pages_30d": pages,
        }
    )
    if mismatches or outage > 60 or pages or homelab >= 3_600:
        sys.exit(1)


if __name__ == "__main__":
    main()
