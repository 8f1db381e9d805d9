"""The controller of quality monitors: takes in what is new, journals falls and recoveries once each.

It decides nothing about traffic; gates do. What cannot be looked at is told in the status and tried again.
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
from andon.observability.quality.model import MONITOR, MonitorSpec, MonitorStatus
from andon.observability.quality.telling import Standing, standing_of
from andon.observability.quality.watching import Looked, QualityWatch
from andon.store.model import Lease, Record, Store, Unit

NAME = "quality"
PERIOD_S = 10.0


class MonitorFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One monitor as its status says, and what a look found."""

    record: Record
    status: MonitorStatus
    looked: Looked | None = None
    message: str = ""

    @property
    def standing(self) -> Standing:
        """Where it stands."""
        return standing_of(self.looked.report) if self.looked else Standing(judged=False)


class QualityController:
    """See `control/controller.Controller`."""

    name = NAME
    period_s = PERIOD_S

    def __init__(self, store: Store, clock: Clock, watch: QualityWatch) -> None:
        self._store = store
        self._clock = clock
        self._watch = watch

    def subjects(self, unit: Unit) -> Sequence[str]:
        """Every monitor."""
        names = [record.name for record in unit.list(MONITOR)]
        self._watch.forget(names)
        return [f"{MONITOR}/{name}" for name in names]

    async def observe(self, subject: str) -> MonitorFacts | None:
        """The monitor, after a look at what is new."""
        name = subject.partition("/")[2]
        record = await self._store.transact(lambda unit: unit.get(MONITOR, name))
        if record is None:
            return None
        spec, status = msgspec.convert(record.spec, MonitorSpec), status_of(record)
        self._watch.since[name] = status.since_ns
        try:
            looked = await self._watch.look(name, spec)
        except Refused as error:
            # A ledger that cannot be asked now, or a query that takes too much: told, and tried at the next turn.
            return MonitorFacts(record=record, status=status, message=error.message)
        return MonitorFacts(record=record, status=status, looked=looked, message=looked.note)

    def plan(self, facts: MonitorFacts, now_ns: int) -> Plan:
        """What to journal: a fall, a recovery, an estimate that is switched off or on."""
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
        """Journal one change, once: what tells it from others is in its key."""
        event = Event(
            name=step.verb,
            subject=step.subject,
            actor=f"controller:{NAME}",
            data=step.data,
            unique=f"{step.verb}/{facts.record.name}/{facts.record.created_ns}/{step.data['which']}",
            at_ns=self._clock.now_ns(),
        )
        await self._store.transact(lambda unit: unit.append(event))

    async def conclude(self, facts: MonitorFacts, plan: Plan, lease: Lease) -> Sequence[Result]:
        """The status, where it changed."""
        status = settle(facts)
        self._watch.since[facts.record.name] = status.since_ns
        if status == facts.status:
            return ()
        written: dict[str, Any] = msgspec.to_builtins(status)
        if "conditions" in facts.record.status:
            written["conditions"] = facts.record.status["conditions"]
        return [
            Result(status=written, kind=MONITOR, name=facts.record.name, generation=facts.record.generation)
        ]


def status_of(record: Record) -> MonitorStatus:
    """The status as it was written; a fresh one where there is none."""
    return msgspec.convert(record.status, MonitorStatus)


def settle(facts: MonitorFacts) -> MonitorStatus:
    """The status after a look."""
    before = facts.status
    if facts.looked is None:
        return msgspec.structs.replace(before, message=facts.message)
    standing = facts.standing
    alarmed = bool(standing.falls)
    begins = alarmed and not before.since_ns
    return msgspec.structs.replace(
        before,
        state="alarm" if alarmed else "good" if standing.judged else "waiting",
        message=facts.message or ("" if standing.judged else "fewer labels than a reference needs have come"),
        until_ns=facts.looked.until_ns,
        since_ns=0 if not alarmed else before.since_ns or facts.looked.looked_ns,
        episode=before.episode + begins,
        reasons=tuple(f"{fall.release} by {fall.by}" for fall in standing.falls),
        releases=standing.releases,
    )


def changes(facts: MonitorFacts) -> tuple[Step, ...]:
    """A step where a fall begins or ends, and where trust in an estimate is lost or found again."""
    if facts.looked is None:
        return ()
    name, standing, before = facts.record.name, facts.standing, facts.status
    subject, found = f"{MONITOR}/{name}", []
    alarmed, was = bool(standing.falls), bool(before.since_ns)
    if alarmed and not was:
        told = ", ".join(f"{fall.release} ({fall.value:.4g}, by {fall.by})" for fall in standing.falls)
        data: dict[str, Any] = {
            "which": before.episode + 1,
            "metric": facts.looked.report.leading,
            "threshold": facts.looked.report.threshold,
            "falls": [msgspec.to_builtins(fall) for fall in standing.falls],
        }
        reason = f"{facts.looked.report.leading} fell: {told}"
        found.append(Step(verb="quality.fell", subject=subject, reason=reason, data=data))
    if was and not alarmed:
        reason = "what is newest is as good as the reference"
        found.append(
            Step(verb="quality.recovered", subject=subject, reason=reason, data={"which": before.episode})
        )
    for release, now in standing.releases.items():
        known = before.releases.get(release)
        if known is None or {known.estimate_state, now.estimate_state} != {"on", "off"}:
            continue
        verb = f"quality.estimate_{now.estimate_state}"
        data = {"which": f"{release}/{facts.looked.until_ns}", "release": release, "reason": now.reason}
        reason = f"the estimate of {release}: {now.reason or 'its bands hold again'}"
        found.append(Step(verb=verb, subject=subject, reason=reason, data=data))
    return tuple(found)
