"""The log of lineage: events as they came, durable before the sender is answered, and read back at each start.

The ledger's own log in a folder of its own. What was written is never changed; sending again is known and not written.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec

from andon.kernel.errors import Transient
from andon.ledger.log import Log
from andon.ledger.reader import Decode
from andon.security.lineage.reading import LineageEvent

decode_events: Decode = msgspec.msgpack.Decoder(list[LineageEvent]).decode

RECENT_MAX: Final = 100_000  # ids of events that are known to be written
PENDING_BYTES: Final = 2**20  # then the disk is waited for
RETRY_S: Final = 5.0


class LineageLog:
    """Writes events, each once, up to a size of the whole."""

    def __init__(self, log: Log, bytes_max: int, bytes_now: int) -> None:
        self._log = log
        self._bytes_max = bytes_max
        self._before = bytes_now
        self._recent: OrderedDict[str, None] = OrderedDict()

    @property
    def size_bytes(self) -> int:
        """Of everything that is written."""
        return self._before + self._log.counters.bytes

    def remember(self, id_: str) -> None:
        """This event is written."""
        self._recent[id_] = None
        self._recent.move_to_end(id_)
        if len(self._recent) > RECENT_MAX:
            self._recent.popitem(last=False)

    async def add(self, events: Sequence[LineageEvent]) -> Sequence[LineageEvent]:
        """Return when all are on disk: those that were not there already.

        Raises `Transient` (`lineage_full`, `lineage_not_written`); some may be on disk then, and sending again is safe.
        """
        if self.size_bytes >= self._bytes_max:
            raise Transient(
                "lineage_full",
                "The log of lineage has reached its size.",
                hint="The operator raises lineage_bytes, or moves the folder away.",
                retry_after_s=3600.0,
            )
        fresh: dict[str, LineageEvent] = {}
        try:
            for event in events:
                if event.id in fresh or event.id in self._recent:
                    continue
                self._log.append(event)
                fresh[event.id] = event
                if self._log.pending_bytes >= PENDING_BYTES:
                    await self._log.committed()
            if fresh:
                await self._log.committed()
        except Transient as error:
            raise Transient(
                "lineage_not_written",
                "The events could not be written to disk.",
                hint="Send them again later; the operator finds the disk's state in andon status.",
                retry_after_s=RETRY_S,
                internal=error.message,
            ) from error
        for id_ in fresh:
            self.remember(id_)
        return list(fresh.values())
