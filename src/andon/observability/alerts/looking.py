"""One look at one rule as things stand now: reads windows, signals, metrics, sightings, the journal; decides nothing.

A look that needs a thread (queries, the journal) is awaited; the others are of memory. What cannot be known yet, such
as a window that is still being filled after a start, is said to be unknown, so that a restart ends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Refused
from andon.kernel.ports import Runner
from andon.kernel.units import duration_s
from andon.ledger.queries import Bounds, Engine
from andon.observability.alerts.figures import figure_of, is_beyond, why_of
from andon.observability.alerts.model import (
    INSTANCES_MAX,
    AbsentWhen,
    EventWhen,
    MetricWhen,
    ObjectiveWhen,
    QueryWhen,
    WindowWhen,
)
from andon.observability.alerts.rules import NS, Evaluation, Observation, Rule
from andon.observability.alerts.sightings import Key, Sightings, ask_last
from andon.observability.families import MetricSource
from andon.observability.signals import Signal, Signals
from andon.observability.windows.service import Windows
from andon.store.model import Journaled, Store

SETTLE_S = 75.0  # after a start, until parts that read history have said what they know
EVENTS_MAX = 1000  # of the journal in one look
QUERY_BOUNDS = Bounds(seconds=20.0, memory_bytes=512 << 20, rows=INSTANCES_MAX + 1)


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked at."""

    windows: Windows
    signals: Signals
    metrics: Sequence[MetricSource]
    sightings: Sightings
    engine: Engine
    runner: Runner
    store: Store
    clock: Clock


class Look:
    """Looks at rules; remembers how far it has read the journal for each event rule."""

    def __init__(self, sources: Sources) -> None:
        self._from = sources
        self._begun_ns = sources.clock.now_ns()
        self.cursors: dict[str, int] = {}  # by rule: the last sequence of the journal that was read

    async def at(self, rule: Rule) -> Evaluation:
        """What is true of a rule now; never raises what a rule can cause."""
        when = rule.spec.when
        try:
            if when.window is not None:
                return self._window(when.window, rule.spec.missing)
            if when.objective is not None:
                return self._objective(when.objective)
            if when.drift is not None:
                found = self._from.signals.firing().get("drift", ())
                return self._signals(found, when.drift.monitor, when.drift.severities, "monitor")
            if when.quality is not None:
                found = self._from.signals.firing().get("quality", ())
                return self._signals(found, when.quality.monitor, when.quality.severities, "monitor")
            if when.metric is not None:
                return self._metric(when.metric)
            if when.absent is not None:
                return await self._absent(rule, when.absent)
            if when.query is not None:
                return await self._query(when.query)
            if when.event is not None:
                return await self._event(rule, when.event)
        except AndonError as error:
            return Evaluation(error=error.message)
        except ValueError as error:
            return Evaluation(error=str(error))
        return Evaluation(error="The rule has no condition that is known here.")

    def is_settled(self) -> bool:
        """Whether every part has had time to say what it knows."""
        return self._from.clock.now_ns() - self._begun_ns >= SETTLE_S * NS

    def _window(self, when: WindowWhen, missing: str) -> Evaluation:
        windows, seconds = self._from.windows, duration_s(when.over)
        names = (
            [when.endpoint] if when.endpoint else sorted({one.endpoint for one in windows.readings(seconds)})
        )
        seen, kept, unknown = [], [], False
        for name in names:
            reading = windows.window(name, when.release, seconds)
            # A window is known if nothing of it can be missing: read back so far, or nothing was before.
            unknown |= windows.complete_since_ns > reading.since_ns and not self.is_settled()
            labels = {"endpoint": name} | ({"release": when.release} if when.release else {})
            value = figure_of(reading, when.metric)
            if value is None or reading.requests < when.minimum_events:
                if missing == "fire":
                    why = f"{reading.requests} requests in {when.over}: too few to tell {when.metric}"
                    seen.append(Observation(labels=labels, value=value, why=why))
                elif missing == "keep":
                    kept.append(labels)
            elif is_beyond(value, when.above, when.below):
                why = why_of(when.metric, value, when.above, when.below, when.over)
                seen.append(Observation(labels=labels, value=value, why=why))
        return Evaluation(seen=tuple(seen), kept=tuple(kept), unknown=unknown)

    def _objective(self, when: ObjectiveWhen) -> Evaluation:
        found = self._from.signals.firing().get("objectives", ())
        return self._signals(found, when.name, when.severities, "objective")

    def _signals(
        self, found: Sequence[Signal], name: str, severities: Sequence[str], label: str
    ) -> Evaluation:
        best: dict[tuple[tuple[str, str], ...], Observation] = {}
        for signal in found:
            if (name and signal.name != name) or signal.severity not in severities:
                continue
            labels = {label: signal.name, **signal.slice}
            key = tuple(sorted(labels.items()))
            # Several windows of one budget are one alert: it tells the first, which is the loudest.
            best.setdefault(
                key, Observation(labels=labels, value=signal.value, why=f"{signal.window}: {signal.why}")
            )
        return Evaluation(seen=tuple(best.values()), unknown=not self.is_settled())

    def _metric(self, when: MetricWhen) -> Evaluation:
        seen = []
        for source in self._from.metrics:
            for family in source.families():
                if family.name != when.name or family.kind == "histogram":
                    continue
                for sample in family.samples:
                    labels = dict(sample.labels)
                    if any(labels.get(name) != value for name, value in when.labels.items()):
                        continue
                    if is_beyond(sample.value, when.above, when.below):
                        why = why_of(when.name, sample.value, when.above, when.below, "")
                        seen.append(Observation(labels=labels, value=sample.value, why=why))
        return Evaluation(seen=tuple(seen), unknown=not self.is_settled())

    async def _absent(self, rule: Rule, when: AbsentWhen) -> Evaluation:
        key = absent_key(when)
        sightings, runner = self._from.sightings, self._from.runner
        if not sightings.is_seeded(key):
            sightings.seed(key, await runner.run(lambda: ask_last(self._from.engine, key)))
        now_ns = self._from.clock.now_ns()
        # A rule about something that never was begins to wait when it is written.
        last_ns = max(sightings.last_ns(key), rule.created_ns)
        age_s = (now_ns - last_ns) / NS
        if age_s < duration_s(when.during):
            return Evaluation()
        labels = {"absent": key[0]} | ({"name": key[1]} if key[1] else {})
        why = f"no {key[0]} {key[1]}".rstrip() + f" for {age_s:.0f} s"
        return Evaluation(seen=(Observation(labels=labels, value=age_s, why=why),))

    async def _query(self, when: QueryWhen) -> Evaluation:
        until_ns = self._from.clock.now_ns()
        since_ns = until_ns - round(duration_s(when.over) * NS)
        return await self._from.runner.run(lambda: ask_rows(self._from.engine, when.sql, since_ns, until_ns))

    async def _event(self, rule: Rule, when: EventWhen) -> Evaluation:
        names = (*when.names, *when.until)
        after = self.cursors.get(rule.name, 0)

        def read(unit: Any) -> Sequence[Journaled]:
            found: dict[int, Journaled] = {}
            upto = None  # where one name has more than fit, the others wait for it
            for name in names:
                page = unit.events(after=after, name=name, limit=EVENTS_MAX)
                found |= {one.sequence: one for one in page}
                if len(page) >= EVENTS_MAX:
                    upto = page[-1].sequence if upto is None else min(upto, page[-1].sequence)
            return [found[number] for number in sorted(found) if upto is None or number <= upto]

        events = await self._from.store.transact(read)
        seen: dict[str, Observation] = {}
        ended: dict[str, dict[str, str]] = {}
        for one in events:
            event = one.event
            if event.at_ns < rule.created_ns or not event.subject.startswith(when.subject):
                continue
            if is_named(event.name, when.until):
                seen.pop(event.subject, None)
                ended[event.subject] = {"subject": event.subject}
            else:
                ended.pop(event.subject, None)
                reason = str(event.data.get("reason") or event.data.get("message") or "")
                why = f"{event.name} of {event.subject}{f': {reason}' if reason else ''}"
                seen[event.subject] = Observation(labels={"subject": event.subject}, why=why)
        if events:
            self.cursors[rule.name] = events[-1].sequence
        return Evaluation(seen=tuple(seen.values()), ended=tuple(ended.values()))


