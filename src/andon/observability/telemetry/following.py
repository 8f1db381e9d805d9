"""Following a log with a durable position: what an exporter reads, how it tries again, when it gives up.

Reads from the log on disk, never from a queue: a dead backend costs one batch of memory and nobody's time. A batch is
sent until it is taken; what has grown older than the declared lag is skipped and counted; what the backend refuses for
good is counted and left behind. The position is written after the batch was taken, so a crash repeats it, never skips.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
import structlog

from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Permanent, Transient
from andon.kernel.ports import Disk, Runner
from andon.kernel.telemetry import Taken
from andon.observability.families import Family, Sample

PERIOD_S: Final = 0.5  # between two looks at the end of the log
BACKOFF_S: Final = (0.5, 30.0)  # first and longest pause after a failure
BATCH: Final = 1024  # items read at a time
FINISH_S: Final = 1.0  # what a batch under way is given when the process ends
WRITE_S: Final = 2.0  # between two writings of a position: the disk is shared with the log of the gateway

T = TypeVar("T")

_logger = structlog.get_logger("andon.telemetry")


class Item(msgspec.Struct, frozen=True):
    """Something at a position."""

    position: int
    at_ns: int
    content: Any


class Source(Protocol):
    """Where items come from, in order."""

    missing: int  # items that were gone before they could be read, since it was made

    async def poll(self, after: int, limit: int) -> Sequence[Item]:
        """Items after a position; empty at the end."""
        ...


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where a follower stands, as written down, and what became of everything before."""

    position: int = 0
    sent: int = 0  # things that the backend took
    rejected: int = 0  # things that it refused for good
    skipped: int = 0  # items that grew too old while the backend was away
    missing: int = 0  # items gone from the log before they were read


