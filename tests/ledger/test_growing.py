"""Readers of a segment that is being written: a frame seen half is never passed over once it is whole."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from andon.kernel.clock import SystemClock
from andon.ledger.disk import FileDisk
from andon.ledger.folder import open_log
from andon.ledger.reader import Cursor
from andon.ledger.row import Intent
from andon.ledger.scan import Damage
from andon.ledger.segment import parse_name


class Growing:
    """A disk on which every segment is as long as `length` for the first read beyond its header, then whole."""

    def __init__(self, disk: FileDisk, length: int) -> None:
        self._disk = disk
        self._length = length
        self._looks = 0

    def read(self, path: str, offset: int = 0, length: int = -1) -> bytes:
        data = self._disk.read(path, offset, length)
        if offset and parse_name(path):
            self._looks += 1
            if self._looks == 1:
                return data[: max(0, self._length - offset)]
        return data

    def list(self, folder: str) -> list[str]:
        return self._disk.list(folder)

    def size(self, path: str) -> int:
        return self._disk.size(path)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95])
def test_a_frame_that_was_half_there_at_the_first_look_is_read(tmp_path: Path, share: float) -> None:
    async def write() -> None:
        async with open_log(tmp_path, SystemClock(), "0") as log:
            for frame in range(6):
                for row in range(3):
                    log.append(Intent(f"{frame}-{row}"))
                await log.committed()

    asyncio.run(write())
    (segment,) = (path for path in tmp_path.iterdir() if parse_name(path.name))
    damages: list[Damage] = []
    disk = Growing(FileDisk(tmp_path), int(segment.stat().st_size * share))
    cursor = Cursor(disk, report=damages.append)  # type: ignore[arg-type]  # what a reader asks of a disk
    seen: list[str] = []
    for _ in range(4):
        seen += [entry.row.id for entry in cursor.poll()]
    assert damages == []
    assert seen == [f"{frame}-{row}" for frame in range(6) for row in range(3)]
