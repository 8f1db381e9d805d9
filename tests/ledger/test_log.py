"""The log: what it promises to those who wait, and what it does when the disk does not play along."""

from __future__ import annotations

import asyncio
import errno

import pytest

from andon.kernel.errors import Transient
from andon.ledger.log import Log
from andon.ledger.reader import read
from andon.ledger.settings import LogSettings
from andon.testing.disk import SimulatedDisk
from tests.ledger.conftest import QUICK, HeldRunner, disk, opened, row


def ids(on: SimulatedDisk) -> list[str]:
    return [entry.row.id for entry in read(on, "gw")]


async def until(log: Log, state: str) -> None:
    """Give way to the log's own timers until it is in `state`."""
    async with asyncio.timeout(10):
        while log.state != state:
            await asyncio.sleep(0)


def test_a_row_is_on_disk_once_its_commit_is_awaited() -> None:
    async def main() -> None:
        on = disk()
        log = await opened(on)
        log.append(row(1))
        assert ids(on) == []
        await log.committed()
        assert ids(on) == ["r-1"]
        await log.close()

    asyncio.run(main())


def test_rows_that_arrive_during_a_commit_share_the_next_one() -> None:
    async def main() -> None:
        on, runner = disk(), HeldRunner()
        log = await opened(on, runner=runner)
        runner.holds = True
        log.append(row(0))
        first = log.committed()
        waiters = []
        for number in range(1, 50):
            log.append(row(number))
            waiters.append(log.committed())
        assert len(runner.held) == 1
        runner.let_go()
        await first
        runner.let_go()
        await asyncio.gather(*waiters)
        assert log.counters.commits == 2
        assert ids(on) == [f"r-{number}" for number in range(50)]
        runner.holds = False
        await log.close()

    asyncio.run(main())


def test_a_commit_with_nothing_new_waits_for_the_one_under_way() -> None:
    async def main() -> None:
        on, runner = disk(), HeldRunner()
        log = await opened(on, runner=runner)
        await log.committed()
        runner.holds = True
        log.append(row(0))
        first, second = log.committed(), log.committed()
        assert not second.done()  # type: ignore[attr-defined]  # it is a future
        runner.let_go()
        await asyncio.gather(first, second)
        runner.holds = False
        await log.close()

    asyncio.run(main())


def test_a_row_that_nobody_waits_for_is_flushed_by_time() -> None:
    async def main() -> None:
        on = disk()
        log = await opened(on)
        log.append(row(1))
        async with asyncio.timeout(10):
            while not log.counters.rows:
                await asyncio.sleep(0)
        assert ids(on) == ["r-1"]
        assert log.lag_s == 0.0
        await log.close()

    asyncio.run(main())


def test_a_full_batch_begins_its_commit_without_being_asked() -> None:
    async def main() -> None:
        on = disk()
        log = await opened(on, LogSettings(batch_rows=10, flush_s=60, reserve_bytes=0))
        for number in range(10):
            log.append(row(number))
        assert len(ids(on)) == 10
        await log.close()

    asyncio.run(main())


