"""Hedging: when the first answer is late, ask a second target too; the first good answer wins, the other is cancelled.

Off unless an endpoint says `hedgeAfterMs`. Called by `gateway/dispatch` for the first attempt of exchanges that are no
streams; a hedge is an attempt like any other, with its own rows and out of the same retry budget. (Dean, Barroso 2013,
"The Tail at Scale".)
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Coroutine
from typing import Any, Final

from andon.gateway.course import Course
from andon.gateway.meters import Meters
from andon.gateway.recording import Recorder
from andon.gateway.targets import Target, Targets, pick
from andon.kernel.clock import Clock
from andon.kernel.errors import Transient
from andon.kernel.exchange import Exchange
from andon.kernel.ports import Answer
from andon.kernel.random import Random

Attempt = Callable[[Course, Target], Coroutine[Any, Any, Answer]]
Outcome = Answer | Transient

_LOST: Final = "hedge_lost"  # the code of an attempt that was cancelled because the other one had answered
# What the winner of a race tells of itself. The start stays the first attempt's: its wait is part of the latency.
_WINNERS_OWN: Final = (
    "attempt",
    "target",
    "first_byte_at",
    "upstream_ended_at",
    "input_tokens",
    "output_tokens",
    "usage_source",
    "told",
    "queue_us",
)


class Hedging:
    """Races two attempts. One per dispatcher."""

    def __init__(
        self,
        attempt: Attempt,
        targets: Targets,
        recorder: Recorder,
        *,
        clock: Clock,
        random: Random,
        meters: Meters,
    ) -> None:
        self._attempt = attempt
        self._targets = targets
        self._recorder = recorder
        self._clock = clock
        self._random = random
        self._meters = meters

    async def run(self, course: Course, target: Target, after_s: float) -> tuple[Outcome, Target]:
        """The outcome that counts and the target it came from; the exchange tells of that attempt afterwards."""
        began = self._clock.monotonic()
        first = asyncio.ensure_future(self._settled(course, target))
        second: asyncio.Future[Outcome] | None = None
        try:
            if await self._answered(first, after_s):
                return first.result(), target
            other = self._other(course, target)
            twin = None if other is None else self._twin(course)
            if other is None or twin is None:
                return await first, target
            twin.exchange.target = other.entry.id
            second = asyncio.ensure_future(self._settled(twin, other))
            won = await _first_good(first, second)
            loser = twin if won is first else course
            await _cancel(second if won is first else first)
            self._record(loser, first if loser is course else second)
            if won is second:
                _take_over(course.exchange, twin.exchange)
            course.upstream_s = self._clock.monotonic() - began
            return won.result(), target if won is first else other
        finally:
            await _cancel(first)
            if second is not None:
                await _cancel(second)

    async def _settled(self, course: Course, target: Target) -> Outcome:
        """An attempt whose failure is a result, so that the race can weigh it."""
        try:
            return await self._attempt(course, target)
        except Transient as error:
            return error

    async def _answered(self, first: asyncio.Future[Outcome], after_s: float) -> bool:
        patience = asyncio.ensure_future(self._clock.sleep(after_s))
        waited: set[asyncio.Future[Any]] = {first, patience}
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            patience.cancel()
            await asyncio.gather(patience, return_exceptions=True)
        return first.done()

    def _other(self, course: Course, target: Target) -> Target | None:
        """Where to ask too, if there is such a place and the retry budget allows it."""
        now = self._clock.monotonic()
        other = pick(course.served.targets, (target,), now, self._random)
        if other is None or not self._targets.table.budgets[course.assigned.endpoint.name].spend():
            return None
        return other

    def _twin(self, course: Course) -> Course | None:
        """A course of its own for the hedge, with its intent written; None when the ledger has no room for it."""
        exchange = copy.copy(course.exchange)
        exchange.attempt += 1
        twin = Course(exchange, course.reply, course.assigned)
        twin.served = course.served
        try:
            self._recorder.intent(twin)
        except Transient:
            self._meters.count("hedge_unrecorded")
            return None
        self._meters.count("hedge")
        return twin

    def _record(self, loser: Course, outcome: asyncio.Future[Outcome] | None) -> None:
        """The row of the attempt that did not count. A ledger without room is counted: the answer matters more."""
        x = loser.exchange
        failed = outcome is not None and outcome.done() and not outcome.cancelled()
        x.status, x.error_code = 0, _LOST
        if failed and outcome is not None and isinstance(result := outcome.result(), Transient):
            x.error_code = result.code
        if x.guarded is not None:
            x.guarded.note(x)
        try:
            self._recorder.outcome(loser, final=False, blamed=False)
        except Transient:
            self._meters.count("outcome_row_lost")
        x.error_code = ""


def _is_good(outcome: Outcome) -> bool:
    return not isinstance(outcome, Transient) and outcome.status < 300


async def _first_good(
    first: asyncio.Future[Outcome], second: asyncio.Future[Outcome]
) -> asyncio.Future[Outcome]:
    """Whichever has a good answer first; when neither has one, the second, which is the later word."""
    await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
    for future in (first, second):
        if future.done() and _is_good(future.result()):
            return future
    await asyncio.wait({first, second})
    return first if _is_good(first.result()) else second


async def _cancel(future: asyncio.Future[Outcome]) -> None:
    if not future.done():
        future.cancel()
        await asyncio.gather(future, return_exceptions=True)


def _take_over(x: Exchange, winner: Exchange) -> None:
    for name in _WINNERS_OWN:
        setattr(x, name, getattr(winner, name))