# Sends a batch in a thread. Raises `Transient` to be asked again with the same batch, `Permanent` to have it counted
# as rejected.
Send = Callable[[Sequence[Any]], Taken]


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How a follower behaves."""

    name: str  # "otlp-traces"; also the name of its position
    lag_s: float  # items older than this are skipped and counted
    begin: int = 0  # where to begin without a written position
    batch: int = BATCH


class Follower(Generic[T]):
    """One exporter. `run` it as a task; its families may be read at any time."""

    def __init__(
        self, source: Source, send: Send, disk: Disk, clock: Clock, runner: Runner, terms: Terms
    ) -> None:
        self._source = source
        self._send = send
        self._disk = disk
        self._clock = clock
        self._runner = runner
        self._terms = terms
        self._path = f"{terms.name}.json"
        self._failures = 0  # in a row
        self._under_way: asyncio.Future[Taken] | None = None
        self._batch: Sequence[Item] = ()  # what is being sent, with what grew too old for it
        self._stale = 0
        self.retries = 0
        self.lag_s = 0.0
        self.position = Position(position=terms.begin)
        self._missing_before = 0  # what earlier processes found missing
        self._written = self.position
        self._written_at = clock.monotonic()

    async def run(self) -> None:
        """Follow for ever; the position is written at the end."""
        self.position = self._written = await self._runner.run(self._load)
        self._missing_before = self.position.missing
        try:
            while True:
                if not await self.turn():
                    await self._write(WRITE_S)
                    await self._clock.sleep(PERIOD_S)
        finally:
            await self._finish()
            self._save(self.position)

    async def turn(self) -> bool:
        """One batch, if there is one. Returns when it was taken, refused or skipped."""
        items = await self._source.poll(self.position.position, self._terms.batch)
        if not items:
            self.lag_s = 0.0
            return False
        while True:
            fresh = self._fresh(items)
            self._batch, self._stale = items, len(items) - len(fresh)
            taken = await self._attempt(fresh) if fresh else Taken(0)
            if taken is not None:
                self._move(items, taken)
                await self._write(WRITE_S)
                return True
            await self._clock.sleep(self._pause_s())

    async def _attempt(self, items: Sequence[Item]) -> Taken | None:
        """What became of the batch; None if it must be sent again."""
        content = [item.content for item in items]
        sending = asyncio.ensure_future(self._runner.run(lambda: self._send(content)))
        sending.add_done_callback(_hear)
        self._under_way = sending
        try:
            taken = await asyncio.shield(sending)
        except Transient as error:
            self._note(error, "telemetry_delayed")
            self.retries += 1
            return None
        except Permanent as error:
            self._note(error, "telemetry_rejected")
            taken = Taken(0, len(items))
        # A third party's bug must not end the observer: told with its traceback, the batch counted as refused.
        except Exception:
            _logger.exception("telemetry_failed", exporter=self._terms.name)
            taken = Taken(0, len(items))
        self._failures = 0
        return taken

    async def _finish(self) -> None:
        """Let a batch that is under way when the process ends arrive, so that the next one does not send it again."""
        sending, items = self._under_way, self._batch
        if sending is None or not items:
            return
        await asyncio.wait([sending], timeout=FINISH_S)
        if sending.done() and not sending.cancelled() and sending.exception() is None:
            self._move(items, sending.result())

    def _fresh(self, items: Sequence[Item]) -> Sequence[Item]:
        now_ns = self._clock.now_ns()
        self.lag_s = max(0.0, (now_ns - items[0].at_ns) / 1e9)
        oldest_ns = now_ns - int(self._terms.lag_s * 1e9)
        return [item for item in items if item.at_ns >= oldest_ns]

    def _move(self, items: Sequence[Item], taken: Taken) -> None:
        """Past a batch that was taken, refused or skipped."""
        self._under_way = None
        if taken.reason:
            _logger.warning(
                "telemetry_rejected", exporter=self._terms.name, count=taken.rejected, reason=taken.reason
            )
        old = self.position
        self.position = Position(
            position=items[-1].position,
            sent=old.sent + taken.sent,
            rejected=old.rejected + taken.rejected,
            skipped=old.skipped + self._stale,
            missing=self._missing_before + self._source.missing,
        )

    async def _write(self, period_s: float) -> None:
        """Write the position down, not more often than every `period_s`; what lies between is sent again by whoever
        comes after a crash, under the same ids."""
        now, position = self._clock.monotonic(), self.position
        if position != self._written and now - self._written_at >= period_s:
            self._written_at = now
            await self._runner.run(lambda: self._save(position))

    def _save(self, position: Position) -> None:
        if position == self._written:
            return
        try:
            self._disk.replace(self._path, msgspec.json.encode(position))
            self._written = position
        except OSError as error:
            # Going on is right: the next writing may succeed, and meanwhile nothing is lost.
            _logger.warning("position_unwritten", exporter=self._terms.name, reason=str(error))

    def _load(self) -> Position:
        try:
            return msgspec.json.decode(self._disk.read(self._path), type=Position)
        except FileNotFoundError:
            return self.position
        except (OSError, msgspec.MsgspecError) as error:
            _logger.warning("position_unreadable", exporter=self._terms.name, reason=str(error))
            return self.position

    def _pause_s(self) -> float:
        first, longest = BACKOFF_S
        self._failures += 1
        return min(longest, first * 2.0 ** min(self._failures - 1, 16))

    def _note(self, error: AndonError, event: str) -> None:
        if self._failures in (0, 3, 10) or self._failures % 100 == 0:
            _logger.warning(
                event,
                exporter=self._terms.name,
                code=error.code,
                reason=error.message,
                tries=self._failures + 1,
            )

    def samples(self) -> tuple[tuple[str, Sample], ...]:
        """What it has done, as samples of the families in `export_families`."""
        label = (("exporter", self._terms.name),)
        told = self.position
        return (
            ("andon_telemetry_exported_total", Sample(label, told.sent)),
            ("andon_telemetry_rejected_total", Sample(label, told.rejected)),
            ("andon_telemetry_skipped_total", Sample(label, told.skipped + told.missing)),
            ("andon_telemetry_retries_total", Sample(label, self.retries)),
            ("andon_telemetry_lag_seconds", Sample(label, self.lag_s)),
        )


def _hear(sending: asyncio.Future[Taken]) -> None:
    """A batch that fails after the end of the process has been heard of: it will be sent again, nobody need be told."""
    if not sending.cancelled():
        sending.exception()


_MEANINGS: Final = {
    "andon_telemetry_exported_total": "Spans, records or documents that a backend took.",
    "andon_telemetry_rejected_total": "Those that a backend refused for good.",
    "andon_telemetry_skipped_total": "Rows or events never sent: too old, or gone from the log.",
    "andon_telemetry_retries_total": "Batches that had to be sent again.",
    "andon_telemetry_lag_seconds": "Age of the oldest row that is not sent; 0 at the end of the log.",
}


class ExportMetrics:
    """The families of all exporters together."""

    def __init__(self, followers: Sequence[Follower[Any]]) -> None:
        self._followers = followers

    def families(self) -> tuple[Family, ...]:
        """All of them, now."""
        found: dict[str, list[Sample]] = {name: [] for name in _MEANINGS}
        for follower in self._followers:
            for name, sample in follower.samples():
                found[name].append(sample)
        return tuple(
            Family(name, "gauge" if name.endswith("_seconds") else "counter", _MEANINGS[name], tuple(samples))
            for name, samples in found.items()
        )