def test_cancelling_one_waiter_leaves_the_others_alone() -> None:
    async def main() -> None:
        runner = HeldRunner()
        log = await opened(disk(), runner=runner)
        runner.holds = True
        log.append(row(1))

        async def wait() -> None:
            await log.committed()

        tasks = [asyncio.create_task(wait()) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
        runner.let_go()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == [None, None]
        runner.holds = False
        await log.close()

    asyncio.run(main())


def test_a_row_that_cannot_be_encoded_leaves_no_bytes_behind() -> None:
    async def main() -> None:
        on = disk()
        log = await opened(on)
        log.append(row(1))
        with pytest.raises(TypeError):
            log.append(row(2, endpoint=object()))
        log.append(row(3))
        await log.committed()
        assert ids(on) == ["r-1", "r-3"]
        await log.close()

    asyncio.run(main())


def test_a_failed_sync_is_repaired_in_a_new_segment_without_anyone_noticing() -> None:
    async def main() -> None:
        on = disk()
        log = await opened(on)
        log.append(row(1))
        await log.committed()
        on.fail_next("sync", errno.EIO)
        log.append(row(2))
        await log.committed()
        assert log.state == "ok"
        await log.close()
        assert ids(on) == ["r-1", "r-2"]
        assert len([name for name in on.list("gw") if name.endswith(".log")]) == 2

    asyncio.run(main())


def test_a_copy_left_by_a_failed_sync_is_read_once() -> None:
    async def main() -> None:
        on = disk()
        log = await opened(on)
        log.append(row(1))
        await log.committed()
        on.fail_next("sync", errno.EIO)
        on.fail_next("truncate", errno.EIO)
        log.append(row(2))
        await log.committed()
        await log.close()
        damages: list[object] = []
        assert [entry.row.id for entry in read(on, "gw", report=damages.append)] == ["r-1", "r-2"]
        assert damages == []

    asyncio.run(main())


def test_a_broken_disk_fails_waiters_and_writes_their_rows_when_it_heals() -> None:
    async def main() -> None:
        on = disk()
        log = await opened(on)
        on.fail_next("append", errno.EIO, times=2)
        log.append(row(1))
        with pytest.raises(Transient) as caught:
            await log.committed()
        assert caught.value.code == "ledger_unavailable"
        assert log.state == "broken"
        assert log.problem is not None
        log.append(row(2))
        await until(log, "ok")
        await log.close()
        assert ids(on) == ["r-1", "r-2"]
        assert log.counters.failures == 1
        assert log.counters.dropped == 0

    asyncio.run(main())


def test_a_full_disk_refuses_at_once_and_recovers_when_space_returns() -> None:
    async def main() -> None:
        on = disk(capacity_bytes=150)
        log = await opened(on)
        for number in range(3):
            log.append(row(number))
        with pytest.raises(Transient, match="full"):
            await log.committed()
        with pytest.raises(Transient, match="full"):
            log.committed()
        on.capacity_bytes = None
        await until(log, "ok")
        await log.close()
        assert ids(on) == ["r-0", "r-1", "r-2"]

    asyncio.run(main())


def test_the_reserve_finishes_what_is_under_way_when_the_disk_fills() -> None:
    async def main() -> None:
        on = disk(capacity_bytes=5000)
        settings = LogSettings(linger_s=0, flush_s=60, retry_s=0.001, reserve_bytes=4000)
        log = await opened(on, settings)
        acknowledged = 0
        while log.state == "ok":
            log.append(row(acknowledged))
            await log.committed()
            acknowledged += 1
        assert log.state == "full"
        assert len(ids(on)) == acknowledged
        on.capacity_bytes = None
        await until(log, "ok")
        await log.close()
        assert on.size("gw/reserve") == 4000

    asyncio.run(main())


def test_a_slow_disk_is_bounded_in_memory_and_counted() -> None:
    async def main() -> None:
        runner = HeldRunner()
        log = await opened(disk(), LogSettings(pending_bytes=4096, reserve_bytes=0), runner)
        runner.holds = True
        log.append(row(0))
        first = log.committed()
        accepted, message = 0, ""
        while log.counters.dropped == 0:
            try:
                log.append(row(accepted))
                accepted += 1
            except Transient as error:
                message = error.message
        assert "slow" in message
        assert log.pending_bytes < 4096 + 500
        assert log.counters.dropped == 1
        runner.holds = False
        runner.let_go()
        await first
        await log.close()
        assert log.counters.rows == accepted + 1

    asyncio.run(main())


def test_closing_seals_refuses_more_and_can_be_repeated() -> None:
    async def main() -> None:
        on = disk()
        log = await opened(on)
        log.append(row(1))
        await log.close()
        await log.close()
        with pytest.raises(Transient):
            log.append(row(2))
        assert ids(on) == ["r-1"]
        assert [name for name in on.list("gw") if name.endswith(".sealed")]

    asyncio.run(main())


def test_closing_tries_a_failed_disk_once_more_and_counts_what_is_lost() -> None:
    async def main(faults: int) -> Log:
        on = disk()
        log = await opened(on, LogSettings(retry_s=60, reserve_bytes=0))
        on.fail_next("append", errno.EIO, times=faults)
        log.append(row(1))
        with pytest.raises(Transient):
            await log.committed()
        log.append(row(2))
        await log.close()
        assert ids(on) == ([] if log.counters.dropped else ["r-1", "r-2"])
        return log

    assert asyncio.run(main(faults=2)).counters.dropped == 0
    assert asyncio.run(main(faults=4)).counters.dropped == 2


def test_a_full_disk_does_not_keep_a_log_from_recovering() -> None:
    async def main() -> None:
        on = disk()
        settings = LogSettings(retry_s=60, flush_s=60, reserve_bytes=4000)
        log = await opened(on, settings)
        log.append(row(1))
        await log.committed()
        log._cancel_timers()  # the process is killed here, in the middle of a write
        (path,) = [f"gw/{name}" for name in on.list("gw") if name.endswith(".log")]
        on.append(path, b"torn")
        on.capacity_bytes = on.used_bytes
        log = await opened(on, settings)
        assert log.recovered.torn_bytes == 4
        assert log.state == "full"
        log.append(row(2))
        await log.committed()
        assert ids(on) == ["r-1", "r-2"]
        await log.close()

    asyncio.run(main())


def test_segments_turn_by_size_and_each_is_sealed() -> None:
    async def main() -> None:
        on = disk()
        log = await opened(on, LogSettings(segment_bytes=300, flush_s=60, reserve_bytes=0))
        for number in range(20):
            log.append(row(number))
            await log.committed()
        await log.close()
        names = on.list("gw")
        segments = [name for name in names if name.endswith(".log")]
        assert len(segments) > 3
        assert [name + ".sealed" for name in segments] == [name for name in names if name.endswith(".sealed")]
        assert ids(on) == [f"r-{number}" for number in range(20)]

    asyncio.run(main())


def test_an_old_segment_is_sealed_although_nothing_is_written() -> None:
    async def main() -> None:
        on = disk()
        log = await opened(on, LogSettings(segment_age_s=0.001, flush_s=60, reserve_bytes=0))
        log.append(row(1))
        await log.committed()
        async with asyncio.timeout(10):
            while not any(name.endswith(".sealed") for name in on.list("gw")):
                await asyncio.sleep(0)
        await log.close()

    asyncio.run(main())


def test_settings_keep_their_promise_of_five_milliseconds() -> None:
    assert LogSettings().linger_s <= 0.005
    assert LogSettings().flush_s <= 0.05
    assert QUICK.reserve_bytes == 0
