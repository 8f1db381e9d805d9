"""What gateways report about rollouts, taken in: at least once on the wire, exactly once in effect.

Called by the admin API's report route. A cut has already happened at the gateway when it arrives; here it becomes
final. Nothing a gateway says can promote a release.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from andon.kernel.clock import Clock
from andon.kernel.events import Event
from andon.kernel.reports import Cut, Progress, Report
from andon.lifecycle.rollouts.model import ROLLOUT, GatewayProgress
from andon.lifecycle.rollouts.repository import apply_move, course_of, put_course
from andon.lifecycle.rollouts.rules import abort, pause, take_in
from andon.store.model import Store, Unit

OBSERVER = "observer"  # reports as if it were a gateway: on the gates that need labels


class RolloutReports:
    """Applies the reports of gateways."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def receive(self, reports: Sequence[Report]) -> bool:
        """Apply a batch in one unit of work; True if a rollout was stopped, so that control may look at once.

        Reports of rollouts that are gone, or of other rooms, are passed over.
        """
        now_ns = self._clock.now_ns()

        def work(unit: Unit) -> bool:
            stopped = False
            for report in reports:
                if isinstance(report, Cut):
                    stopped = _cut(unit, report, now_ns) or stopped
                elif isinstance(report, Progress):
                    _progress(unit, report)
            return stopped

        return await self._store.transact(work)


def _cut(unit: Unit, cut: Cut, now_ns: int) -> bool:
    record = unit.get(ROLLOUT, cut.rollout)
    if record is None:
        return False
    course = course_of(record)
    actor = OBSERVER if cut.gateway == OBSERVER else f"gateway:{cut.gateway}"
    gate = next((reading for reading in cut.readings if reading.verdict == "breach"), None)
    reason = f"gate '{gate.gate}': {gate.reason}" if gate else "a gate breached"
    status = replace(course.status, readings=cut.readings)
    if cut.action == "warn":
        unique = f"warn:{cut.rollout}:{cut.gateway}:{cut.at_ns}"
        data = {"reason": reason, "gateway": cut.gateway, "canaryRequests": cut.canary_requests}
        subject = f"{ROLLOUT}/{cut.rollout}"
        unit.append(
            Event(name="rollout.warned", subject=subject, actor=actor, data=data, unique=unique, at_ns=now_ns)
        )
        return False
    if cut.action == "pause":
        if course.status.cut is not None or cut.at_ns <= course.status.resumed_ns:
            return False  # told before, or made before a person overruled it
        move = pause(status, now_ns, reason, cut)
    else:
        move = abort(status, now_ns, reason, cut)
    return move is not None and apply_move(unit, course, move, actor, now_ns)


def _progress(unit: Unit, report: Progress) -> None:
    record = unit.get(ROLLOUT, report.rollout)
    if record is None:
        return
    course = course_of(record)
    said = GatewayProgress(
        at_ns=report.at_ns,
        generation=report.generation,
        canary_requests=report.canary_requests,
        stable_requests=report.stable_requests,
        step_canary_requests=report.step_canary_requests,
        readings=report.readings,
    )
    status = take_in(course.spec, course.status, report.gateway, said)
    if status is not course.status:
        put_course(unit, course, status)
