"""The store of bodies: bounded, droppable, and never in the way of the facts."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from andon.kernel.clock import SystemClock
from andon.kernel.random import SeededRandom
from andon.ledger.bodies import Body, decode_bodies
from andon.ledger.body_store import BodyStore, body_settings, make_room
from andon.ledger.disk import FileDisk
from andon.ledger.folder import open_log
from andon.ledger.log import Log
from andon.ledger.reader import Cursor
from andon.ledger.row import Outcome
from andon.ledger.settings import LogSettings
from andon.ledger.thread import WorkThread
from andon.testing.disk import SimulatedDisk
from tests.ledger.conftest import QUICK, InlineRunner

FAST = LogSettings(linger_s=0.0, flush_s=0.001, retry_s=0.001, reserve_bytes=0, segment_bytes=2000)


class Turning(SystemClock):
    """A clock that is later each time it is asked."""

    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        self.at += 1.0
        return self.at


def body(number: int, size: int = 1000) -> Body:
    return Body(f"{number:036d}", at_ns=1, part="input", size_bytes=size, data=b"x" * size)


async def put(store: BodyStore, made: Body) -> str:
    """Put a body and wait until it is on disk and there is room again."""
    dropped = store.put(made)
    await store.log.committed()
    await store.settled()
    return dropped


def kept(disk: SimulatedDisk | FileDisk) -> list[str]:
    return [entry.row.id for entry in Cursor(disk, decode=decode_bodies).poll(10_000)]


def test_the_oldest_sealed_segments_make_room_for_new_bodies():
    async def main() -> None:
        disk = SimulatedDisk(SeededRandom(1))
        log = await Log.open(disk, "", SystemClock(), InlineRunner(), "g", FAST)
        store = BodyStore(log, disk, InlineRunner(), Turning(), 20_000)
        await store.open()
        for number in range(100):
            assert await put(store, body(number)) == ""
            assert sum(disk.size(name) for name in disk.list("")) <= 20_000
        assert store.removed_segments > 10
        found = kept(disk)
        assert found == [body(number).id for number in range(100 - len(found), 100)]
        assert len(found) > 8
        await log.close()

    asyncio.run(main())


def test_a_new_process_goes_on_from_what_is_there_and_never_counts_from_one_again():
    async def main() -> None:
        disk = SimulatedDisk(SeededRandom(1))
        position = 0
        for turn in range(3):
            log = await Log.open(disk, "", SystemClock(), InlineRunner(), "g", FAST)
            store = BodyStore(log, disk, InlineRunner(), Turning(), 20_000)
            await store.open()
            assert (store.used_bytes > 500) == (turn > 0)
            for number in range(5):
                await put(store, body(number))
            await log.close()
            make_room(disk, "", 0, 0)
            cursor = Cursor(disk, decode=decode_bodies)
            cursor.poll(10_000)
            assert cursor.position > position
            position = cursor.position

    asyncio.run(main())


def test_over_the_limit_bodies_are_dropped_until_there_is_room():
    async def main() -> None:
        disk = SimulatedDisk(SeededRandom(1))
        settings = LogSettings(
            linger_s=0.0, flush_s=0.001, reserve_bytes=0
        )  # one segment that is never sealed
        log = await Log.open(disk, "", SystemClock(), InlineRunner(), "g", settings)
        store = BodyStore(log, disk, InlineRunner(), Turning(), 10_000)
        await store.open()
        told = [await put(store, body(number)) for number in range(20)]
        assert told[:6] == [""] * 6
        assert set(told[9:]) == {"limit"}
        await log.close()

    asyncio.run(main())


def test_a_full_disk_costs_bodies_and_no_fact():
    async def main() -> None:
        shared = SimulatedDisk(SeededRandom(1), capacity_bytes=40_000)
        rows = SimulatedDisk(SeededRandom(2))
        ledger = await Log.open(rows, "", SystemClock(), InlineRunner(), "g", QUICK)
        log = await Log.open(shared, "bodies", SystemClock(), InlineRunner(), "g", FAST)
        store = BodyStore(log, shared, InlineRunner(), Turning(), 10**9)
        dropped = []
        for number in range(60):
            dropped.append(store.put(body(number)))
            await asyncio.sleep(0.002)
            ledger.append(Outcome(f"{number:036d}"))
            await ledger.committed()
        assert dropped[0] == ""
        assert dropped[-1] == "disk"
        assert log.state == "full"
        assert (ledger.state, ledger.counters.rows) == ("ok", 60)
        shared.capacity_bytes = None
        await asyncio.sleep(0.02)
        assert store.put(body(99)) == ""
        await ledger.close()
        await log.close()

    asyncio.run(main())


def test_a_failing_disk_is_told_apart_from_too_much_pending():
    async def main() -> None:
        disk = SimulatedDisk(SeededRandom(1))
        settings = LogSettings(
            flush_s=60.0, pending_bytes=1500, batch_rows=10_000, reserve_bytes=0, retry_s=60.0
        )
        log = await Log.open(disk, "", SystemClock(), InlineRunner(), "g", settings)
        store = BodyStore(log, disk, InlineRunner(), Turning(), 10**9)
        assert [store.put(body(number)) for number in range(3)] == ["", "", "pending"]
        disk.fail_next("append", errno.EIO, times=9)
        with pytest.raises(Exception, match="disk"):
            await log.committed()
        assert store.put(body(4)) == "disk"
        disk.forgive()
        await log.close()

    asyncio.run(main())


def test_real_folders_and_threads(tmp_path: Path):
    async def main() -> None:
        thread = WorkThread("files")
        async with open_log(tmp_path, SystemClock(), "g", body_settings(600_000)) as log:
            store = BodyStore(log, FileDisk(tmp_path), thread, Turning(), 600_000)
            await store.open()
            for number in range(200):
                assert await put(store, body(number, 10_000)) == ""
            assert store.removed_segments
        thread.close()
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 600_000
        assert kept(FileDisk(tmp_path))[-1] == body(199).id

    asyncio.run(main())
