"""Sends Andon's own lineage to a backend of OpenLineage: the journal as it grows, and each hour of answers once over.

Two followers with positions of their own. A backend that is away costs nothing but the wait: what is sent is read from
the journal and from the tables, never from a queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from andon.adapters.openlineage.sending import LineageSender
from andon.app.observer.lineage_rows import read_windows
from andon.app.observer.part import Loop, ObserverGround
from andon.kernel.admission import Admitted
from andon.kernel.errors import AndonError
from andon.ledger.disk import FileDisk
from andon.ledger.thread import WorkThread
from andon.observability.telemetry.following import ExportMetrics, Follower, Item, Terms
from andon.security.lineage.emission import STATES, Emitter, InferenceWindow
from andon.serving.models.model import MODEL_VERSION, ModelVersionSpec
from andon.store.model import Journaled, Unit

FOLDER: Final = "lineage"  # below the observer's own folder: positions
LAG_S: Final = 90 * 86_400.0  # older is skipped, counted
HOUR_NS: Final = 3600 * 10**9
GRACE_NS: Final = 120 * 10**9  # after an hour's end, for rows that are being written
HOURS_BACK: Final = 24  # sent when it is switched on
HOURS_AT_ONCE: Final = 24
WINDOWS_MAX: Final = 50_000
BATCH: Final = 100
CLOSE_S: Final = 1.0
FINISH_S: Final = 5.0  # what a query under way is given when the process ends
PATIENCE_S: Final = 30.0  # before what could not be read is read again
STARTED: Final = "rollout.started"

_logger = structlog.get_logger("andon.lineage")


class _Ready:
    """What both sources need before a batch: the key, and digests of models."""

    def __init__(self, ground: ObserverGround, sender: LineageSender) -> None:
        self._ground = ground
        self._sender = sender
        self._failing = False

    async def key(self) -> bool:
        """Whether the backend may be asked: its key could be read."""
        reference = self._ground.settings.lineage_credential
        try:
            self._sender.token = await self._ground.sealed.value(reference) if reference else ""
        except AndonError as error:
            if not self._failing:
                _logger.warning("lineage_credential_unreadable", code=error.code, reason=error.message)
            self._failing = True
            await self._ground.clock.sleep(PATIENCE_S)
            return False
        self._failing = False
        return True

    async def emitter(self) -> Emitter:
        """With the digests of now."""
        digests = await self._ground.store.transact(_digests)
        return Emitter(self._ground.home.root.name, digests)


class JournalEvents:
    """Lines of the journal as batches of events."""

    missing = 0

    def __init__(self, ground: ObserverGround, ready: _Ready) -> None:
        self._ground = ground
        self._ready = ready

    async def poll(self, after: int, limit: int) -> Sequence[Item]:
        """Events after a sequence number; empty at the end, and while nothing can be read."""
        try:
            lines = await self._ground.store.transact(lambda unit: _lines(unit, after, limit))
            if not lines or not await self._ready.key():
                return ()
            emitter = await self._ready.emitter()
        except AndonError as error:
            _logger.warning("lineage_journal_unread", code=error.code, reason=error.message)
            await self._ground.clock.sleep(PATIENCE_S)
            return ()
        return [
            Item(line.sequence, line.event.at_ns, emitter.of_journal(line.event, begun))
            for line, begun in lines
        ]


class WindowEvents:
    """Hours that are over, as batches of events; the position is the number of the hour since 1970."""

    missing = 0

    def __init__(self, ground: ObserverGround, ready: _Ready) -> None:
        self._ground = ground
        self._ready = ready

    async def poll(self, after: int, limit: int) -> Sequence[Item]:
        """Hours after one; empty until the next is over, and while nothing can be read."""
        last = closed_hour(self._ground.clock.now_ns())
        if last <= after:
            return ()
        last = min(last, after + HOURS_AT_ONCE)
        since_ns, until_ns = (after + 1) * HOUR_NS, (last + 1) * HOUR_NS - 1
        ground = self._ground
        try:
            if not await self._ready.key():
                return ()
            emitter = await self._ready.emitter()
            windows = await self._read(since_ns, until_ns)
        except AndonError as error:
            _logger.warning("lineage_windows_unread", code=error.code, reason=error.message)
            await ground.clock.sleep(PATIENCE_S)
            return ()
        found: dict[int, list[dict[str, Any]]] = {hour: [] for hour in range(after + 1, last + 1)}
        for window in windows:
            found[window.first_ns // HOUR_NS] += emitter.of_window(window)
        return [Item(hour, (hour + 1) * HOUR_NS, events) for hour, events in sorted(found.items())]

    async def _read(self, since_ns: int, until_ns: int) -> list[InferenceWindow]:
        """Hours from the ledger. Who is cancelled waits a little, for the engine is closed next."""
        engine = self._ground.engine
        reading = asyncio.ensure_future(
            self._ground.runner.run(lambda: read_windows(engine, None, since_ns, until_ns, WINDOWS_MAX))
        )
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            await asyncio.wait([reading], timeout=FINISH_S)
            raise


def closed_hour(now_ns: int) -> int:
    """The last hour that is over, its grace included, as a number since 1970."""
    return (now_ns - GRACE_NS) // HOUR_NS - 1


def build_sending(
    ground: ObserverGround,
) -> tuple[list[Loop], ExportMetrics, list[Callable[[], None]]]:
    """Both followers, their metrics, and what closes them; nothing where no backend is named."""
    url = ground.settings.lineage_url
    if not url:
        return [], ExportMetrics(()), []
    kept = FileDisk(ground.home.observer / FOLDER)
    begin = closed_hour(ground.clock.now_ns()) - HOURS_BACK
    loops: list[Loop] = []
    closing: list[Callable[[], None]] = []
    followers: list[Follower[Any]] = []
    for name, source_of, begin_at in (
        ("openlineage-journal", JournalEvents, 0),
        ("openlineage-windows", WindowEvents, begin),
    ):
        sender = LineageSender(url)
        thread = WorkThread(name)
        source = source_of(ground, _Ready(ground, sender))
        terms = Terms(name=name, lag_s=LAG_S, begin=begin_at, batch=BATCH)
        follower: Follower[Any] = Follower(source, sender.send, kept, ground.clock, thread, terms)
        followers.append(follower)
        loops.append(follower.run)
        # The thread first: a connection that is in use cannot be closed from here.
        closing += [partial(thread.close, CLOSE_S), sender.close]
    _logger.info("lineage_sent", since=datetime.fromtimestamp(begin * 3600, UTC).isoformat())
    return loops, ExportMetrics(followers), closing


def _lines(unit: Unit, after: int, limit: int) -> list[tuple[Journaled, str]]:
    """Lines, each with what tells its rollout from others of the same name: the place where it was begun."""
    found = []
    for line in unit.events(after=after, limit=limit):
        begun = ""
        if line.event.name in STATES:
            starts = unit.events(subject=line.event.subject, name=STARTED, limit=100, newest_first=True)
            begun = str(next((one.sequence for one in starts if one.sequence <= line.sequence), 0))
        found.append((line, begun))
    return found


def _digests(unit: Unit) -> dict[str, str]:
    """By release: "credit@3"."""
    found = {}
    for record in unit.list(MODEL_VERSION):
        spec = msgspec.convert(record.spec, ModelVersionSpec)
        admission = msgspec.convert(record.status, Admitted).admission
        found[f"{spec.model}@{spec.version}"] = (
            (admission.digest if admission else "") or spec.digest or spec.version
        )
    return found
