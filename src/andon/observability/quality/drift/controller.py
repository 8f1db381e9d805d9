"""The controller of drift monitors: each whole period is looked at once, changes are journaled once each.

It decides nothing about traffic. What cannot be looked at is told in the status and tried again in the next period.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from andon.control.controller import Result
from andon.kernel.clock import Clock
from andon.kernel.decision import Plan, Step
from andon.kernel.errors import Refused
from andon.kernel.events import Event
from andon.observability.quality.drift.model import MONITOR, DriftMonitorSpec, MonitorStatus, State
from andon.observability.quality.drift.report import DriftReport
from andon.observability.quality.drift.watching import DriftWatch, Looked
from andon.store.model import Lease, Record, Store, Unit

NAME = "drift"
PERIOD_S = 10.0
COLUMNS_SHOWN = 20


class MonitorFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One monitor as its status says, and what a look found, if one was due."""

    record: Record
    status: MonitorStatus
    looked: Looked | None = None


class DriftController:
    """See `control/controller.Controller`."""

    name = NAME
    period_s = PERIOD_S

    def __init__(self, store: Store, clock: Clock, watch: DriftWatch) -> None:
        self._store = store
        self._clock = clock
        self._watch = watch

    def subjects(self, unit: Unit) -> Sequence[str]:
        """Every monitor."""
        names = [record.name for record in unit.list(MONITOR)]
        self._watch.forget(names)
        return [f"{MONITOR}/{name}" for name in names]

    async def observe(self, subject: str) -> MonitorFacts | None:
        """The monitor, and its last whole period if that was not looked at yet."""
        name = subject.partition("/")[2]
        record = await self._store.transact(lambda unit: unit.get(MONITOR, name))
        if record is None:
            return None
        spec = msgspec.convert(record.spec, DriftMonitorSpec)
        status = status_of(record)
        await self._watch.latest(name)
        self._watch.since[name] = status.since_ns
        window = self._watch.due(spec, status.until_ns)
        if window is None:
            return MonitorFacts(record=record, status=status)
        try:
            looked = await self._watch.look(name, spec, window)
        except Refused as error:
            # A window that cannot be asked for, or another kind of column: a person must act, the next period may do.
            looked = Looked(until_ns=window.until_ns, message=str(error), baseline=status.baseline)
        return MonitorFacts(record=record, status=status, looked=looked)

    def plan(self, facts: MonitorFacts, now_ns: int) -> Plan:
        """What to journal: a drift that begins, a drift that ends."""
        return Plan(
            controller=NAME,
            subject=f"{MONITOR}/{facts.record.name}",
            generation=facts.record.generation,
            steps=changes(facts),
        )

    def veto(self, facts: MonitorFacts, plan: Plan) -> str | None:
        """Nothing here can do harm."""
        return None

    async def act(self, facts: MonitorFacts, step: Step, lease: Lease) -> None:
        """Journal one change, once: its episode is in its key."""
        unique = f"{step.verb}/{facts.record.name}/{facts.record.created_ns}/{step.data['episode']}"
        event = Event(
            name=step.verb,
            subject=step.subject,
            actor=f"controller:{NAME}",
            data=step.data,
            unique=unique,
            at_ns=self._clock.now_ns(),
        )
        await self._store.transact(lambda unit: unit.append(event))

    async def conclude(self, facts: MonitorFacts, plan: Plan, lease: Lease) -> Sequence[Result]:
        """The status after a look."""
        if facts.looked is None:
            return ()
        status = settle(facts.status, facts.looked)
        self._watch.since[facts.record.name] = status.since_ns
        written: dict[str, Any] = msgspec.to_builtins(status)
        if "conditions" in facts.record.status:
            written["conditions"] = facts.record.status["conditions"]
        return [
            Result(status=written, kind=MONITOR, name=facts.record.name, generation=facts.record.generation)
        ]


def status_of(record: Record) -> MonitorStatus:
    """The status as it was written; a fresh one where there is none."""
    return msgspec.convert(record.status, MonitorStatus)


def settle(before: MonitorStatus, looked: Looked) -> MonitorStatus:
    """The status after a look. A period without a judgement leaves a drift standing."""
    report = looked.report
    base = msgspec.structs.replace(
        before, until_ns=looked.until_ns, rows=looked.rows, message=looked.message, baseline=looked.baseline
    )
    if report is None:
        state: State = before.state if before.since_ns else "waiting" if looked.baseline else "no baseline"
        return msgspec.structs.replace(base, state=state)
    alarmed = is_alarmed(report)
    begins = alarmed and not before.since_ns
    shifted = any(one.verdict == "shift" for one in report.columns)
    return msgspec.structs.replace(
        base,
        state="drift" if alarmed else "shift" if shifted else "stable",
        drifted=report.drifted[:COLUMNS_SHOWN],
        paging=report.paging[:COLUMNS_SHOWN],
        since_ns=0 if not alarmed else before.since_ns or looked.until_ns,
        episode=before.episode + begins,
    )


def is_alarmed(report: DriftReport) -> bool:
    """Whether anything drifted, or costs quality."""
    return bool(report.drifted or report.paging)


def changes(facts: MonitorFacts) -> tuple[Step, ...]:
    """One step where a drift begins or ends."""
    if facts.looked is None or facts.looked.report is None:
        return ()
    report, name = facts.looked.report, facts.record.name
    alarmed, was = is_alarmed(report), bool(facts.status.since_ns)
    if alarmed == was:
        return ()
    verb = "drift.detected" if alarmed else "drift.cleared"
    columns = list(report.drifted or report.paging)[:COLUMNS_SHOWN]
    reason = f"{', '.join(columns[:5])} drifted" if alarmed else "the last period is like the reference"
    data = {
        "episode": facts.status.episode + alarmed,
        "columns": columns,
        "paging": list(report.paging)[:COLUMNS_SHOWN],
        "rows": report.rows,
        "untilNs": facts.looked.until_ns,
    }
    return (Step(verb=verb, subject=f"{MONITOR}/{name}", reason=reason, data=data),)
