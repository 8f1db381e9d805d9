"""Readers: rows in order through all segments, the open one included, from any position.

A position is the number of the last row seen (0 = before the first), valid for ever. Readers take no lock and write
nothing; a copy that a failed sync left behind is recognised by its row numbers, a gap is reported with its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.ports import Disk
from andon.ledger import segment
from andon.ledger.query import Query
from andon.ledger.recovery import join, read_seal, segments_of
from andon.ledger.row import Row
from andon.ledger.scan import Damage, Frame, Hole, read_header, scan

POLL_ROWS = 4096  # about how many rows are decoded at a time
POLL_S = 0.2  # how often a follower looks for more

Decode = Callable[[bytes], list[Any]]

decode_rows: Decode = msgspec.msgpack.Decoder(list[Row]).decode


class Entry(msgspec.Struct, frozen=True):
    """A row and the position just after it."""

    position: int
    row: Row


def ignore(damage: Damage) -> None:
    """For readers whose caller has heard of the damage elsewhere."""


class Cursor:
    """A place in one folder's log, from which one can go on as the log grows."""

    def __init__(
        self,
        disk: Disk,
        folder: str = "",
        *,
        after: int = 0,
        report: Callable[[Damage], None] = ignore,
        decode: Decode = decode_rows,  # of a frame's payload; facts and bodies have their own
    ) -> None:
        self._decode_payload = decode
        self._disk = disk
        self._folder = folder
        self._report = report
        self.position = after
        self._expected = 0  # the next row number, once known
        self._name = ""  # the segment being read
        self._left = ""  # the last segment that was read to its end
        self._offset = 0
        self._hole: Hole | None = None  # not yet known how many rows it cost

    def poll(self, limit: int = POLL_ROWS) -> list[Entry]:
        """The next rows, about `limit` at most (whole frames); empty at the end of what is written."""
        entries: list[Entry] = []
        while len(entries) < limit:
            if not self._name and not self._advance():
                break
            # Asked before reading: what is written between the two is found at the next turn.
            is_closed = self._is_closed()
            try:
                at_end = self._read_segment(entries, limit)
            except FileNotFoundError:
                # Removed by retention under our eyes: what is missing shows as a gap before the next segment.
                self._left, self._name, self._offset = self._name, "", 0
                continue
            if at_end and is_closed:
                self._leave()
            elif len(entries) < limit:
                break
        return entries

    def _read_segment(self, entries: list[Entry], limit: int) -> bool:
        """Whether the end of what is written in the segment was reached."""
        for item in scan(self._disk, self._path, self._offset):
            if isinstance(item, Hole):
                self._hole = item
                if not item.at_end:
                    self._offset = item.end
                continue
            self._expect(item.first_row)
            self._offset = item.end
            self._expected = max(self._expected, item.first_row + item.rows)
            self._decode(item, entries)
            if len(entries) >= limit:
                return False
        return True

    def _decode(self, frame: Frame, entries: list[Entry]) -> None:
        last = frame.first_row + frame.rows - 1
        if last <= self.position:
            return
        try:
            rows = self._decode_payload(frame.payload)
        except msgspec.MsgspecError as error:
            self._tell(
                Hole(frame.offset, frame.end, at_end=False), frame.rows, f"rows that do not decode: {error}"
            )
            self.position = last
            return
        skip = max(0, self.position + 1 - frame.first_row)
        entries += [Entry(frame.first_row + index, rows[index]) for index in range(skip, len(rows))]
        self.position = last

    def _expect(self, number: int) -> None:
        """The next thing there is begins at row `number`: settle what lies before it."""
        missing = max(0, number - self._expected) if self._expected else 0
        hole, self._hole = self._hole, None
        if hole is not None and (missing or not hole.at_end):
            self._tell(hole, missing, "bytes that are not a frame")
        elif missing:
            self._tell(Hole(self._offset, self._offset, at_end=False), missing, "rows are missing")
        self._expected = max(self._expected, number)

    def _advance(self) -> bool:
        """Open the segment that holds the position, or the next one."""
        chosen = ""
        for name in segments_of(self._disk, self._folder):
            if self._left and name <= self._left:
                continue
            first_row = (segment.parse_name(name) or (0, 0))[1]
            if chosen and (self._left or first_row > self.position + 1):
                break
            chosen = name
        if not chosen:
            return False
        self._name, self._offset = chosen, 0
        first_row = (segment.parse_name(chosen) or (0, 0))[1]
        header = read_header(self._disk, self._path)
        if header is None:
            size = self._disk.size(self._path)
            if not size:
                return True
            self._hole = Hole(0, min(size, segment.HEADER_BYTES_MAX), at_end=False)
            self._expected = max(self._expected, first_row)  # whether it leapt, only the header said
            return True
        self._offset = header[1]
        if self._expected:
            self._expect(header[0].after_row + 1)
        self._expected = max(self._expected, first_row)
        return True

    def _leave(self) -> None:
        seal = read_seal(self._disk, self._path)
        if seal is not None:
            self._expect(seal.last_row + 1)
        self._left, self._name, self._offset = self._name, "", 0

    def _is_closed(self) -> bool:
        if read_seal(self._disk, self._path) is not None:
            return True
        names = segments_of(self._disk, self._folder)
        return bool(names) and names[-1] > self._name

    @property
    def _path(self) -> str:
        return join(self._folder, self._name)

    def _tell(self, hole: Hole, rows: int, reason: str) -> None:
        size = hole.end - hole.offset
        self._report(
            Damage(segment=self._path, offset=hole.offset, size_bytes=size, rows=rows, reason=reason)
        )


