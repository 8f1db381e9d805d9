"""Recorded bodies, sealed before they reach a log and opened where somebody may read them.

`put` stands between the gateway and the store of bodies and keeps its promise: it never waits and never raises. A body
whose key is not in memory waits, bounded, for a thread to find or make it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final, Protocol

import msgspec
import structlog

from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError
from andon.kernel.ports import Runner
from andon.kernel.random import Random
from andon.ledger.bodies import Body
from andon.security.secrets.body_keys import BodyKeys, BodyWrapper, day_name, subject_name
from andon.security.secrets.envelope import Context, seal, take_apart, unseal

_logger = structlog.get_logger("andon.bodies")

WAITING_MAX: Final = 1_000  # bodies that wait for a key; beyond, they are dropped
WAITING_BYTES_MAX: Final = 16 * 2**20


class Store(Protocol):
    """Where sealed bodies go."""

    def put(self, body: Body, subject: str = "") -> str:
        """Take a body; why not, if it was dropped."""
        ...


class SealedBodies:
    """Seals bodies. Use from one event loop only."""

    def __init__(
        self,
        store: Store,
        keys: BodyKeys,
        *,
        home: str,
        pepper: bytes,
        clock: Clock,
        random: Random,
        runner: Runner,
    ) -> None:
        self._store = store
        self._keys = keys
        self._home = home
        self._pepper = pepper
        self._clock = clock
        self._random = random
        self._runner = runner
        self._waiting: deque[tuple[str, Body]] = deque()
        self._waiting_bytes = 0
        self._work: asyncio.Task[None] | None = None
        self.dropped = 0  # after they had been taken: their key could not be had

    def put(self, body: Body, subject: str = "") -> str:
        """Take a body, or say why it was dropped."""
        day = datetime.fromtimestamp(body.at_ns / 1e9, UTC).date().isoformat()
        name = subject_name(subject, self._pepper) if subject else day_name(day)
        key = None if self._waiting else self._keys.held(name, self._clock.now_ns())
        if key is not None:
            return self._store.put(self._sealed(body, name, key))
        size = len(body.data)
        if len(self._waiting) >= WAITING_MAX or self._waiting_bytes + size > WAITING_BYTES_MAX:
            return "pending"
        self._waiting.append((name, body))
        self._waiting_bytes += size
        if self._work is None or self._work.done():
            self._work = asyncio.ensure_future(self._drain())
        return ""

    async def settled(self) -> None:
        """Return when nothing waits for a key."""
        if self._work is not None:
            await asyncio.wait([self._work])

    async def _drain(self) -> None:
        while self._waiting:
            name, body = self._waiting[0]
            try:
                now_ns = self._clock.now_ns()
                key = self._keys.held(name, now_ns)
                if key is None:
                    key = await self._runner.run(partial(self._keys.find_or_make, name, now_ns))
                dropped = self._store.put(self._sealed(body, name, key))
            except (AndonError, OSError) as error:
                _logger.error("body not sealed, so not kept", reason=type(error).__name__)
                dropped = "key"
            self.dropped += bool(dropped)
            self._waiting.popleft()
            self._waiting_bytes -= len(body.data)

    def _sealed(self, body: Body, name: str, key: bytes) -> Body:
        context = body_context(self._home, body.id, body.attempt, body.part)
        data = seal(body.data, context, BodyWrapper(name, key, self._random), self._random)
        return msgspec.structs.replace(body, data=data, key=name)


class BodyReader:
    """Opens what was sealed. Several threads may use it."""

    def __init__(self, keys: BodyKeys, home: str, random: Random, now_ns: Callable[[], int]) -> None:
        self._keys = keys
        self._home = home
        self._random = random
        self._now_ns = now_ns
        self._one = threading.Lock()

    def open(self, id_: str, attempt: int, part: str, data: bytes) -> bytes:
        """The body. Raises Refused `body_erased` where its key was destroyed, `envelope_refused`; OSError."""
        name = take_apart(data).wrapped.key
        with self._one:
            key = self._keys.find(name, self._now_ns())
        return unseal(
            data, body_context(self._home, id_, attempt, part), BodyWrapper(name, key, self._random)
        )


def body_context(home: str, id_: str, attempt: int, part: str) -> Context:
    """What a body is about."""
    return Context(factory=home, kind="Body", record=f"{id_}/{attempt}/{part}")
