"""Endpoints, rollouts and deployments as the store keeps them, turned into the facts of the rules and back.

The only place of this room that reads and writes records. Every function takes part in the caller's unit of work.
"""

from __future__ import annotations

import msgspec

from andon.kernel.deployments import DEPLOYMENT, DeploymentSpec, DeploymentStatus
from andon.kernel.errors import Refused
from andon.kernel.events import Event
from andon.lifecycle.endpoints.model import EndpointSpec, EndpointStatus, ReleaseSpec, RolloutSpec
from andon.lifecycle.endpoints.rules import Course, EndpointFacts, HeldDeployment
from andon.lifecycle.rollouts.model import ROLLOUT, Readiness, RolloutStatus, Transition, status_of
from andon.store.model import Record, Unit

ENDPOINT = "Endpoint"


def load_facts(unit: Unit, name: str) -> EndpointFacts | None:
    """Everything known of an endpoint; None if it is gone."""
    record = unit.get(ENDPOINT, name)
    if record is None:
        return None
    spec = msgspec.convert(record.spec, EndpointSpec)
    status = msgspec.convert(record.status, EndpointStatus)
    latest = latest_course(unit, name)
    releases = [spec.release, status.stable, status.previous, latest.spec.target if latest else None]
    mine = {}
    for deployment in unit.list(DEPLOYMENT):
        wanted = msgspec.convert(deployment.spec, DeploymentSpec)
        if name in wanted.wanted_by:
            mine[deployment.name] = HeldDeployment(replicas=wanted.replicas, shared=len(wanted.wanted_by) > 1)
    return EndpointFacts(
        name=name,
        generation=record.generation,
        spec=spec,
        status=status,
        latest=latest,
        ready={release.id: readiness(unit, release) for release in releases if release is not None},
        deployments=mine,
    )


def latest_course(unit: Unit, endpoint: str) -> Course | None:
    """The rollout with the highest number."""
    courses = [course_of(record) for record in unit.list(ROLLOUT, owner=f"{ENDPOINT}/{endpoint}")]
    return max(courses, key=lambda course: course.spec.number) if courses else None


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
    if move.event in ("rollout.aborted", "rollout.paused"):
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


def ensure_deployment(unit: Unit, name: str, wanted: DeploymentSpec, endpoint: str) -> None:
    """Want a model version kept running; endpoints that share it get the larger number of replicas."""
    record = unit.get(DEPLOYMENT, name)
    if record is None:
        spec = msgspec.structs.replace(wanted, wanted_by=(endpoint,))
        unit.put(Record(kind=DEPLOYMENT, name=name, spec=msgspec.to_builtins(spec)), expect_version=0)
        return
    known = msgspec.convert(record.spec, DeploymentSpec)
    others = tuple(other for other in known.wanted_by if other != endpoint)
    replicas = max(wanted.replicas, known.replicas) if others else wanted.replicas
    spec = msgspec.structs.replace(known, replicas=replicas, wanted_by=tuple(sorted((*others, endpoint))))
    if spec != known:
        unit.put(
            msgspec.structs.replace(record, spec=msgspec.to_builtins(spec)), expect_version=record.version
        )


def leave_deployment(unit: Unit, name: str, endpoint: str) -> None:
    """Want it no longer; the last to leave removes it."""
    record = unit.get(DEPLOYMENT, name)
    if record is None:
        return
    known = msgspec.convert(record.spec, DeploymentSpec)
    others = tuple(other for other in known.wanted_by if other != endpoint)
    if not others:
        unit.delete(DEPLOYMENT, name, expect_version=record.version)
    elif others != known.wanted_by:
        spec = msgspec.structs.replace(known, wanted_by=others)
        unit.put(
            msgspec.structs.replace(record, spec=msgspec.to_builtins(spec)), expect_version=record.version
        )
