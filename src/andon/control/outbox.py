"""Delivers the outbox: each message to its topic's handler, at least once, in order within a topic.

Verbs enqueue in the unit of work that made the message true; this loop tells it afterwards. A message that fails too
often is buried: taken out, and kept with its reason in the journal. It never holds a transaction while a handler runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from andon.control.waking import Signal
from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Permanent
from andon.kernel.events import Event
from andon.kernel.random import Random
from andon.store.model import Lease, Message, Store, Unit

Handler = Callable[[Message], Awaitable[None]]

ATTEMPTS_MAX = 12  # over about half an hour
BATCH = 50
PERIOD_S = 5.0
LEASE_S = 60.0
HANDLER_LONGEST_S = 20.0  # well within the lease, so that two processes do not deliver side by side
BACKOFF_FIRST_S = 0.5
BACKOFF_LONGEST_S = 300.0

_log = logging.getLogger("andon.control.outbox")


class Outbox:
    """Delivers until cancelled. A handler must bear being told the same message twice."""

    def __init__(
        self, store: Store, clock: Clock, random: Random, handlers: Mapping[str, Handler], owner: str
    ) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._handlers = handlers
        self._owner = owner
        self._signals = {topic: Signal(clock) for topic in handlers}
        self.delivered = 0
        self.failed = 0
        self.buried = 0

    def signal(self) -> None:
        """Something may have been enqueued."""
        for signal in self._signals.values():
            signal.set()

    async def run(self) -> None:
        """Deliver every topic until cancelled."""
        tasks = [asyncio.ensure_future(self._topic(topic)) for topic in self._handlers]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _topic(self, topic: str) -> None:
        while True:
            try:
                wait_s = await self.deliver(topic)
            except (
                Exception
            ) as error:  # the database may be away for a while: logged and looked at again later
                _log.warning("topic %s could not be read", topic, exc_info=error)
                wait_s = PERIOD_S
            await self._signals[topic].wait(wait_s)

    async def deliver(self, topic: str) -> float:
        """Deliver what waits, oldest first, up to the first failure; returns after how many seconds to look again."""
        lease, messages = await self._store.transact(lambda unit: self._begin(unit, topic))
        if lease is None:
            return PERIOD_S
        try:
            for message in messages:
                if not await self._store.transact(lambda unit: self._renew(unit, lease)):
                    return PERIOD_S
                if not await self._tell(topic, message):
                    return self._backoff(message.attempts + 1)
        finally:
            await self._store.transact(lambda unit: unit.release(lease))
        return 0.0 if len(messages) == BATCH else PERIOD_S

    def _begin(self, unit: Unit, topic: str) -> tuple[Lease | None, tuple[Message, ...]]:
        lease = unit.acquire(f"outbox:{topic}", self._owner, LEASE_S)
        return lease, tuple(unit.pending(topic, limit=BATCH)) if lease else ()

    def _renew(self, unit: Unit, lease: Lease) -> bool:
        return unit.holds(lease) and unit.acquire(lease.name, lease.owner, LEASE_S) is not None

    async def _tell(self, topic: str, message: Message) -> bool:
        """Whether the message is out of the way: delivered, or buried."""
        try:
            async with asyncio.timeout(HANDLER_LONGEST_S):
                await self._handlers[topic](message)
        except (
            Exception
        ) as error:  # whatever a handler raises is a failed attempt: counted, logged, in the end buried
            self.failed += 1
            _log.warning("message %d of %s failed", message.sequence, topic, exc_info=error)
            if message.attempts + 1 < ATTEMPTS_MAX and not isinstance(error, Permanent):
                await self._store.transact(lambda unit: unit.retried(message.sequence))
                return False
            await self._bury(topic, message, error)
            return True
        self.delivered += 1
        await self._store.transact(lambda unit: unit.delivered(message.sequence))
        return True

    async def _bury(self, topic: str, message: Message, error: Exception) -> None:
        reason = str(error) if isinstance(error, AndonError) else type(error).__name__
        data = {"topic": topic, "attempts": message.attempts + 1, "reason": reason[:1000]}
        event = Event(
            name="message.buried",
            subject=f"Message/{message.sequence}",
            actor="outbox",
            data=data | {"payload": message.payload},
            unique=f"message.buried/{message.sequence}",
        )

        def write(unit: Unit) -> None:
            unit.append(event)
            unit.delivered(message.sequence)

        await self._store.transact(write)
        self.buried += 1

    def _backoff(self, attempts: int) -> float:
        longest = min(BACKOFF_LONGEST_S, BACKOFF_FIRST_S * 2.0**attempts)
        return longest * (0.5 + self._random.uniform() / 2)
