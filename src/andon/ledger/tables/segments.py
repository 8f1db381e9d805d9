"""Closed segments of one log folder, and what is in them: intact rows as columns, and every place where some are not.

A segment is closed when it has its seal or a newer segment exists. A copy that a failed write left behind is known by
its row numbers and read once; a hole, a gap or a row that does not decode is told with its place and costs only itself.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pyarrow as pa

from andon.kernel.ports import Disk
from andon.ledger import segment
from andon.ledger.disk import FileDisk
from andon.ledger.recovery import read_seal, segments_of
from andon.ledger.row import SCHEMA_VERSION
from andon.ledger.scan import Damage, Frame, Hole, read_header, scan
from andon.ledger.seals import Seal
from andon.ledger.tables.schema import BODIES, Origin, Spoiled, Transposer, uncollected
from andon.ledger.tables.sources import position_key, segment_key

_COMPANIONS = (segment.SEAL_SUFFIX, segment.TORN_SUFFIX)


class LogFolder:
    """One log as the sealer sees it: its folder, and the keys by which tables remember it."""

    def __init__(self, log: str, folder: Path, source: str) -> None:
        self.log = log
        self.folder = folder
        self.disk: Disk = FileDisk(folder)
        self.segment_key = segment_key(log, source)
        self.position_key = position_key(log, source)


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """A segment to which nothing will be added."""

    name: str
    number: int
    first_row: int
    size_bytes: int
    seal: Seal | None  # None: given up by its writer, which went on in the next one


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What one segment holds."""

    batches: dict[str, list[pa.RecordBatch]]  # by table
    last: int  # position of the last row here, readable or not; never below the one before
    damages: tuple[Damage, ...]


def closed_segments(disk: Disk, after: int = 0, limit: int = 2**31) -> list[Closed]:
    """Closed segments with a number above `after`, oldest first, at most `limit`."""
    names = segments_of(disk, "")
    found: list[Closed] = []
    for name in names:
        number, first_row = segment.parse_name(name) or (0, 0)
        if number <= after:
            continue
        seal = read_seal(disk, name)
        if (seal is None and name == names[-1]) or len(found) == limit:
            break
        found.append(
            Closed(name=name, number=number, first_row=first_row, size_bytes=disk.size(name), seal=seal)
        )
    return found


def remove_segment(disk: Disk, name: str) -> None:
    """Remove a segment and what stands beside it. Readers take it as a gap before their position."""
    disk.remove(name)
    for suffix in _COMPANIONS:
        disk.remove(name + suffix)


def read_segment(log: LogFolder, closed: Closed, after: int) -> Content:
    """Rows beyond position `after`, table by table. A segment that is gone holds nothing; raises OSError."""
    reading = _Reading(log, closed, after)
    try:
        with uncollected():
            return reading.read()
    except FileNotFoundError:
        damage = Damage(
            segment=closed.name, offset=0, size_bytes=0, rows=0, reason="the segment was removed unsealed"
        )
        return Content(batches={}, last=after, damages=(damage,))


class _Reading:
    """One pass over one segment."""

    def __init__(self, log: LogFolder, closed: Closed, after: int) -> None:
        self._log = log
        self._closed = closed
        self._after = after
        self._expected = after + 1 if after else 0  # the next row number; 0 = not known
        self._hole: Hole | None = None
        self._offset = 0
        self._damages: list[Damage] = []

    def read(self) -> Content:
        disk, closed = self._log.disk, self._closed
        header = read_header(disk, closed.name)
        version, start = SCHEMA_VERSION, 0
        if header is not None:
            version, start = header[0].schema_version, header[1]
            self._expect(header[0].after_row + 1, "rows are missing before the segment")
        self._expected = max(self._expected, closed.first_row)
        origin = Origin(self._log.segment_key, closed.number, version)
        transposer = Transposer(self._log.log, origin, self._spoiled)
        for item in scan(disk, closed.name, start):
            if isinstance(item, Hole):
                self._hole = item
            else:
                self._take(item, transposer)
        if closed.seal is not None:
            self._expect(closed.seal.last_row + 1, "rows are missing at the end of the segment")
        batches = transposer.take()
        last = max(self._after, self._expected - 1 if self._expected else 0)
        return Content(batches=batches, last=last, damages=tuple(self._damages))

    def _take(self, frame: Frame, transposer: Transposer) -> None:
        self._expect(frame.first_row, "rows are missing")
        self._offset = frame.offset
        # Rows below the next one expected were there already: a copy that a failed write left behind.
        transposer.add(frame.first_row, frame.payload, after=max(self._after, self._expected - 1))
        self._expected = max(self._expected, frame.first_row + frame.rows)

    def _expect(self, number: int, reason: str) -> None:
        missing = max(0, number - self._expected) if self._expected else 0
        hole, self._hole = self._hole, None
        if hole is not None and (missing or not hole.at_end):
            self._tell(hole.offset, hole.end - hole.offset, missing, "bytes that are not a frame")
        elif missing and self._log.log != BODIES.log:  # bodies leave their log when their limit needs it
            self._tell(self._offset, 0, missing, reason)
        self._expected = max(self._expected, number)

    def _spoiled(self, spoiled: Spoiled) -> None:
        self._tell(self._offset, 0, spoiled.rows, f"{spoiled.reason} (position {spoiled.position})")

    def _tell(self, offset: int, size: int, rows: int, reason: str) -> None:
        self._damages.append(
            Damage(segment=self._closed.name, offset=offset, size_bytes=size, rows=rows, reason=reason)
        )
