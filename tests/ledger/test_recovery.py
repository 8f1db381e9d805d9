"""Crash at any byte, corruption of any byte: what was acknowledged stays, exactly once and in order."""

from __future__ import annotations

import asyncio
import errno

from hypothesis import given, settings
from hypothesis import strategies as st

from andon.kernel.errors import AndonError
from andon.kernel.random import SeededRandom
from andon.ledger.log import Log
from andon.ledger.reader import read
from andon.ledger.recovery import recover
from andon.ledger.scan import Damage
from andon.ledger.settings import LogSettings
from andon.testing.disk import PowerLoss, SimulatedDisk
from tests.ledger.conftest import disk, opened, row

SMALL = LogSettings(linger_s=0, flush_s=60, retry_s=60, segment_bytes=700, reserve_bytes=0)

steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 5)),
        st.tuples(st.just("commit"), st.just(0)),
        st.tuples(st.just("crash"), st.integers(1, 400)),
        st.tuples(st.just("close"), st.just(0)),
        st.tuples(st.just("room"), st.integers(0, 600)),
        st.tuples(st.sampled_from(["append!", "sync!", "truncate!", "replace!"]), st.integers(1, 3)),
    ),
    max_size=40,
)


class Story:
    """A log driven through steps, and what its users were told."""

    def __init__(self, seed: int) -> None:
        self.disk = SimulatedDisk(SeededRandom(seed))
        self.log: Log | None = None
        self.written = 0
        self.waiting: list[str] = []
        self.acknowledged: list[str] = []

    async def take(self, step: tuple[str, int]) -> None:
        name, number = step
        log = self.log or await self._reopen()
        if log is None:
            return
        if name == "append":
            for _ in range(number):
                log.append(row(self.written))
                self.waiting.append(f"r-{self.written}")
                self.written += 1
        elif name == "crash":
            self.disk.crash_after(number)
        elif name == "room":
            self.disk.capacity_bytes = self.disk.used_bytes + number
        elif name.endswith("!"):
            self.disk.fail_next(name[:-1], errno.EIO, number)
        elif name == "close":
            await log.close()
            if not log.counters.dropped:
                self.acknowledged += self.waiting
            self.log, self.waiting = None, []
        else:
            await log.committed()
            self.acknowledged += self.waiting
            self.waiting = []

    async def run(self, taken: list[tuple[str, int]]) -> None:
        for step in taken:
            try:
                await self.take(step)
            except (AndonError, PowerLoss, OSError):
                self._abandon()
        self._abandon()
        await self._reopen()

    async def _reopen(self) -> Log | None:
        self.log = await opened(self.disk, SMALL)
        return self.log

    def _abandon(self) -> None:
        """The process dies, and perhaps the machine; whatever was not acknowledged has no promise."""
        if self.log is not None:
            self.log._cancel_timers()  # a dead process has no timers
        self.disk.crash()
        self.disk.restart()
        self.disk.capacity_bytes = None
        self.log, self.waiting = None, []


@given(steps, st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_acknowledged_rows_survive_every_story_exactly_once_and_in_order(
    taken: list[tuple[str, int]], seed: int
) -> None:
    story = Story(seed)
    asyncio.run(story.run(taken))
    damages: list[Damage] = []
    found = [entry.row.id for entry in read(story.disk, "gw", report=damages.append)]
    promised = set(story.acknowledged)
    assert [id_ for id_ in found if id_ in promised] == story.acknowledged
    assert len(found) == len(set(found))
    assert sum(damage.rows for damage in damages) == 0


async def write_rows(on: SimulatedDisk, count: int) -> None:
    log = await opened(on, SMALL)
    for number in range(count):
        log.append(row(number))
        if number % 3 == 2:
            await log.committed()
    await log.close()


def segments(on: SimulatedDisk) -> list[str]:
    return [f"gw/{name}" for name in on.list("gw") if name.endswith(".log")]


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_flipped_byte_anywhere_is_reported_and_costs_only_its_own_frame(data: st.DataObject) -> None:
    on = disk()
    asyncio.run(write_rows(on, 30))
    path = data.draw(st.sampled_from(segments(on)))
    on.flip(path, data.draw(st.integers(0, on.size(path) - 1)), data.draw(st.integers(1, 255)))
    damages: list[Damage] = []
    found = [entry.row.id for entry in read(on, "gw", report=damages.append)]
    assert damages
    assert all(damage.segment == path for damage in damages)
    lost = sum(damage.rows for damage in damages)
    assert len(found) + lost == 30
    assert lost <= 3
    assert found == sorted(found, key=lambda id_: int(id_[2:]))


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_tail_torn_at_any_byte_is_cut_kept_aside_and_reported(data: st.DataObject) -> None:
    on = disk()

    async def main() -> None:
        log = await opened(on, LogSettings(reserve_bytes=0))
        for number in range(10):
            log.append(row(number))
            await log.committed()
        log._cancel_timers()  # the process is killed here

    asyncio.run(main())
    (path,) = segments(on)
    whole = on.read(path)
    cut = data.draw(st.integers(0, len(whole)))
    on.truncate(path, cut)
    recovered = recover(on, "gw", 0)
    found = [entry.row.id for entry in read(on, "gw")]
    assert found == [f"r-{number}" for number in range(len(found))]
    kept = on.read(path)
    assert whole.startswith(kept)
    assert recovered.torn_bytes == cut - len(kept)
    if recovered.torn_bytes:
        assert kept + on.read(path + ".torn") == whole[:cut]
    assert recovered.next_row > 10
    again = recover(on, "gw", 0)
    assert (again.torn_bytes, again.settled) == (0, 0)


def test_a_corrupt_frame_in_the_middle_is_skipped_with_its_place_and_its_rows() -> None:
    on = disk()

    async def main() -> None:
        log = await opened(on, LogSettings(reserve_bytes=0))
        for number in range(9):
            log.append(row(number))
            await log.committed()
        await log.close()

    asyncio.run(main())
    (path,) = segments(on)
    on.flip(path, on.size(path) // 2)
    damages: list[Damage] = []
    found = [entry.row.id for entry in read(on, "gw", report=damages.append)]
    assert len(found) == 8
    (damage,) = damages
    assert damage.rows == 1
    assert damage.offset < on.size(path) // 2 < damage.offset + damage.size_bytes


def test_a_missing_segment_is_reported_as_missing_rows() -> None:
    on = disk()
    asyncio.run(write_rows(on, 60))
    gone = segments(on)[2]
    on.remove(gone)
    on.remove(gone + ".sealed")
    damages: list[Damage] = []
    found = list(read(on, "gw", report=damages.append))
    assert len(found) + sum(damage.rows for damage in damages) == 60
    assert len(damages) == 1
