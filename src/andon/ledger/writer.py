"""The writer: puts finished frames on disk, one after another, and turns the page when a segment is full or failed.

Runs in the log's own thread, never two calls at a time. After any failure the segment is given up: what a failed
sync left behind is unknown, so the frame is written again, with the same row numbers, to a new segment; readers
recognise the copy. It must never report success for bytes that the disk has not confirmed.
"""

from __future__ import annotations

import errno

from andon.kernel.clock import Clock
from andon.kernel.ports import Disk
from andon.ledger import segment
from andon.ledger.recovery import Recovered, join, write_seal
from andon.ledger.row import SCHEMA_VERSION
from andon.ledger.seals import Header, Seal
from andon.ledger.settings import LogSettings

RESERVE = "reserve"
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_no_space(error: BaseException | None) -> bool:
    """Whether an error means that the disk (or the quota) is full."""
    return isinstance(error, OSError) and error.errno in _NO_SPACE


class Writer:
    """Appends frames durably. Not safe for two threads."""

    def __init__(
        self, disk: Disk, folder: str, gateway: str, clock: Clock, settings: LogSettings, start: Recovered
    ) -> None:
        self._disk = disk
        self._folder = folder
        self._gateway = gateway
        self._clock = clock
        self._settings = settings
        self._segment = start.next_segment
        self._after_row = start.after_row
        self._path = ""  # empty while no segment is open: one is made with its first frame
        self._first_row = 0
        self._rows = 0
        self._durable_bytes = 0
        self._opened_at = 0.0
        self.reserve_spent = False
        self.sync_s = 0.0  # how long the last commit took on disk
        self.unsealed = 0  # segments given up without a seal; recovery seals them at the next start

    def write(self, frame: bytearray, first_row: int, rows: int) -> None:
        """Return once the frame is durable; raises OSError if two different segments refused it."""
        segment.finish_frame(frame, first_row, rows)
        self.seal_if_due(len(frame))
        try:
            self._put(frame, first_row, rows)
        except OSError as error:
            self._give_up()
            if is_no_space(error):
                self.reserve_spent = spend_reserve(self._disk, self._folder) or self.reserve_spent
            try:
                self._put(frame, first_row, rows)
            except OSError:
                self._give_up()
                raise

    def seal_if_due(self, more_bytes: int = 0) -> None:
        """Seal the open segment if it is full or old."""
        if not self._path:
            return
        is_full = self._durable_bytes + more_bytes > self._settings.segment_bytes
        if is_full or self._clock.monotonic() - self._opened_at >= self._settings.segment_age_s:
            self._seal()

    def restore_reserve(self) -> None:
        """Take the reserve back if there is space again; otherwise it stays spent."""
        path, size = join(self._folder, RESERVE), self._settings.reserve_bytes
        if self._disk.size(path) == size:
            self.reserve_spent = False
            return
        try:
            self._disk.replace(path, bytes(size))
            self.reserve_spent = False
        except OSError:
            self.reserve_spent = True

    def close(self) -> None:
        """Seal what is open."""
        if self._path:
            self._seal()

    def _put(self, frame: bytearray, first_row: int, rows: int) -> None:
        started = self._clock.monotonic()
        if self._path:
            self._disk.commit(self._path, frame)
            self._durable_bytes += len(frame)
        else:
            header = segment.encode_header(
                Header(
                    segment.FORMAT_VERSION,
                    SCHEMA_VERSION,
                    self._segment,
                    first_row,
                    self._after_row,
                    self._clock.now_ns(),
                    self._gateway,
                )
            )
            self._path = join(self._folder, segment.name_segment(self._segment, first_row))
            self._segment += 1
            self._first_row, self._rows, self._durable_bytes = first_row, 0, 0
            self._opened_at = started
            self._disk.commit(self._path, header + frame)
            self._durable_bytes = len(header) + len(frame)
        self._rows += rows
        self._after_row = first_row + rows - 1
        self.sync_s = self._clock.monotonic() - started

    def _seal(self) -> None:
        path, self._path = self._path, ""
        seal = Seal(
            segment=self._segment - 1,
            first_row=self._first_row,
            last_row=self._after_row,
            rows=self._rows,
            size_bytes=self._durable_bytes,
            sealed_ns=self._clock.now_ns(),
        )
        try:
            self._disk.close(path)
            write_seal(self._disk, path, seal)
        except OSError:
            self.unsealed += 1

    def _give_up(self) -> None:
        """Leave the open segment as it was after its last confirmed frame, as far as the disk allows."""
        if not self._path:
            return
        if self._durable_bytes:
            try:
                self._disk.truncate(self._path, self._durable_bytes)
            except OSError:
                self.unsealed += 1
                self._path = ""
                return
            self._seal()
            return
        path, self._path = self._path, ""
        try:
            self._disk.remove(path)
        except OSError:
            self.unsealed += 1


def spend_reserve(disk: Disk, folder: str) -> bool:
    """Give the reserve's space back to the disk; False if there was none. Raises OSError."""
    path = join(folder, RESERVE)
    if not disk.size(path):
        return False
    disk.remove(path)
    return True
