"""The log on virtual time with a slow disk: how long rows wait, exactly and repeatably."""

from __future__ import annotations

import asyncio

import pytest

from andon.kernel.random import SeededRandom
from andon.ledger.log import Log
from andon.ledger.reader import read
from andon.ledger.settings import LogSettings
from andon.testing.disk import SimulatedDisk
from andon.testing.loop import VirtualClock, run_virtual
from andon.testing.runner import InlineRunner
from tests.ledger.conftest import row

SETTINGS = LogSettings(reserve_bytes=0)


class SlowDisk:
    """A runner whose disk takes `sync_s` for each piece of work, in virtual time."""

    def __init__(self, clock: VirtualClock, sync_s: float) -> None:
        self._clock = clock
        self.sync_s = sync_s

    async def before(self) -> None:
        await self._clock.sleep(self.sync_s)


async def opened(clock: VirtualClock, disk: SimulatedDisk, sync_s: float) -> Log:
    runner = InlineRunner(SlowDisk(clock, sync_s).before)
    return await Log.open(disk, "gw", clock, runner, "gateway-0", SETTINGS)


def test_a_lone_client_waits_for_the_disk_and_nothing_else() -> None:
    async def main(clock: VirtualClock) -> None:
        log = await opened(clock, SimulatedDisk(SeededRandom(1)), 0.001)
        for number in range(20):
            started = clock.monotonic()
            log.append(row(number))
            await log.committed()
            assert clock.monotonic() - started == pytest.approx(0.001, abs=1e-5)
        await log.close()

    run_virtual(main, seed=1)


def test_a_row_that_nobody_waits_for_is_durable_within_the_promised_time() -> None:
    async def main(clock: VirtualClock) -> None:
        disk = SimulatedDisk(SeededRandom(1))
        log = await opened(clock, disk, 0.001)
        log.append(row(1))
        await clock.sleep(SETTINGS.flush_s + 0.002)
        assert len(list(read(disk, "gw"))) == 1
        await log.close()

    run_virtual(main, seed=1)


@pytest.mark.parametrize("seed", range(5))
def test_a_crowd_shares_commits_and_nobody_waits_longer_than_linger_and_two_syncs(seed: int) -> None:
    async def main(clock: VirtualClock) -> None:
        disk, sync_s = SimulatedDisk(SeededRandom(seed)), 0.001
        log = await opened(clock, disk, sync_s)
        waits: list[float] = []

        async def client(start: int) -> None:
            for number in range(start, start + 20):
                await clock.sleep(0.0001 * (number % 7))
                started = clock.monotonic()
                log.append(row(number))
                await log.committed()
                waits.append(clock.monotonic() - started)

        await asyncio.gather(*(client(20 * number) for number in range(32)))
        assert len(waits) == 640
        assert max(waits) <= SETTINGS.linger_s + 2 * sync_s + 1e-5
        assert log.counters.commits < 640 / 8
        await log.close()
        assert len({entry.row.id for entry in read(disk, "gw")}) == 640

    run_virtual(main, seed=seed)


def test_long_exchanges_in_the_crowd_do_not_make_a_lone_client_linger() -> None:
    async def main(clock: VirtualClock) -> None:
        log = await opened(clock, SimulatedDisk(SeededRandom(1)), 0.001)
        log.crowd = lambda: 500
        for number in range(10):
            started = clock.monotonic()
            log.append(row(number))
            await log.committed()
            assert clock.monotonic() - started == pytest.approx(0.001, abs=1e-5)
        await log.close()

    run_virtual(main, seed=1)
