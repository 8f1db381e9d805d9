"""Rollouts as the store keeps them: records turned into courses, moves written with their events.

The only place of this sub-room that reads and writes records. Every function takes part in the caller's unit of work.
"""

from __future__ import annotations

import msgspec

from andon.kernel.deployments import DEPLOYMENT, DeploymentStatus
from andon.kernel.errors import Refused
from andon.kernel.events import Event
from andon.lifecycle.rollouts.model import ROLLOUT, Course, Readiness, RolloutStatus, Transition, status_of
from andon.lifecycle.rollouts.strategy import ReleaseSpec, RolloutSpec
from andon.store.model import Record, Unit


def course_of(record: Record) -> Course:
    """A rollout's record, typed."""
    return Course(
        name=record.name, spec=msgspec.convert(record.spec, RolloutSpec), status=status_of(record.status)
    )


def get_course(unit: Unit, name: str) -> Course:
    """A rollout by name; raises Refused 404."""
    record = unit.get(ROLLOUT, name)
    if record is None:
        raise Refused(
            "not_found", f"There is no rollout '{name}'.", hint="See: andon get rollouts.", status=404
        )
    return course_of(record)


def put_course(unit: Unit, course: Course, status: RolloutStatus) -> None:
    """Write where a rollout stands."""
    unit.put_status(ROLLOUT, course.name, msgspec.to_builtins(status))


def apply_move(unit: Unit, course: Course, move: Transition, actor: str, now_ns: int) -> bool:
    """Write a move and its event; an abort happens once for ever. False if it had happened already."""
    unique = f"abort:{course.name}" if move.event == "rollout.aborted" else None
    data: dict[str, object] = {
        "reason": move.reason,
        "endpoint": course.spec.endpoint,
        "source": course.spec.source.id,
        "target": course.spec.target.id,
        "phase": move.status.phase,
        "step": move.status.step,
        "weight": move.status.weight,
        "generation": move.status.generation,
    }
    if move.event in ("rollout.aborted", "rollout.paused", "rollout.succeeded"):
        data["readings"] = msgspec.to_builtins(move.status.readings)
        data["cut"] = msgspec.to_builtins(move.status.cut)
    event = Event(
        name=move.event,
        subject=f"{ROLLOUT}/{course.name}",
        actor=actor,
        data=data,
        unique=unique,
        at_ns=now_ns,
    )
    if unit.append(event) is None:
        return False
    put_course(unit, course, move.status)
    return True


def readiness(unit: Unit, release: ReleaseSpec) -> Readiness:
    """Whether a release can serve: its Deployment's word; a provider is taken to be there."""
    if not release.deployment:
        return Readiness(ready=True)
    record = unit.get(DEPLOYMENT, release.deployment)
    if record is None:
        return Readiness(ready=False)
    status = msgspec.convert(record.status, DeploymentStatus)
    return Readiness(ready=status.ready > 0, failed=status.failed)
