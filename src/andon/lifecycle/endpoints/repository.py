"""Endpoints and the deployments they want, as the store keeps them, turned into the facts of the rules and back.

The only place of this sub-room that reads and writes records. Every function takes part in the caller's unit of work.
"""

from __future__ import annotations

import msgspec

from andon.kernel.deployments import DEPLOYMENT, DeploymentSpec
from andon.lifecycle.endpoints.model import EndpointSpec, EndpointStatus
from andon.lifecycle.endpoints.rules import EndpointFacts, HeldDeployment
from andon.lifecycle.rollouts.model import ROLLOUT, Course
from andon.lifecycle.rollouts.repository import course_of, readiness
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
