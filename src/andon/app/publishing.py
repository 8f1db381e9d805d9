"""Snapshots on their way to gateways: compiled when something changed, numbered, handed to whoever waits.

The control process's side of the link. A compilation that fails leaves the last snapshot in force and says why on
/readyz; equal content keeps its number, so that gateways are not disturbed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import structlog

from andon.control.waking import Signal, wait_until
from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError
from andon.kernel.reports import Report
from andon.kernel.snapshot import Snapshot
from andon.store.model import Record, Store, Unit

PERIOD_S = 5.0  # a look without a signal: keys expire by time alone
RETRY_S = 0.5
_KIND, _NAME = "SnapshotNumber", "current"

_logger = structlog.get_logger("andon.publishing")

Compile = Callable[[Unit, int], Snapshot]  # what should be in force; version and time are filled in here


class Publisher:
    """Keeps one encoded snapshot up to date. `run` is the loop; `signal` wakes it."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        compile_: Compile,
        receive: Callable[[Sequence[Report], str], Awaitable[None]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._compile = compile_
        self._receive = receive
        self._wake = Signal(clock)
        self._news = asyncio.Event()  # replaced at every new snapshot, so that each waiter wakes once
        self._closed = False
        self.version = 0
        self.encoded = b""
        self.problem = "no snapshot has been compiled yet"

    def signal(self) -> None:
        """Something changed: compile again."""
        self._wake.set()

    async def snapshot(self, have: int, wait_s: float) -> bytes | None:
        """The snapshot as JSON once it is newer than `have`, or None after `wait_s` seconds."""
        deadline = self._clock.monotonic() + wait_s
        while self.version <= have:
            left = deadline - self._clock.monotonic()
            if left <= 0 or self._closed:
                return None
            await wait_until(self._news, self._clock, left)
        return self.encoded

    def close(self) -> None:
        """Let waiting gateways go: the process ends."""
        self._closed = True
        self._news.set()

    async def report(self, reports: Sequence[Report], *, gateway: str) -> None:
        """Take facts from a gateway, each once."""
        await self._receive(reports, gateway)

    async def run(self) -> None:
        """Compile at every signal and every few seconds, until cancelled."""
        while True:
            wait_s = PERIOD_S
            try:
                await self.refresh()
            except AndonError as error:
                self.problem = str(error)
                _logger.error("snapshot not compiled", code=error.code, reason=str(error))
                wait_s = RETRY_S
            await self._wake.wait(wait_s)

    async def refresh(self) -> None:
        """Compile, number and publish once. Raises what the compilation or the store raises."""
        snapshot = await self._store.transact(self._numbered)
        self.problem = ""
        if snapshot.version == self.version:
            return
        self.version, self.encoded = snapshot.version, msgspec.json.encode(snapshot)
        news, self._news = self._news, asyncio.Event()
        news.set()
        _logger.info("snapshot", version=snapshot.version, revision=snapshot.revision)

    def _numbered(self, unit: Unit) -> Snapshot:
        """The snapshot with the next number, or with the present one if nothing in it changed.

        The number is kept in the store, so that it grows over restarts and over several control processes.
        """
        snapshot = self._compile(unit, self._clock.now_ns())
        bare = msgspec.structs.replace(snapshot, version=0, compiled_at_ns=0)
        content = msgspec.json.encode(bare).decode()
        kept = unit.get(_KIND, _NAME)
        if kept is not None and kept.spec["content"] == content:
            return msgspec.structs.replace(snapshot, version=kept.spec["version"])
        version = (kept.spec["version"] if kept is not None else 0) + 1
        unit.put(Record(kind=_KIND, name=_NAME, spec={"version": version, "content": content}))
        return msgspec.structs.replace(snapshot, version=version)
