"""The only reconcile loop: decides when each controller takes a turn over each of its subjects.

Woken by period and by signal; a signal carries no data and ten of them are one look. What a turn is stands in `turn`.
All waiting goes through the kernel's clock, so that simulations drive it. Nothing a controller raises ends the loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from andon.control.controller import Controller
from andon.control.turn import Terms, Turn, Turned, Watch
from andon.control.waking import Signal
from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Permanent, Transient
from andon.kernel.random import Random
from andon.store.model import Store

SUBJECTS_MAX = 10_000  # of one controller; more are not looked after, and the log says so
GAP_S = 0.01  # between two looks, so that a controller that signals itself does not spin
WAKE_SOONEST_S = 0.05
BACKOFF_FIRST_S = 0.5
BACKOFF_LONGEST_S = 60.0

_log = logging.getLogger("andon.control.driver")


@dataclass
class Counts:
    """What the driver has done since it began; read by metrics and `andon describe`."""

    turns: dict[str, int] = field(default_factory=dict)  # by how they ended
    transient: int = 0
    permanent: int = 0
    bugs: int = 0


@dataclass
class _Lane:
    """One controller with everything it looks after."""

    controller: Controller[Any]
    turn: Turn
    signal: Signal
    watches: dict[str, Watch] = field(default_factory=dict)
    listed_at: float = 0.0  # when its subjects are asked for again
    failures: int = 0


class Driver:
    """Runs controllers until it is stopped. One `run` per driver."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        random: Random,
        controllers: Iterable[Controller[Any]],
        terms: Terms,
        concurrency: int = 8,
    ) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._slots = asyncio.Semaphore(concurrency)
        self._lanes = [_Lane(item, Turn(store, clock, item, terms), Signal(clock)) for item in controllers]
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.counts = Counts()

    def signal(self) -> None:
        """Something changed: every controller looks at everything. Call it on the event loop's thread."""
        for lane in self._lanes:
            lane.signal.set()

    def stop(self) -> None:
        """Take no new turn; `run` returns when those under way are done, or cancels them after its grace."""
        self._stopping = True
        self.signal()

    async def run(self, grace_s: float = 10.0) -> None:
        """Look after everything until `stop`; cancelling it cancels the turns, whose leases are given back."""
        lanes = [asyncio.ensure_future(self._look_after(lane)) for lane in self._lanes]
        try:
            await asyncio.gather(*lanes)
            if self._tasks:
                patience = asyncio.ensure_future(self._clock.sleep(grace_s))
                turns = asyncio.gather(*self._tasks, return_exceptions=True)
                waited: set[asyncio.Future[Any]] = {patience, turns}
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                patience.cancel()
                await asyncio.gather(patience, return_exceptions=True)
        finally:
            left = [*lanes, *self._tasks]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _look_after(self, lane: _Lane) -> None:
        signalled = True
        while not self._stopping:
            now = self._clock.monotonic()
            if signalled or now >= lane.listed_at:
                await self._list(lane)
            for subject, watch in lane.watches.items():
                if watch.task is not None:
                    watch.again |= signalled
                elif signalled or watch.due_at <= now:
                    self._launch(lane, subject, watch)
            await self._clock.sleep(GAP_S)
            due = [watch.due_at for watch in lane.watches.values() if watch.task is None]
            soonest = min([lane.listed_at, *due])
            signalled = await lane.signal.wait(soonest - self._clock.monotonic())

    async def _list(self, lane: _Lane) -> None:
        """Ask what there is to look after; what is gone is forgotten once its turn is over."""
        name = lane.controller.name
        try:
            subjects = list(await self._store.transact(lane.controller.subjects))
        except (
            Exception
        ) as error:  # whatever a controller or the store raises, the loop goes on: counted, logged
            self._count_failure(error)
            _log.warning("subjects of %s could not be listed", name, exc_info=error)
            lane.failures += 1
            lane.listed_at = self._clock.monotonic() + self._backoff(lane.failures, 0.0)
            return
        lane.failures = 0
        lane.listed_at = self._clock.monotonic() + lane.controller.period_s
        if len(subjects) > SUBJECTS_MAX:
            _log.error("%s has %d subjects; only %d are looked after", name, len(subjects), SUBJECTS_MAX)
        wanted = dict.fromkeys(subjects[:SUBJECTS_MAX])
        kept = {subject: watch for subject, watch in lane.watches.items() if subject in wanted or watch.task}
        lane.watches = kept | {subject: Watch() for subject in wanted if subject not in kept}

    def _launch(self, lane: _Lane, subject: str, watch: Watch) -> None:
        watch.again = False
        watch.task = asyncio.ensure_future(self._one(lane, subject, watch))
        self._tasks.add(watch.task)
        watch.task.add_done_callback(self._tasks.discard)

    async def _one(self, lane: _Lane, subject: str, watch: Watch) -> None:
        """One turn and its consequences for the next."""
        try:
            async with self._slots:
                if not self._stopping:
                    turned = await lane.turn.take(subject, watch)
                    self._settled(lane, watch, turned)
        except (
            Exception
        ) as error:  # whatever a controller raises, the loop goes on: counted, logged, journaled
            await self._failed(lane, subject, watch, error)
        finally:
            watch.task = None
            if watch.again:
                watch.due_at = self._clock.monotonic()
            lane.signal.nudge()

    def _settled(self, lane: _Lane, watch: Watch, turned: Turned) -> None:
        now = self._clock.monotonic()
        self.counts.turns[turned.word] = self.counts.turns.get(turned.word, 0) + 1
        if turned.word == "waiting":
            watch.due_at = now + lane.controller.period_s
            if not watch.parked:
                watch.due_at = max(now, watch.not_before)
            return
        if turned.word not in ("busy", "lost"):
            watch.attempts, watch.not_before, watch.told = 0, 0.0, ""
        after = lane.controller.period_s if turned.wake_after_s is None else turned.wake_after_s
        watch.due_at = now + max(WAKE_SOONEST_S, min(after, lane.controller.period_s))

    async def _failed(self, lane: _Lane, subject: str, watch: Watch, error: Exception) -> None:
        self._count_failure(error)
        watch.attempts += 1
        wait_s = self._backoff(watch.attempts, error.retry_after_s if isinstance(error, Transient) else 0.0)
        watch.not_before = watch.due_at = self._clock.monotonic() + wait_s
        where = f"{lane.controller.name} over {subject}"
        failure = f"{type(error).__name__}:{getattr(error, 'code', '')}"
        told, watch.told = watch.told == failure, failure
        try:
            if isinstance(error, Permanent):
                _log.error("%s is parked: %s", where, error)
                watch.parked = True
                if not told:
                    await lane.turn.park(subject, watch.generation, error)
            elif isinstance(error, AndonError):
                _log.warning("%s is tried again in %.1f s: %s", where, wait_s, error)
            else:
                _log.error("%s failed by a bug", where, exc_info=error)
                if not told:
                    await lane.turn.tell_bug(subject, error)
        except AndonError as telling:
            # The failure is counted and logged already; only the journal does not know it.
            _log.warning("%s: the journal could not be told: %s", where, telling)

    def _count_failure(self, error: Exception) -> None:
        if isinstance(error, Permanent):
            self.counts.permanent += 1
        elif isinstance(error, AndonError):
            self.counts.transient += 1
        else:
            self.counts.bugs += 1

    def _backoff(self, attempts: int, at_least_s: float) -> float:
        """Doubling with jitter (half to full), at least what the error asked for, at most a minute."""
        longest = min(BACKOFF_LONGEST_S, BACKOFF_FIRST_S * 2.0 ** min(attempts - 1, 20))
        jittered = longest * (0.5 + self._random.uniform() / 2)
        return min(BACKOFF_LONGEST_S, max(at_least_s, jittered))
