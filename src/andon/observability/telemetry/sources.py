"""Where exporters read: the log of rows, and the journal. Each exporter has a source of its own.

They read what is on disk and in the store, and change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from andon.kernel.ports import Disk, Runner
from andon.ledger.reader import Cursor, Entry
from andon.ledger.row import Outcome
from andon.ledger.scan import Damage
from andon.observability.telemetry.following import Item
from andon.store.model import Store


class RowSource:
    """Outcomes of the log. Intents are passed over: the position is that of the last row seen."""

    def __init__(self, disk: Disk, runner: Runner) -> None:
        self._disk = disk
        self._runner = runner
        self._cursor: Cursor | None = None
        self._told = -1  # the position that the caller knows of; the cursor may be beyond it
        self.missing = 0  # rows that the log lost

    async def poll(self, after: int, limit: int) -> Sequence[Item]:
        """Outcomes after a position; empty only at the end of the log."""
        cursor = self._cursor
        if cursor is None or self._told != after:
            cursor = self._cursor = Cursor(self._disk, after=after, report=self._report)
            self._told = after
        here = cursor
        while entries := await self._runner.run(lambda: here.poll(limit)):
            if items := _items(entries):
                self._told = items[-1].position
                return items
        return ()

    def _report(self, damage: Damage) -> None:
        self.missing += damage.rows


def _items(entries: Sequence[Entry]) -> list[Item]:
    items = [
        Item(entry.position, entry.row.at_ns, entry.row)
        for entry in entries
        if isinstance(entry.row, Outcome)
    ]
    if items and items[-1].position != entries[-1].position:
        # The last outcome carries the position to the end of what was read, so that nothing is read twice.
        items[-1] = Item(entries[-1].position, items[-1].at_ns, items[-1].content)
    return items


class JournalSource:
    """Events of the journal."""

    missing = 0

    def __init__(self, store: Store) -> None:
        self._store = store

    async def poll(self, after: int, limit: int) -> Sequence[Item]:
        """Events after a sequence number."""
        lines = await self._store.transact(lambda unit: unit.events(after=after, limit=limit))
        return [Item(line.sequence, line.event.at_ns, line) for line in lines]
