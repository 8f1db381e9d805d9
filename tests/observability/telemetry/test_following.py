"""Followers and counters: nothing lost, nothing twice, whatever dies; skipped only beyond the declared lag."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from andon.kernel.clock import SystemClock
from andon.kernel.errors import Permanent, Transient
from andon.kernel.telemetry import Taken
from andon.ledger.disk import FileDisk
from andon.ledger.folder import open_log
from andon.ledger.row import Intent, Outcome
from andon.ledger.thread import WorkThread
from andon.observability.families import Sample
from andon.observability.telemetry.counting import Counting
from andon.observability.telemetry.following import Follower, Item, Position, Terms
from andon.observability.telemetry.requests import RequestMetrics
from andon.observability.telemetry.sources import RowSource
from andon.observability.telemetry.vocabulary import Names, Vocabulary
from tests.observability.telemetry.rows import NOW_NS, SECOND_NS, outcome


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.sleeps: list[float] = []

    def now_ns(self) -> int:
        return NOW_NS + int(self.seconds * 1e9)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)


class Now:
    """Runs work at once."""

    def run(self, work: Callable[[], Any]) -> Awaitable[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            future.set_result(work())
        except Exception as error:  # it belongs to whoever awaits
            future.set_exception(error)
        return future


class Numbers:
    """A source of numbers, a second apart."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.missing = 0

    async def poll(self, after: int, limit: int) -> Sequence[Item]:
        upto = min(self.count, after + limit)
        return [Item(n, NOW_NS + n * SECOND_NS // 1000, n) for n in range(after + 1, upto + 1)]


class Backend:
    """Takes numbers, after as many failures as it is told."""

    def __init__(self, failures: list[Exception] | None = None) -> None:
        self.failures = failures or []
        self.taken: list[int] = []

    def send(self, batch: Sequence[int]) -> Taken:
        if self.failures:
            raise self.failures.pop(0)
        self.taken += batch
        return Taken(len(batch))


def follower(
    tmp_path: Path, backend: Backend, clock: Clock, count: int = 10, lag_s: float = 3600.0
) -> Follower[int]:
    terms = Terms(name="test", lag_s=lag_s, batch=4)
    return Follower(Numbers(count), backend.send, FileDisk(tmp_path), clock, Now(), terms)


async def drain(one: Follower[int]) -> None:
    while await one.turn():
        pass


def numbers(one: Follower[int]) -> dict[str, float]:
    return {name: sample.value for name, sample in one.samples()}


async def stop_when(task: asyncio.Task[None], what: Callable[[], bool]) -> None:
    while not what():
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_everything_is_sent_once_and_the_position_is_kept(tmp_path: Path) -> None:
    async def main() -> None:
        backend = Backend()
        first = follower(tmp_path, backend, Clock())
        await stop_when(asyncio.ensure_future(first.run()), lambda: len(backend.taken) == 10)
        assert backend.taken == list(range(1, 11))
        second = follower(tmp_path, backend, Clock(), count=13)
        await stop_when(asyncio.ensure_future(second.run()), lambda: len(backend.taken) == 13)
        assert backend.taken == list(range(1, 14))
        assert numbers(second)["andon_telemetry_exported_total"] == 13

    asyncio.run(main())


def test_a_backend_that_is_away_gets_the_same_batch_until_it_is_back(tmp_path: Path) -> None:
    async def main() -> None:
        away: list[Exception] = [Transient("telemetry_unreachable", "away") for _ in range(9)]
        backend, clock = Backend(away), Clock()
        one = follower(tmp_path, backend, clock)
        await drain(one)
        assert backend.taken == list(range(1, 11))
        assert clock.sleeps == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
        assert numbers(one)["andon_telemetry_retries_total"] == 9
        assert numbers(one)["andon_telemetry_skipped_total"] == 0

    asyncio.run(main())


def test_what_grew_too_old_is_skipped_and_counted(tmp_path: Path) -> None:
    async def main() -> None:
        away: list[Exception] = [Transient("telemetry_unreachable", "away") for _ in range(8)]
        backend = Backend(away)
        one = follower(tmp_path, backend, Clock(), lag_s=60.0)
        await drain(one)
        told = numbers(one)
        assert told["andon_telemetry_skipped_total"] + told["andon_telemetry_exported_total"] == 10
        assert told["andon_telemetry_skipped_total"] == 10 - len(backend.taken)
        assert (
            told["andon_telemetry_skipped_total"] == 10
        )  # 61.5 s of pauses, and all rows are of the first second

    asyncio.run(main())


def test_what_is_refused_for_good_is_counted_and_left_behind(tmp_path: Path) -> None:
    async def main() -> None:
        backend = Backend([Permanent("telemetry_refused", "no")])
        one = follower(tmp_path, backend, Clock())
        await drain(one)
        assert backend.taken == list(range(5, 11))
        assert numbers(one)["andon_telemetry_rejected_total"] == 4

    asyncio.run(main())


def test_a_bug_in_a_third_party_ends_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        backend = Backend([ValueError("a bug")])
        one = follower(tmp_path, backend, Clock())
        await drain(one)
        assert backend.taken == list(range(5, 11))

    asyncio.run(main())


def test_a_position_that_cannot_be_read_begins_where_it_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "test.json").write_bytes(b"{")
        backend = Backend()
        one = follower(tmp_path, backend, Clock())
        await stop_when(asyncio.ensure_future(one.run()), lambda: len(backend.taken) == 10)
        written = msgspec.json.decode((tmp_path / "test.json").read_bytes(), type=Position)
        assert (written.position, written.sent) == (10, 10)

    asyncio.run(main())


def test_rows_of_a_real_log_whatever_lies_between_them(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_log(tmp_path / "log", SystemClock(), "0") as log:
            for number in range(50):
                for _ in range(40):
                    log.append(Intent(f"intent-{number}"))
                log.append(outcome(number))
            log.append(Intent("the last"))
            await log.committed()
            source = RowSource(FileDisk(tmp_path / "log"), Now())
            seen: list[Item] = []
            position = 0
            while items := await source.poll(position, 30):
                position = items[-1].position
                seen += items
            assert [item.content.id for item in seen] == [outcome(number).id for number in range(50)]
            assert not await source.poll(position, 30)
            log.append(outcome(99))
            await log.committed()
            (item,) = await source.poll(position, 30)
            assert item.content.id == outcome(99).id

    asyncio.run(main())


def counted(found: Counting) -> float:
    families = {family.name: family for family in found.families()}
    samples: Sequence[Sample] = families["andon_requests_total"].samples if families else ()
    return sum(sample.value for sample in samples)


def test_counters_are_a_function_of_the_log_however_often_the_process_dies(tmp_path: Path) -> None:
    async def main() -> None:
        asked = 0

        async def write(log: Any, numbers: range) -> None:
            for number in numbers:
                log.append(outcome(number))
            await log.committed()

        def make() -> Counting:
            known = Vocabulary()

            async def refresh() -> None:
                nonlocal asked
                asked += 1
                known.learn(Names(endpoints=frozenset({"assistant"})))

            kept = FileDisk(tmp_path / "kept")
            return Counting(RequestMetrics(known), FileDisk(tmp_path / "log"), kept, Clock(), Now(), refresh)

        async with open_log(tmp_path / "log", SystemClock(), "0") as log:
            await write(log, range(100))
            first = make()
            assert first.families() == ()  # nothing is told before the end of the log
            await stop_when(asyncio.ensure_future(first.run()), lambda: counted(first) == 100)
            await write(log, range(100, 130))
            second = make()
            await stop_when(asyncio.ensure_future(second.run()), lambda: second.is_current)
            assert counted(second) == 130
            # Dies without a word: what was counted since the checkpoint is counted again from the log.
            third = make()
            task = asyncio.ensure_future(third.run())
            while not third.is_current:
                await asyncio.sleep(0)
            await write(log, range(130, 140))
            while counted(third) < 140:
                await asyncio.sleep(0)
            third._save = lambda: None  # type: ignore[method-assign]
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            fourth = make()
            await stop_when(asyncio.ensure_future(fourth.run()), lambda: fourth.is_current)
            assert counted(fourth) == 140
            assert isinstance(outcome(1), Outcome)
            assert asked >= 4

    asyncio.run(main())


def test_a_batch_under_way_at_the_end_is_not_sent_again(tmp_path: Path) -> None:
    async def main() -> None:
        gate = threading.Event()
        backend = Backend()

        def slow(batch: Sequence[int]) -> Taken:
            gate.wait(10)
            return backend.send(batch)

        thread = WorkThread("test")
        first = Follower(
            Numbers(4), slow, FileDisk(tmp_path), SystemClock(), thread, Terms(name="test", lag_s=1e9)
        )
        task = asyncio.ensure_future(first.run())
        while first._under_way is None:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(task, return_exceptions=True)
        thread.close()
        assert backend.taken == [1, 2, 3, 4]
        second = follower(tmp_path, backend, Clock(), count=6)
        await stop_when(asyncio.ensure_future(second.run()), lambda: len(backend.taken) >= 6)
        assert backend.taken == [1, 2, 3, 4, 5, 6]

    asyncio.run(main())
