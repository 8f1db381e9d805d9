"""The log of lineage: written once, read back, bounded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from andon.kernel.clock import SystemClock
from andon.kernel.errors import Transient
from andon.ledger.disk import FileDisk
from andon.ledger.folder import open_log
from andon.ledger.reader import Cursor
from andon.security.lineage.log import LineageLog, decode_events
from tests.security.lineage.events import read, run_event


def test_events_are_written_once_and_read_back(tmp_path: Path):
    events = read(run_event(1), run_event(2))

    async def main() -> None:
        async with open_log(tmp_path, SystemClock(), "lineage") as inner:
            log = LineageLog(inner, 2**20, 0)
            assert [event.id for event in await log.add([*events, events[0]])] == [one.id for one in events]
            assert await log.add(events) == []

    asyncio.run(main())
    entries = Cursor(FileDisk(tmp_path), decode=decode_events).poll()
    assert [entry.row for entry in entries] == events


def test_beyond_its_size_nothing_is_taken(tmp_path: Path):
    async def main() -> None:
        async with open_log(tmp_path, SystemClock(), "lineage") as inner:
            log = LineageLog(inner, 100, 0)
            await log.add(read(run_event(1)))
            with pytest.raises(Transient) as caught:
                await log.add(read(run_event(2)))
            assert caught.value.code == "lineage_full"

    asyncio.run(main())
