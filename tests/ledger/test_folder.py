"""The real disk, the real thread and the lock on a folder."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from andon.kernel.clock import SystemClock
from andon.kernel.errors import Conflict
from andon.kernel.ports import Disk
from andon.ledger.disk import HANDLES_MAX, FileDisk
from andon.ledger.folder import FolderLock, open_log
from andon.ledger.reader import read
from andon.ledger.thread import WorkThread
from tests.ledger.conftest import disk, row


def test_rows_survive_in_a_real_folder_and_one_log_follows_another(tmp_path: Path) -> None:
    async def write(start: int) -> None:
        async with open_log(tmp_path, SystemClock(), "gateway-0") as log:

            async def one(number: int) -> None:
                log.append(row(number))
                await log.committed()

            await asyncio.gather(*(one(number) for number in range(start, start + 100)))

    asyncio.run(write(0))
    asyncio.run(write(100))
    assert [entry.row.id for entry in read(FileDisk(tmp_path))] == [f"r-{number}" for number in range(200)]


def test_a_second_writer_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_log(tmp_path, SystemClock(), "gateway-0"):
            with pytest.raises(Conflict, match=str(os.getpid())) as caught:
                async with open_log(tmp_path, SystemClock(), "gateway-0"):
                    pass
            assert caught.value.code == "ledger_in_use"
        async with open_log(tmp_path, SystemClock(), "gateway-0"):
            pass

    asyncio.run(main())


def _hold(folder: Path, pipe: Connection) -> None:
    FolderLock(folder)
    pipe.send("held")
    pipe.recv()


def test_the_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_hold, args=(tmp_path, theirs))
    process.start()
    try:
        assert mine.recv() == "held"
        with pytest.raises(Conflict, match=str(process.pid)):
            FolderLock(tmp_path)
    finally:
        process.kill()
        process.join()
        mine.close()
        theirs.close()
    FolderLock(tmp_path).release()


@pytest.fixture(params=["real", "simulated"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Disk]:
    return disk if request.param == "simulated" else lambda: FileDisk(tmp_path / "disk")


def test_both_disks_keep_the_contract_of_the_port(make: Callable[[], Disk]) -> None:
    on = make()
    assert on.list("") == []
    assert on.list("nowhere") == []
    assert on.size("a/b") == 0
    on.append("a/b", b"one")
    on.sync("a/b")
    on.commit("a/b", bytearray(b"two"))
    assert on.read("a/b") == b"onetwo"
    assert on.read("a/b", 2, 2) == b"et"
    assert on.read("a/b", 99) == b""
    on.truncate("a/b", 4)
    on.append("a/b", b"!")
    assert on.read("a/b") == b"onet!"
    on.replace("a/b", b"new")
    on.append("a/b", b"er")
    assert on.read("a/b") == b"newer"
    on.replace("a/a", b"")
    assert on.list("a") == ["a", "b"]
    assert on.size("a/b") == 5
    on.close("a/b")
    on.remove("a/b")
    on.remove("a/b")
    assert on.list("a") == ["a"]
    with pytest.raises(FileNotFoundError):
        on.read("a/b")


def test_the_real_disk_stays_below_its_root(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leads out"):
        FileDisk(tmp_path).append("../x", b"")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted as Linux shows them")
def test_the_real_disk_holds_few_handles(tmp_path: Path) -> None:
    on = FileDisk(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(50):
        on.append(f"f-{number}", b"x")
    assert len(os.listdir("/proc/self/fd")) - before <= HANDLES_MAX
    on.close_all()
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_thread_works_in_order_and_hands_errors_back() -> None:
    async def main() -> None:
        thread = WorkThread("test")
        done: list[int] = []
        results = [thread.run(lambda number=number: done.append(number)) for number in range(20)]  # type: ignore[misc]  # bound now
        failing = thread.run(lambda: 1 // 0)
        await asyncio.gather(*results)
        assert done == list(range(20))
        with pytest.raises(ZeroDivisionError):
            await failing
        thread.close()

    asyncio.run(main())