def read(
    disk: Disk,
    folder: str = "",
    *,
    after: int = 0,
    query: Query | None = None,
    report: Callable[[Damage], None] = ignore,
) -> Iterator[Entry]:
    """Every wanted row written so far, in order. Segments sealed before `query.since_ns` are not opened."""
    if query is not None and query.since_ns:
        after = max(after, position_before(disk, folder, query.since_ns))
    cursor = Cursor(disk, folder, after=after, report=report)
    while entries := cursor.poll():
        yield from _wanted(entries, query)


async def follow(
    disk: Disk,
    clock: Clock,
    folder: str = "",
    *,
    after: int = 0,
    query: Query | None = None,
    report: Callable[[Damage], None] = ignore,
) -> AsyncIterator[Entry]:
    """Every wanted row, then new ones as they come; ends only when the caller leaves."""
    cursor = Cursor(disk, folder, after=after, report=report)
    while True:
        entries = cursor.poll()
        for entry in _wanted(entries, query):
            yield entry
        if not entries:
            await clock.sleep(POLL_S)


def tail(disk: Disk, count: int, folder: str = "", *, query: Query | None = None) -> list[Entry]:
    """The last `count` wanted rows, oldest first. Opens older segments only if the newer ones hold too few."""
    found: list[Entry] = []
    names = segments_of(disk, folder)
    until = 0
    for name in reversed(names):
        first_row = (segment.parse_name(name) or (0, 0))[1]
        entries = read(disk, folder, after=first_row - 1, query=query)
        kept = deque((entry for entry in _before(entries, until)), maxlen=count)
        found = [*kept, *found][-count:]
        if len(found) >= count:
            break
        until = first_row
    return found


def last_position(disk: Disk, folder: str = "") -> int:
    """The position at the end of what is written: where `follow` starts to see only new rows."""
    names = segments_of(disk, folder)
    if not names:
        return 0
    first_row = (segment.parse_name(names[-1]) or (0, 0))[1]
    cursor = Cursor(disk, folder, after=first_row - 1)
    while cursor.poll():
        pass
    return cursor.position


def position_before(disk: Disk, folder: str, since_ns: int) -> int:
    """A position before every row written at `since_ns` or later, found from seals alone."""
    position = 0
    for name in segments_of(disk, folder):
        seal = read_seal(disk, join(folder, name))
        if seal is None or seal.sealed_ns >= since_ns:
            break
        position = max(position, seal.last_row)
    return position


def _wanted(entries: list[Entry], query: Query | None) -> Iterator[Entry]:
    return (entry for entry in entries if query is None or query.matches(entry.row))


def _before(entries: Iterator[Entry], until: int) -> Iterator[Entry]:
    for entry in entries:
        if until and entry.position >= until:
            return
        yield entry
