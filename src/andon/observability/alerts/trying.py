"""A back-test as it is asked for: finds the history that a rule needs, and reports. Heavy work runs in threads.

One at a time, bounded in time and span; a second is refused while one is under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.errors import Refused, Transient
from andon.kernel.ports import Runner
from andon.kernel.units import duration_s
from andon.ledger.queries import Engine
from andon.observability.alerts.backtest import History, Marked
from andon.observability.alerts.burning import objective_history
from andon.observability.alerts.history import (
    absent_history,
    event_history,
    no_history,
    query_history,
    window_history,
)
from andon.observability.alerts.model import AlertSpec
from andon.observability.alerts.report import report_of
from andon.observability.alerts.rules import NS, Rule, compile_rule
from andon.observability.objectives.model import ObjectiveSpec
from andon.store.model import Journaled, Store, Unit

SINCE_S_MAX = 92 * 86_400.0
QUERIES_S = 45.0  # for all queries of a `query` rule together
EVENTS_MAX = 10_000
PAGE = 1000


class Trying:
    """Back-tests over the ledger."""

    def __init__(self, store: Store, engine: Engine, runner: Runner, clock: Clock) -> None:
        self._store = store
        self._engine = engine
        self._runner = runner
        self._clock = clock
        self._busy = False

    async def test(
        self, name: str, spec: AlertSpec, since: str, incidents: Sequence[Marked], pages_per_week: float
    ) -> dict[str, Any]:
        """The report. Raises `Refused` for a rule or a span that cannot be tried, `Transient` while one is tried."""
        since_s = _seconds(since)
        try:
            rule = compile_rule(name, spec)
        except ValueError as error:
            raise Refused("alert_invalid", f"{error}.", hint="Correct the rule.", param="spec") from error
        if self._busy:
            raise Transient(
                "backtest_busy",
                "Another back-test is under way.",
                hint="Try again when it is done.",
                retry_after_s=5.0,
            )
        self._busy = True
        try:
            until_ns = self._clock.now_ns()
            window = (until_ns - round(since_s * NS), until_ns)
            rule, history = await self._history(rule, window)
            return await self._runner.run(lambda: report_of(rule, history, incidents, pages_per_week))
        finally:
            self._busy = False

    async def _history(self, rule: Rule, window: tuple[int, int]) -> tuple[Rule, History]:
        when, engine, run = rule.spec.when, self._engine, self._runner.run
        if when.window is not None:
            return rule, await run(lambda: window_history(engine, rule, *window))
        if when.absent is not None:
            absent = when.absent
            return rule, await run(lambda: absent_history(engine, absent, *window))
        if when.query is not None:
            query, deadline = when.query, self._clock.monotonic() + QUERIES_S
            return rule, await run(
                lambda: query_history(
                    engine, rule, query, *window, lambda: self._clock.monotonic() < deadline
                )
            )
        if when.event is not None:
            events = await self._events(rule, window[0])
            played = msgspec.structs.replace(rule, keep_ns=0)
            return played, event_history(rule, when.event, events, window)
        if when.objective is not None and when.objective.name:
            objective, name = when.objective, when.objective.name
            record = await self._store.transact(lambda unit: unit.get("Objective", name))
            if record is None:
                raise Refused(
                    "not_found", f"There is no objective '{name}'.", hint="Apply it first.", status=404
                )
            spec = msgspec.convert(record.spec, ObjectiveSpec)
            return rule, await run(lambda: objective_history(engine, name, spec, objective, window))
        raise no_history(rule)

    async def _events(self, rule: Rule, since_ns: int) -> Sequence[Journaled]:
        when = rule.spec.when.event
        assert when is not None

        def read(unit: Unit) -> Sequence[Journaled]:
            found: list[Journaled] = []
            for name in (*when.names, *when.until):
                after = 0
                while len(found) < EVENTS_MAX:
                    page = unit.events(after=after, name=name, limit=PAGE)
                    found += [one for one in page if one.event.at_ns >= since_ns]
                    if len(page) < PAGE:
                        break
                    after = page[-1].sequence
            return found

        return await self._store.transact(read)


def _seconds(text: str) -> float:
    try:
        seconds = duration_s(text)
    except ValueError as error:
        raise Refused("duration_invalid", f"{error}.", hint="Such as 30d.", param="since") from error
    if not 60.0 <= seconds <= SINCE_S_MAX:
        raise Refused(
            "duration_invalid", f"'{text}' is not between 1m and 92d.", hint="Such as 30d.", param="since"
        )
    return seconds
