"""Live windows: what they count, when, and that a restart does not blank them."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.ledger.histogram import Histogram, nearest_rank
from andon.ledger.log import Log
from andon.ledger.reader import Cursor, Entry
from andon.ledger.row import Intent, Outcome
from andon.ledger.summary import OTHER, SUBJECTS_MAX, Reading, summarise
from andon.observability.feed import Feed
from andon.observability.windows.backfill import Backfill
from andon.observability.windows.batches import bucket_counts
from andon.observability.windows.service import Windows
from tests.ledger.conftest import QUICK, InlineRunner, disk

SECOND = 10**9
START = 1_800_000_000 * SECOND


class HandClock:
    """Time that a test sets."""

    def __init__(self, at_ns: int = START) -> None:
        self.at_ns = at_ns

    def now_ns(self) -> int:
        return self.at_ns

    def monotonic(self) -> float:
        return self.at_ns / SECOND

    async def sleep(self, seconds: float) -> None:
        self.at_ns += int(seconds * SECOND)
        await asyncio.sleep(0)


def outcome(number: int, at_ns: int, **fields: object) -> Outcome:
    given = {"endpoint": "chat", "release": "chat@1", "arm": "stable", "status": 200, **fields}
    return Outcome(id=f"r-{number}", at_ns=at_ns, **given)  # type: ignore[arg-type]  # tests name fields loosely


def entries(rows: list[Outcome], first: int = 1) -> list[Entry]:
    return [Entry(first + number, row) for number, row in enumerate(rows)]


@given(st.lists(st.floats(0, 1e12), max_size=300))
def test_a_batch_is_counted_as_one_by_one(values: list[float]) -> None:
    single, batch = Histogram(), Histogram()
    for value in values:
        single.add(value)
    batch.add_counts(bucket_counts(values))
    assert batch.total == single.total
    for share in (0.0, 0.5, 0.99, 1.0):
        one, other = single.quantile(share), batch.quantile(share)
        assert (one is None and other is None) or math.isclose(one or 0, other or 0, rel_tol=0.0203)


def test_a_batch_is_within_one_percent() -> None:
    values = np.random.default_rng(5).lognormal(11, 1.5, 50_000)
    histogram = Histogram()
    histogram.add_counts(bucket_counts(values))
    ordered = np.sort(values)
    for share in (0.5, 0.9, 0.95, 0.99, 0.999):
        exact = ordered[nearest_rank(share, len(ordered)) - 1]
        assert abs((histogram.quantile(share) or 0) - exact) <= 0.0100001 * exact


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 100_000), st.sampled_from("ab"), st.integers(1, 10**7), st.booleans()),
        max_size=80,
    ),
    st.sampled_from([10, 60, 300, 3600, 4000, 21_600, 40_000, 86_400]),
    st.integers(0, 20_000),
)
def test_a_reading_is_what_the_rows_of_its_span_come_to(
    drawn: list[tuple[int, str, int, bool]], seconds: int, later: int
) -> None:
    """Whatever the order in which rows come: what a window counts is a function of the rows' own times."""
    now = START + later * SECOND
    windows = Windows(HandClock(now))
    rows = [
        outcome(number, now - age * SECOND, endpoint=name, duration_us=duration, provider_error=bad)
        for number, (age, name, duration, bad) in enumerate(drawn)
    ]
    for at in range(0, len(rows), 7):
        windows.take_rows(entries(rows[at : at + 7], at + 1))
    for name in "ab":
        reading = windows.window(name, seconds=seconds)
        assert reading.since_ns <= now - seconds * SECOND
        assert now - seconds * SECOND - reading.since_ns < max(10, seconds * 0.0145) * SECOND
        chosen = [row for row in rows if row.endpoint == name and row.at_ns >= reading.since_ns]
        exact = summarise(chosen, reading.since_ns, now + 1)
        assert reading.requests == len(chosen)
        if exact:
            assert reading.errors == exact[0].errors
            assert reading.duration == exact[0].duration
    together = windows.readings(seconds)
    assert sum(one.requests for one in together) == sum(
        windows.window(name, seconds=seconds).requests for name in "ab"
    )


def test_late_rows_count_when_they_happened_and_very_late_ones_are_told() -> None:
    clock = HandClock()
    windows = Windows(clock)
    windows.take_rows(entries([outcome(1, START - 1800 * SECOND), outcome(2, START - 25 * 3600 * SECOND)]))
    assert windows.window("chat", seconds=60).requests == 0
    assert windows.window("chat", seconds=3600).requests == 1
    assert windows.too_late == 1


