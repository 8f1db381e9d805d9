"""The log: rows in, durable rows out, by group commit. The last thing a request waits for.

`append` encodes a row into the open batch; `committed` is resolved once everything appended before it is durable.
While one batch is on its way to the disk the next one fills, so commits grow with the load. Runs on one event loop;
the disk is touched only by the writer, in the runner. It must never resolve a waiter whose rows may be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.errors import Transient
from andon.kernel.ports import Disk, Runner
from andon.ledger import segment
from andon.ledger.recovery import Recovered, recover
from andon.ledger.settings import LogSettings
from andon.ledger.writer import Writer, is_no_space, spend_reserve

UNAVAILABLE = "ledger_unavailable"

State = Literal["ok", "full", "broken", "closed"]
Waiter = asyncio.Future[None]


class Counters(msgspec.Struct, kw_only=True):
    """Totals since the log was opened; only ever grow."""

    rows: int = 0  # durable
    bytes: int = 0
    commits: int = 0
    waits: int = 0  # waiters resolved
    sync_us: int = 0  # spent on disk by all commits
    sync_us_max: int = 0
    failures: int = 0  # commits that the disk refused
    dropped: int = 0  # rows refused because too much was pending, or given up at close


class _Batch(msgspec.Struct, kw_only=True):
    frame: bytearray
    first_row: int
    rows: int
    since: float  # monotonic time of its oldest row
    waiters: list[Waiter]


class Log:
    """One writer of one folder. Made by `Log.open`; use from one event loop only."""

    def __init__(
        self, runner: Runner, writer: Writer, clock: Clock, settings: LogSettings, start: Recovered
    ) -> None:
        self._runner = runner
        self._writer = writer
        self._clock = clock
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._encode_into: Callable[[object, bytearray, int], None] = msgspec.msgpack.Encoder().encode_into
        self._next_row = start.next_row
        self._buffer = segment.start_frame()
        self._rows = 0
        self._since = 0.0
        self._room = settings.pending_bytes  # what the open batch may grow to
        self._waiters: list[Waiter] = []
        self._recent = (1, 1)  # waiters of the last two batches
        self._hurried = False  # begin the next commit as soon as the disk is free
        self._work: asyncio.Future[Any] | None = None  # what the runner is doing for us
        self._flight: _Batch | None = None  # what is being written
        self._stuck: _Batch | None = None  # what the disk refused; written again before anything newer
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closed = False
        self.recovered = start
        self.counters = Counters()
        self.problem: Transient | None = None  # why new work should be refused; None while all is well
        self.state: State = "ok"
        self.crowd: Callable[[], int] | None = (
            None  # exchanges in flight, if the gateway says; bounds the linger
        )

    @classmethod
    async def open(
        cls, disk: Disk, folder: str, clock: Clock, runner: Runner, gateway: str, settings: LogSettings
    ) -> Log:
        """Recover what is there and be ready to append. Raises OSError if the disk cannot be read or written."""
        start = await runner.run(partial(_recover, disk, folder, clock.now_ns()))
        writer = Writer(disk, folder, gateway, clock, settings, start)
        log = cls(runner, writer, clock, settings, start)
        if settings.reserve_bytes:
            await runner.run(writer.restore_reserve)
            if writer.reserve_spent:
                log._tell_full()
                log._after(settings.retry_s, "restore", log._restore)
        log._after(settings.segment_age_s, "age", log._age)
        return log

    def append(self, row: object) -> None:
        """Add a row, or a fact in a log of facts, to the open batch; about 1 µs.

        Raises `Transient` (`ledger_unavailable`) beyond the bound."""
        buffer = self._buffer
        size = len(buffer)
        if size >= self._room:
            raise self._overflow()
        try:
            self._encode_into(row, buffer, -1)
        except BaseException:
            del buffer[size:]  # half a row must not reach the disk with its neighbours
            raise
        self._rows += 1
        if self._rows == 1:
            self._since = self._clock.monotonic()
            if "flush" not in self._timers:
                self._after(self._settings.flush_s, "flush", self._hurry)
        elif self._rows == self._settings.batch_rows:
            self._hurry()

    def committed(self) -> Awaitable[None]:
        """Resolved when everything appended so far is durable; raises `Transient` if the disk refuses.

        Cancelling it harms nobody: each waiter has a future of its own.
        """
        if self._stuck is not None and self.problem is not None:
            raise self._again()
        future = self._loop.create_future()
        if self._rows:
            self._waiters.append(future)
            if self._work is None:
                self._consider()
        elif self._flight is not None:
            self._flight.waiters.append(future)
        else:
            future.set_result(None)
        return future

    @property
    def lag_s(self) -> float:
        """Age of the oldest row that is not durable; 0 if there is none."""
        batch = self._stuck or self._flight
        if batch is None and not self._rows:
            return 0.0
        return self._clock.monotonic() - (batch.since if batch else self._since)

    @property
    def pending_bytes(self) -> int:
        """Memory held by rows that are not durable."""
        batch = self._stuck or self._flight
        return len(self._buffer) + (len(batch.frame) if batch else 0)

    async def close(self) -> None:
        """Write what is pending, seal the segment, refuse anything more. What cannot be written is counted."""
        if self._closed:
            return
        self._closed = True
        self._room = 0
        self._cancel_timers()
        failures = self.counters.failures
        while self._work is not None or self._stuck is not None or self._rows:
            if self._work is None:
                if self.counters.failures > failures:
                    break  # tried once more and refused again: a process that ends must end
                self._begin()
            if self._work is not None:
                await asyncio.wait([self._work])
        self._cancel_timers()
        lost = self._rows + (self._stuck.rows if self._stuck else 0)
        self.counters.dropped += lost
        self.state = "closed"
        await self._runner.run(self._writer.close)

    def _consider(self) -> None:
        """Begin a commit now, or soon. Called when the disk is free.

        Those who waited for the last two batches will be back: with no one else about, half of them is the batch
        that keeps disk and processor equally busy, and a single client never waits for company.
        """
        waiting = len(self._waiters)
        target = sum(self._recent) // 2
        if self.crowd is not None:
            target = min(target, self.crowd() // 2)
        if self._hurried or (waiting and waiting >= target):
            self._begin()
        elif waiting and "linger" not in self._timers:
            self._after(self._settings.linger_s, "linger", self._hurry)

    def _hurry(self) -> None:
        if self._rows:
            self._hurried = True
            if self._work is None:
                self._begin()

    def _begin(self) -> None:
        """Hand the stuck batch or the open one to the disk."""
        if self._work is not None:
            return
        batch = self._stuck or self._take()
        if batch is None:
            return
        self._flight = batch
        self._room = 0 if self._closed else self._settings.pending_bytes - len(batch.frame)
        self._run(partial(self._writer.write, batch.frame, batch.first_row, batch.rows), self._finished)

    def _take(self) -> _Batch | None:
        self._hurried = False
        linger = self._timers.pop("linger", None)
        if linger is not None:
            linger.cancel()
        if not self._rows:
            return None
        batch = _Batch(
            frame=self._buffer,
            first_row=self._next_row,
            rows=self._rows,
            since=self._since,
            waiters=self._waiters,
        )
        self._next_row += self._rows
        self._buffer, self._rows, self._waiters = segment.start_frame(), 0, []
        self._recent = (self._recent[1], max(1, len(batch.waiters)))
        return batch

    def _run(self, work: Callable[[], None], then: Callable[[asyncio.Future[None]], None]) -> None:
        self._work = asyncio.ensure_future(self._runner.run(work))
        self._work.add_done_callback(then)

    def _finished(self, work: asyncio.Future[None]) -> None:
        self._work = None
        batch, self._flight = self._flight, None
        if batch is None:
            return
        error = asyncio.CancelledError() if work.cancelled() else work.exception()
        if error is not None:
            self._failed(batch, error)
            return
        self._stuck = None
        self._room = 0 if self._closed else self._settings.pending_bytes
        self._count(batch)
        if self._writer.reserve_spent:
            self._tell_full()
            self._after(self._settings.retry_s, "restore", self._restore)
        else:
            self.problem, self.state = None, "ok"
        for waiter in batch.waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._consider()

    def _failed(self, batch: _Batch, error: BaseException) -> None:
        self.counters.failures += 1
        if is_no_space(error):
            self._tell_full()
        else:
            self.state = "broken"
            self.problem = Transient(
                UNAVAILABLE,
                "The ledger's disk fails, so this request could not be recorded.",
                hint="Try again; the operator finds the disk's error in the gateway's log.",
                internal=repr(error),
            )
        waiters = batch.waiters + self._waiters
        batch.waiters, self._waiters, self._stuck = [], [], batch
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(self._again())
        if not self._closed:
            self._after(self._settings.retry_s, "retry", self._begin)

    def _count(self, batch: _Batch) -> None:
        counters, sync_us = self.counters, int(self._writer.sync_s * 1e6)
        counters.rows += batch.rows
        counters.bytes += len(batch.frame)
        counters.commits += 1
        counters.waits += len(batch.waiters)
        counters.sync_us += sync_us
        counters.sync_us_max = max(counters.sync_us_max, sync_us)

    def _restore(self) -> None:
        """Try to take the reserve back; until then the state is `full` and the gateway admits nothing new."""
        if self._work is not None:
            self._after(self._settings.retry_s, "restore", self._restore)
            return
        self._run(self._writer.restore_reserve, self._restored)

    def _restored(self, work: asyncio.Future[None]) -> None:
        self._work = None
        failed = work.cancelled() or work.exception() is not None
        if self._closed:
            return
        if failed or self._writer.reserve_spent:
            self._after(self._settings.retry_s, "restore", self._restore)
        elif self._stuck is None:
            self.problem, self.state = None, "ok"
        if self._stuck is not None:
            self._begin()  # its own timer may have found the disk busy with us
        else:
            self._consider()

    def _age(self) -> None:
        """Seal an old segment although nothing is being written."""
        self._after(self._settings.segment_age_s, "age", self._age)
        if self._work is None and self._stuck is None:
            self._run(self._writer.seal_if_due, self._restored)

    def _after(self, seconds: float, name: str, act: Callable[[], None]) -> None:
        if self._closed or name in self._timers:
            return
        self._timers[name] = self._loop.call_later(seconds, self._fire, name, act)

    def _fire(self, name: str, act: Callable[[], None]) -> None:
        del self._timers[name]
        act()

    def _cancel_timers(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _tell_full(self) -> None:
        self.state = "full"
        self.problem = Transient(
            UNAVAILABLE,
            "The ledger's disk is full, so this request could not be recorded.",
            hint="Try again later; the operator must free space.",
        )

    def _again(self) -> Transient:
        """A fresh copy of the problem: an exception object is raised once only."""
        problem = self.problem
        if problem is None:
            return Transient(UNAVAILABLE, "The ledger is closed.", hint="Try another gateway.")
        return Transient(problem.code, problem.message, hint=problem.hint, internal=problem.internal)

    def _overflow(self) -> Transient:
        self.counters.dropped += 1
        if self._closed or self.problem is not None:
            return self._again()
        return Transient(
            UNAVAILABLE,
            "The ledger's disk is too slow, and too many rows are waiting for it.",
            hint="Try again later; the operator finds the lag of the ledger in the metrics.",
        )


def _recover(disk: Disk, folder: str, now_ns: int) -> Recovered:
    """Recovery writes a little: on a full disk the reserve makes room for it."""
    try:
        return recover(disk, folder, now_ns)
    except OSError as error:
        if not is_no_space(error) or not spend_reserve(disk, folder):
            raise
        return recover(disk, folder, now_ns)
