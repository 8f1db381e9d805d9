"""The log of facts: the rows' log once more, in a folder of its own, written by the observer alone.

`add` returns when the facts are on disk. Reading goes on from any position as facts come; idempotency is settled when
facts are read (the same id twice is one fact), so a sender may always send again. What was written lately is known
here too, and is not written twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from andon.kernel.errors import Transient
from andon.kernel.ports import Disk
from andon.ledger.facts.model import Fact
from andon.ledger.facts.recent import RecentIds
from andon.ledger.log import Log
from andon.ledger.reader import Cursor, Decode

decode_facts: Decode = msgspec.msgpack.Decoder(list[Fact]).decode

RECENT_IDS = 100_000  # about 10 MB of ids of usual length, 20 MB at most
PENDING_BYTES = 2**20  # then the disk is waited for: a large batch must not fill the log's memory
LOOK_EVERY = 64  # facts between two looks at that; each is some 20 kB at most
RETRY_S = 2.0


class FactLog:
    """Writes facts, durably and in order."""

    def __init__(self, log: Log, recent_ids: int = RECENT_IDS) -> None:
        self.log = log
        self._recent = RecentIds(recent_ids)

    async def add(self, facts: Sequence[Fact]) -> Sequence[Fact]:
        """Return when all of them are on disk: those that were not there already, in order.

        Raises `Transient` when the disk is full or fails; some may be on disk then, and sending again is safe.
        """
        problem = self.log.problem
        if problem is not None:
            raise _later(problem)
        fresh: dict[str, Fact] = {}
        recent, append = self._recent, self.log.append
        try:
            for fact in facts:
                if fact.id in fresh or fact.id in recent:
                    continue
                append(fact)
                fresh[fact.id] = fact
                if len(fresh) % LOOK_EVERY == 0 and self.log.pending_bytes >= PENDING_BYTES:
                    await self.log.committed()
            if fresh:
                await self.log.committed()
        except Transient as error:
            raise _later(error) from error
        # Remembered only now: an id whose fact may yet be lost must not turn its repetition away.
        for id_ in fresh:
            recent.add(id_)
        return list(fresh.values())


def _later(error: Transient) -> Transient:
    return Transient(
        "facts_not_written",
        "The facts could not be written to disk; those that were are known when you send them again.",
        hint="Send the same batch again later; the operator finds the disk's state in andon status.",
        retry_after_s=RETRY_S,
        internal=f"{error.message} {error.internal}".strip(),
    )


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
