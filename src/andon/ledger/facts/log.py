"""The log of facts: the rows' log once more, in a folder of its own, written by the observer alone.

`add` returns when the facts are on disk. Reading goes on from any position as facts come; idempotency is settled when
facts are read (the same id twice is one fact), so a sender may always send again.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from andon.kernel.ports import Disk
from andon.ledger.facts.model import Fact
from andon.ledger.log import Log
from andon.ledger.reader import Cursor, Decode

decode_facts: Decode = msgspec.msgpack.Decoder(list[Fact]).decode


class FactLog:
    """Writes facts, durably and in order."""

    def __init__(self, log: Log) -> None:
        self.log = log

    async def add(self, facts: Sequence[Fact]) -> None:
        """Return when all of them are on disk. Raises `Transient` when the disk is full or too much is pending."""
        for fact in facts:
            self.log.append(fact)
        if facts:
            await self.log.committed()


class FactCursor:
    """A place in the log of facts, from which one can go on as it grows."""

    def __init__(self, disk: Disk, folder: str = "", *, after: int = 0) -> None:
        self._cursor = Cursor(disk, folder, after=after, decode=decode_facts)

    @property
    def position(self) -> int:
        """Number of the last fact seen."""
        return self._cursor.position

    def poll(self, limit: int = 4096) -> Sequence[Fact]:
        """What came since; empty at the end of what is written."""
        return [entry.row for entry in self._cursor.poll(limit)]  # type: ignore[misc]  # decoded as facts above
