"""Walks one segment's frames, intact ones and damaged stretches, in bounded memory.

Used by recovery and by readers; it only reads, and it never passes over a byte without saying so.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from andon.kernel.ports import Disk
from andon.ledger import segment
from andon.ledger.seals import Header

WINDOW_BYTES = 2**20


class Frame(msgspec.Struct, frozen=True):
    """An intact frame."""

    first_row: int
    rows: int
    offset: int
    end: int
    payload: bytes  # MessagePack array of rows


class Hole(msgspec.Struct, frozen=True):
    """Bytes that are not a frame. At the end of a segment it may be a frame still being written."""

    offset: int
    end: int
    at_end: bool


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """Something lost or unreadable, with its place; reported, never passed over in silence."""

    segment: str
    offset: int
    size_bytes: int
    rows: int  # how many rows are missing because of it
    reason: str


class _Window:
    """A sliding view of a file, so that small frames do not cost a read each."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._path = path
        self._start = 0
        self._data = b""

    def get(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes at `offset`; fewer only at the end of the file."""
        begin = offset - self._start
        if begin < 0 or begin + length > len(self._data):
            self._data = self._disk.read(self._path, offset, max(length, WINDOW_BYTES))
            self._start, begin = offset, 0
        return self._data[begin : begin + length]


def read_header(disk: Disk, path: str) -> tuple[Header, int] | None:
    """The header and the offset of the first frame; None if the header is not intact."""
    return segment.decode_header(disk.read(path, 0, segment.HEADER_BYTES_MAX))


def scan(disk: Disk, path: str, offset: int) -> Iterator[Frame | Hole]:
    """Frames from `offset` on, and the holes between and after them. A hole at the end is the last item."""
    window = _Window(disk, path)
    while True:
        frame = _frame_at(window, offset)
        if frame is not None:
            yield frame
            offset = frame.end
            continue
        if not window.get(offset, 1):
            return
        found, end = _next_frame(window, offset + 1)
        if found is not None:
            # The file may have grown between the two looks: what was half a frame then is a whole one before another.
            frame = _frame_at(_Window(disk, path), offset)
            if frame is not None:
                yield frame
                offset = frame.end
                continue
        yield Hole(offset, end, at_end=found is None)
        if found is None:
            return
        yield found
        offset = found.end


def _frame_at(window: _Window, offset: int) -> Frame | None:
    head = segment.read_head(window.get(offset, segment.FRAME_HEAD_BYTES))
    if head is None:
        return None
    data = window.get(offset, segment.FRAME_HEAD_BYTES + head.size_bytes)
    if not segment.is_intact(head, data):
        return None
    return Frame(head.first_row, head.rows, offset, offset + len(data), data[segment.FRAME_HEAD_BYTES :])


def _next_frame(window: _Window, offset: int) -> tuple[Frame | None, int]:
    """The first intact frame at or after `offset` and where it begins; else None and the end of the file."""
    while True:
        data = window.get(offset, WINDOW_BYTES)
        found = data.find(segment.FRAME_MARK)
        if found < 0:
            if len(data) < WINDOW_BYTES:
                return None, offset + len(data)
            offset += len(data) - len(segment.FRAME_MARK) + 1
            continue
        offset += found
        frame = _frame_at(window, offset)
        if frame is not None:
            return frame, offset
        offset += 1
