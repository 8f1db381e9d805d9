"""Everything is gathered once: over restarts, a journal that begins anew, and what a source has lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from andon.kernel.access import Access
from andon.kernel.clock import SystemClock
from andon.kernel.events import Event
from andon.ledger.folder import open_log
from andon.ledger.row import Intent, Outcome
from andon.ledger.settings import LogSettings
from andon.security.audit.checking import check_log
from andon.security.audit.gathering import Gatherer, JournalPage, LogFollower, decode_accesses, read_journal
from andon.security.audit.sources import FolderSource
from andon.security.audit.writer import LogWriter
from andon.store.model import Journaled
from tests.security.audit.logs import open_writer, subjects_of

AT_NS = 1_700_000_000_000_000_000


def event(sequence: int) -> Journaled:
    return Journaled(
        sequence=sequence,
        event=Event(name="key.created", subject="Key/a", actor="user:ann", at_ns=AT_NS + sequence),
    )


class Journal:
    """The part of a unit of work that is read."""

    def __init__(self, *sequences: int) -> None:
        self.lines = [event(sequence) for sequence in sequences]

    def events(self, *, after: int = 0, limit: int = 100, newest_first: bool = False) -> list[Journaled]:
        lines = [line for line in self.lines if line.sequence > after]
        return (lines[::-1] if newest_first else lines)[:limit]


def page(journal: Journal, positions: dict[str, int]) -> JournalPage:
    unit: Any = journal
    return read_journal(positions)(unit)


async def write(folder: Path, things: list[Any]) -> None:
    """A log of its own process, with segments of a few rows."""
    async with open_log(folder, SystemClock(), "0", LogSettings(segment_bytes=400, reserve_bytes=0)) as log:
        for thing in things:
            log.append(thing)
            await log.committed()


def gatherer(root: Path, writer: LogWriter) -> Gatherer:
    positions = writer.positions
    return Gatherer(
        LogFollower(root / "ledger", "rows/a", positions.get("rows/a", 0)),
        [LogFollower(root / "access", "access/a", positions.get("access/a", 0), decode_accesses)],
        subjects_of(root / "log"),
        SystemClock(),
    )


def drain(root: Path, writer: LogWriter, journal: Journal, limit: int = 3) -> None:
    one, complete = gatherer(root, writer), False
    while not complete:
        leaves, complete = one.gather(page(journal, writer.positions), writer.positions, limit)
        writer.append(leaves)
    writer.checkpoint()
    one.forget(writer.positions)


def access(at: int) -> Access:
    return Access(
        id=f"call-{at}", at_ns=AT_NS, principal="user:ann", action="key.create", resource="Key", allowed=True
    )


def test_each_thing_becomes_one_entry_over_restarts(tmp_path: Path) -> None:
    def rows(first: int) -> list[Any]:
        made: list[Any] = []
        for at in range(first, first + 10):
            made += [
                Intent(id=f"r-{at}", at_ns=AT_NS),
                Outcome(id=f"r-{at}", at_ns=AT_NS, final=False, status=502),
                Outcome(id=f"r-{at}", at_ns=AT_NS, attempt=1, status=200),
            ]
        return made

    for turn in range(3):
        asyncio.run(write(tmp_path / "ledger", rows(turn * 10)))
        asyncio.run(write(tmp_path / "access", [access(turn * 5 + at) for at in range(5)]))
        writer = open_writer(tmp_path / "log")
        drain(tmp_path, writer, Journal(*range(1, 3 + turn)))
        drain(tmp_path, writer, Journal(*range(1, 3 + turn)))  # nothing new
    findings = check_log(FolderSource(tmp_path / "log"), writer.signing.vkey)
    assert findings.faults == []
    assert findings.kinds == {"row": 30, "access": 15, "journal": 4}
    left = [name for name in (tmp_path / "access").iterdir() if name.suffix == ".log"]
    assert len(left) <= 3  # what is in the Merkle log is let go of


def test_a_journal_that_begins_anew_or_was_trimmed_is_told(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    (tmp_path / "access").mkdir()
    writer = open_writer(tmp_path / "log")
    drain(tmp_path, writer, Journal(1, 2, 3))
    drain(tmp_path, writer, Journal(7, 8))
    assert writer.positions == {"journal/1": 8, "audit": 1}
    drain(tmp_path, writer, Journal(1, 2))
    assert writer.positions == {"journal/1": 8, "audit": 1, "journal/2": 2}
    findings = check_log(FolderSource(tmp_path / "log"), writer.signing.vkey)
    assert (findings.faults, findings.gaps) == ([], 1)


def test_rows_that_were_lost_are_told(tmp_path: Path) -> None:
    asyncio.run(write(tmp_path / "ledger", [Outcome(id=f"r-{at}", at_ns=AT_NS) for at in range(30)]))
    (tmp_path / "access").mkdir()
    segments = sorted((tmp_path / "ledger").glob("*.log"))
    assert len(segments) > 3
    data = bytearray(segments[1].read_bytes())
    data[len(data) // 2] ^= 0xFF
    segments[1].write_bytes(data)
    writer = open_writer(tmp_path / "log")
    drain(tmp_path, writer, Journal())
    findings = check_log(FolderSource(tmp_path / "log"), writer.signing.vkey)
    assert findings.faults == []
    assert findings.gaps == 1
    assert findings.kinds["row"] < 30
