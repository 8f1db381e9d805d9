"""Fills the windows from the log when the observer starts, so that a restart does not blank them.

Reads forward with a cursor of its own until it meets what the feed has brought; each row counts once. Bounded in rows:
a factory with more than that in a day has complete windows from a later moment on, and says from when.
"""

from __future__ import annotations

from andon.kernel.clock import Clock
from andon.kernel.ports import Disk, Runner
from andon.ledger.reader import POLL_ROWS, Cursor, last_position, position_before
from andon.observability.windows.service import SECONDS_MAX, Windows

ROWS_MAX = 4_000_000


class Backfill:
    """One pass over the last day of a log."""

    def __init__(self, windows: Windows, disk: Disk, clock: Clock, runner: Runner) -> None:
        self._windows = windows
        self._disk = disk
        self._clock = clock
        self._runner = runner
        self.rows = 0

    async def run(self) -> None:
        """Returns when the windows are filled."""
        since_ns = self._clock.now_ns() - SECONDS_MAX * 10**9
        after, is_cut = await self._runner.run(lambda: self._begin(since_ns))
        cursor = Cursor(self._disk, after=after)
        complete_ns = 0 if is_cut else since_ns
        while entries := await self._runner.run(lambda: cursor.poll(POLL_ROWS)):
            self.rows += len(entries)
            complete_ns = complete_ns or entries[0].row.at_ns
            if not self._windows.backfill(entries, complete_ns):
                break
            await self._clock.sleep(0)
        else:
            self._windows.backfill((), complete_ns or since_ns)

    def _begin(self, since_ns: int) -> tuple[int, bool]:
        """After which row to begin, and whether that leaves some of the day out."""
        wanted = position_before(self._disk, "", since_ns)
        earliest = last_position(self._disk) - ROWS_MAX
        return max(wanted, earliest, 0), earliest > wanted
