"""The feed: follows the log of rows and the log of facts once, and hands batches to every consumer in order.

The observer's only reader of the tail. A consumer works in memory and never waits; what needs a network keeps a
bounded queue of its own. A consumer that raises is counted and told, and the others go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog

from andon.kernel.clock import Clock
from andon.kernel.ports import Runner
from andon.ledger.facts.model import Fact
from andon.ledger.reader import Entry
from andon.ledger.row import Row

PERIOD_S = 0.2
TURNS_MAX = 8  # polls of one source before the others get their turn

_logger = structlog.get_logger("andon.feed")


class Consumer(Protocol):
    """Something that is a function of rows and facts as they come. Methods are synchronous and memory-only."""

    name: str

    def take_rows(self, entries: Sequence[Entry]) -> None:
        """Rows in the order of one gateway's log, each with its position."""
        ...

    def take_facts(self, facts: Sequence[Fact]) -> None:
        """Facts in the order of their log."""
        ...


class Source(Protocol):
    """A place in a log; `ledger.reader.Cursor` fulfils it for rows."""

    position: int

    def poll(self, limit: int = 4096) -> Sequence[Entry]:
        """What came since, about `limit` at most; empty at the end of what is written."""
        ...


class FactSource(Protocol):
    """A place in the log of facts."""

    def poll(self, limit: int = 4096) -> Sequence[Fact]:
        """What came since; empty at the end."""
        ...


class Feed:
    """Polls sources and feeds consumers until cancelled."""

    def __init__(
        self,
        rows: Sequence[Source],
        facts: FactSource | None,
        consumers: Sequence[Consumer],
        clock: Clock,
        runner: Runner,
    ) -> None:
        self._rows = rows
        self._facts = facts
        self._consumers = consumers
        self._clock = clock
        self._runner = runner
        self.failures: dict[str, int] = {}  # by consumer
        self.rows = 0
        self.facts = 0

    async def run(self) -> None:
        """Feed for ever."""
        while True:
            if not await self.turn():
                await self._clock.sleep(PERIOD_S)

    async def turn(self) -> bool:
        """One look at every source; whether there was anything."""
        found = False
        for source in self._rows:
            for _ in range(TURNS_MAX):
                entries = await self._runner.run(source.poll)
                if not entries:
                    break
                found = True
                self.rows += len(entries)
                self._hand(entries, ())
        if self._facts is not None:
            facts = await self._runner.run(self._facts.poll)
            if facts:
                found = True
                self.facts += len(facts)
                self._hand((), facts)
        return found

    def _hand(self, entries: Sequence[Entry], facts: Sequence[Fact]) -> None:
        for consumer in self._consumers:
            try:
                if entries:
                    consumer.take_rows(entries)
                if facts:
                    consumer.take_facts(facts)
            # A consumer's bug must cost neither the others nor the feed: counted, told with its traceback.
            except Exception:
                self.failures[consumer.name] = self.failures.get(consumer.name, 0) + 1
                _logger.exception("consumer_failed", consumer=consumer.name)


def rows_of(entries: Sequence[Entry]) -> list[Row]:
    """The rows without their positions."""
    return [entry.row for entry in entries]