def test_a_gateway_whose_clock_is_ahead_counts_as_of_now() -> None:
    windows = Windows(HandClock())
    windows.take_rows(entries([outcome(1, START + 10**6 * SECOND)]))
    assert windows.window("chat", seconds=60).requests == 1
    assert windows.ahead == 1


def test_what_is_older_than_a_day_is_forgotten_and_memory_with_it() -> None:
    clock = HandClock()
    windows = Windows(clock)
    for hour in range(60):
        clock.at_ns = START + hour * 3600 * SECOND
        windows.take_rows(entries([outcome(hour, clock.at_ns, duration_us=5)], hour + 1))
    reading = windows.window("chat", seconds=86_400)
    assert 24 <= reading.requests <= 25
    assert all(len(level.slots) <= level.span_ns // level.slot_ns + 2 for level in windows._levels)


def test_shadows_count_only_when_they_are_named() -> None:
    windows = Windows(HandClock())
    windows.take_rows(
        entries(
            [
                outcome(1, START, arm="stable"),
                outcome(2, START, arm="canary", release="chat@2"),
                outcome(2, START, arm="shadow", release="chat@3", final=False),
            ]
        )
    )
    assert windows.window("chat").requests == 2
    assert windows.window("chat", arm="shadow").requests == 1
    assert windows.window("chat", "chat@2").arm == ""
    assert windows.window("chat", "chat@2").requests == 1
    assert [one.arm for one in windows.readings()] == ["stable", "canary", "shadow"]
    assert windows.window("nothing") == empty_reading(windows)


def empty_reading(windows: Windows) -> Reading:
    reading = windows.window("nothing")
    assert (reading.requests, reading.error_rate, reading.duration) == (0, None, None)
    return reading


def test_subjects_are_bounded_and_free_again_after_a_day() -> None:
    clock = HandClock()
    windows = Windows(clock)
    names = [outcome(n, START, endpoint=f"e-{n}") for n in range(SUBJECTS_MAX + 30)]
    windows.take_rows(entries(names))
    assert windows.window(OTHER).requests == 30
    clock.at_ns += 2 * 86_400 * SECOND
    windows.take_rows(entries([outcome(1, clock.at_ns, endpoint="fresh")], 1000))
    assert windows.window("fresh").requests == 1


def test_a_restart_counts_every_row_once_while_traffic_goes_on() -> None:
    async def main() -> None:
        clock = HandClock()
        on, runner = disk(), InlineRunner()
        log = await Log.open(on, "", clock, runner, "gateway-0", QUICK)
        await _write(log, range(100), clock.now_ns() - 3600 * SECOND // 2)
        windows = Windows(clock)
        feed = Feed([Cursor(on, after=100)], None, [windows], clock, runner)
        await _write(log, range(100, 150), clock.now_ns())
        await feed.turn()
        backfill = Backfill(windows, on, clock, runner)
        await backfill.run()
        await _write(log, range(150, 160), clock.now_ns())
        await feed.turn()
        assert windows.window("chat", seconds=3600).requests == 160
        assert windows.window("chat", seconds=60).requests == 60
        assert windows.complete_since_ns <= clock.now_ns() - 86_399 * SECOND
        await log.close()

    asyncio.run(main())


def test_backfilling_before_the_feed_has_brought_anything_counts_once_too() -> None:
    async def main() -> None:
        clock = HandClock()
        on, runner = disk(), InlineRunner()
        log = await Log.open(on, "", clock, runner, "gateway-0", QUICK)
        await _write(log, range(20), clock.now_ns())
        windows = Windows(clock)
        feed = Feed([Cursor(on, after=10)], None, [windows], clock, runner)
        await Backfill(windows, on, clock, runner).run()
        await feed.turn()
        await _write(log, range(20, 25), clock.now_ns())
        await feed.turn()
        assert windows.window("chat").requests == 25
        await log.close()

    asyncio.run(main())


async def _write(log: Log, numbers: range, at_ns: int) -> None:
    for number in numbers:
        log.append(outcome(number, at_ns, duration_us=1000 + number))
    await log.committed()


def test_intents_change_nothing() -> None:
    windows = Windows(HandClock())
    windows.take_rows([Entry(1, Intent(id="r", endpoint="chat"))])
    assert windows.readings() == []


def test_a_span_must_be_known() -> None:
    windows = Windows(HandClock())
    with pytest.raises(TypeError):
        windows.window()  # type: ignore[call-arg]  # an endpoint is needed
