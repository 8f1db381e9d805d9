"""Counters that are a function of the log: counts outcomes from a durable checkpoint on, wherever a process died.

The checkpoint holds counters and position together, so a row counts once. Nothing is told before the log has been
counted to its end, because a counter that goes back would be counted twice by whoever scrapes it.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog

from andon.kernel.clock import Clock
from andon.kernel.ports import Disk, Runner
from andon.ledger.reader import Cursor
from andon.ledger.row import Outcome
from andon.ledger.scan import Damage
from andon.observability.families import Family
from andon.observability.telemetry.mapping import VERSION
from andon.observability.telemetry.requests import Checkpoint, RequestMetrics

PATH: Final = "metrics.json"
PERIOD_S: Final = 0.2
SAVE_S: Final = 10.0
REFRESH_S: Final = 1.0  # names that are still unknown are not asked for more often

Refresh = Callable[[], Awaitable[None]]

_logger = structlog.get_logger("andon.telemetry")


class Counting:
    """Follows the log for `RequestMetrics`. `run` it as a task."""

    def __init__(
        self, metrics: RequestMetrics, log: Disk, kept: Disk, clock: Clock, runner: Runner, refresh: Refresh
    ) -> None:
        self.metrics = metrics
        self._log = log
        self._kept = kept
        self._clock = clock
        self._runner = runner
        self._refresh = refresh  # teaches the vocabulary what the store knows now
        self._refreshed_at = clock.monotonic() - REFRESH_S
        self._lock = threading.Lock()  # counting and telling happen in different threads
        self._cursor = Cursor(log, report=self._report)
        self._position = 0  # up to which rows have been counted; the cursor may be ahead
        self._saved_position = -1
        self._saved_at = clock.monotonic()
        self.is_current = False  # the log has been counted to its end once

    async def run(self) -> None:
        """Count for ever; the checkpoint is written at the end."""
        await self._runner.run(self._load)
        await self._refresh()
        try:
            while True:
                if not await self.turn():
                    self.is_current = True
                    await self._clock.sleep(PERIOD_S)
        finally:
            self._save()

    async def turn(self) -> bool:
        """Count some rows; False at the end of the log."""
        entries = await self._runner.run(self._cursor.poll)
        rows = [entry.row for entry in entries if isinstance(entry.row, Outcome)]
        now = self._clock.monotonic()
        if now - self._refreshed_at >= REFRESH_S and not all(map(self.metrics.known.knows, rows)):
            await self._refresh()
            self._refreshed_at = now
        if entries:
            await self._runner.run(lambda: self._take(rows, entries[-1].position))
        if now - self._saved_at >= SAVE_S:
            self._saved_at = now
            await self._runner.run(self._save)
        return bool(entries)

    def families(self) -> tuple[Family, ...]:
        """All families; none before the log has been counted to its end."""
        if not self.is_current:
            return ()
        with self._lock:
            return self.metrics.families()

    def _take(self, rows: list[Outcome], position: int) -> None:
        with self._lock:
            self.metrics.take(rows)
            self._position = position

    def _load(self) -> None:
        try:
            saved = msgspec.json.decode(self._kept.read(PATH), type=Checkpoint)
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            # Counting from the beginning of the log gives the same numbers, as far as the log still has the rows.
            _logger.warning("checkpoint_unreadable", reason=str(error))
            return
        if saved.version != VERSION:
            _logger.info("checkpoint_of_another_version", version=saved.version)
            return
        self.metrics.load(saved)
        self._cursor = Cursor(self._log, after=saved.position, report=self._report)
        self._position = self._saved_position = saved.position

    def _save(self) -> None:
        with self._lock:
            checkpoint = self.metrics.save(self._position)
        if checkpoint.position == self._saved_position:
            return
        try:
            self._kept.replace(PATH, msgspec.json.encode(checkpoint))
            self._saved_position = checkpoint.position
        except OSError as error:
            _logger.warning("checkpoint_unwritten", reason=str(error))

    def _report(self, damage: Damage) -> None:
        self.metrics.missing += damage.rows