def is_named(name: str, wanted: Sequence[str]) -> bool:
    """Whether an event is one of these; a name that ends in '.' means all below it."""
    return any(name == one or (one.endswith(".") and name.startswith(one)) for one in wanted)


def absent_key(when: AbsentWhen) -> Key:
    """What should come."""
    for what in ("requests", "label", "feedback", "kpi", "evaluation"):
        name = getattr(when, what)
        if name is not None:
            return (what, name)
    raise ValueError("nothing is named that could be absent")


def ask_rows(engine: Engine, sql: str, since_ns: int, until_ns: int) -> Evaluation:
    """Rows of a rule's query as observations. Blocks. Raises `Refused` for a query that is wrong or takes too much."""
    given = {name: value for name, value in (("since", since_ns), ("until", until_ns)) if f"${name}" in sql}
    table = engine.query(sql, given, QUERY_BOUNDS)
    if not table.num_rows:
        return Evaluation()
    seen = []
    for row in table.slice(0, INSTANCES_MAX).to_pylist():
        value = row.pop("value", None)
        if value is not None and not isinstance(value, int | float | Decimal):
            raise Refused("query_invalid", "`value` must be a number.", hint="Cast it to DOUBLE.")
        labels = {name: "" if text is None else str(text) for name, text in row.items()}
        why = ", ".join(f"{name}={text}" for name, text in labels.items())
        seen.append(Observation(labels=labels, value=None if value is None else float(value), why=why))
    return Evaluation(seen=tuple(seen), left_out=max(0, table.num_rows - INSTANCES_MAX))
