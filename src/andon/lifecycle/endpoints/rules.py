"""The rules of an endpoint: which release is stable, when a rollout begins, which releases are kept running. Pure.

Called by `controller.py` for its plan and, once the plan is carried out, for the status. The moves of the rollout
itself are in `rollouts/rules.py`. An aborted release must never get traffic again by itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from andon.kernel.decision import Step
from andon.lifecycle.endpoints.model import Condition, EndpointSpec, EndpointStatus, ReleaseStanding
from andon.lifecycle.rollouts.model import ENDED, STOPPED, Course, Readiness
from andon.lifecycle.rollouts.rules import WHOLE, decide
from andon.lifecycle.rollouts.strategy import ReleaseSpec, RolloutSpec, seconds_of


class HeldDeployment(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment as it is asked for now."""

    replicas: int
    shared: bool  # other endpoints want it too


class EndpointFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is decided on."""

    name: str
    generation: int
    spec: EndpointSpec
    status: EndpointStatus
    latest: Course | None
    ready: Mapping[str, Readiness]  # by release id
    deployments: Mapping[str, HeldDeployment]  # those wanted by this endpoint so far, by name


def settle(facts: EndpointFacts, now_ns: int) -> EndpointStatus:
    """The status as it follows from the facts: the end of a rollout taken in, a first release accepted, a return."""
    spec, status, latest = facts.spec, facts.status, facts.latest
    if latest is not None:
        status = replace(status, rollouts=max(status.rollouts, latest.spec.number), rollout=latest.name)
        if latest.spec.number > status.absorbed and latest.status.phase in ENDED:
            status = replace(status, absorbed=latest.spec.number)
            if latest.status.phase == "Succeeded":
                status = _replaced(spec, status, latest.spec.target, now_ns)
    wanted = spec.release
    under_way = latest is not None and latest.spec.number > status.absorbed
    if status.stable is None:
        if _ready(facts, wanted).ready:
            status = replace(status, stable=wanted)
    elif wanted.id == status.stable.id:
        status = replace(status, forgiven=status.absorbed, stable=wanted)
    elif not under_way and _may_return(facts, status, now_ns):
        status = _replaced(spec, status, wanted, now_ns)
    if status.previous is not None and now_ns >= status.previous_until_ns:
        status = replace(status, previous=None, previous_until_ns=0)
    course = latest if under_way else None
    return replace(
        status,
        observed_generation=facts.generation,
        releases=standings(status, course),
        conditions=_conditions(facts, status, course),
    )


def steps_of(facts: EndpointFacts, now_ns: int) -> tuple[Step, ...]:
    """What is to be done now, besides writing the status."""
    status, latest, wanted = settle(facts, now_ns), facts.latest, facts.spec.release
    under_way = latest if latest is not None and latest.spec.number > status.absorbed else None
    steps: list[Step] = []
    if under_way is not None:
        steps += _moves(facts, status, under_way, now_ns)
    elif status.stable is not None and wanted.id != status.stable.id and not _blocked(facts, status):
        number = status.rollouts + 1
        spec = RolloutSpec(
            endpoint=facts.name,
            number=number,
            source=status.stable,
            target=wanted,
            strategy=facts.spec.strategy,
        )
        steps.append(
            Step(
                verb="rollout.start",
                subject=f"Rollout/{facts.name}-{number}",
                reason=f"{status.stable.id} is to be replaced by {wanted.id}",
                data={"spec": msgspec.to_builtins(spec)},
            )
        )
    return (*steps, *_deployments(facts, status, under_way))


def standings(status: EndpointStatus, course: Course | None) -> tuple[ReleaseStanding, ...]:
    """The releases behind the endpoint with their weights, which add up to the whole."""
    if status.stable is None:
        return ()
    if course is None or course.status.phase in STOPPED:
        return (_standing(status.stable, "stable", WHOLE),)
    weight = 0 if course.status.cut is not None else course.status.weight
    preview = course.spec.strategy.type == "blueGreen" and weight == 0
    return (
        _standing(status.stable, "stable", WHOLE - weight),
        _standing(course.spec.target, "preview" if preview else "canary", weight),
    )


def _standing(release: ReleaseSpec, arm: str, weight: int) -> ReleaseStanding:
    raw = {
        "id": release.id,
        "arm": arm,
        "weight": weight,
        "model": release.model,
        "version": release.version,
        "provider": release.provider,
    }
    return msgspec.convert(raw, ReleaseStanding)


def _moves(facts: EndpointFacts, status: EndpointStatus, course: Course, now_ns: int) -> list[Step]:
    subject = f"Rollout/{course.name}"
    wanted = facts.spec.release
    if wanted.id != course.spec.target.id and course.status.phase not in (*STOPPED, *ENDED):
        back = status.stable is not None and wanted.id == status.stable.id
        reason = "the endpoint went back to its stable release" if back else f"superseded by {wanted.id}"
        return [Step(verb="rollout.abort", subject=subject, reason=reason)]
    move = decide(course.spec, course.status, _ready(facts, course.spec.target), now_ns)
    if move is None:
        return []
    return [Step(verb="rollout.move", subject=subject, reason=move.reason, data={"event": move.event})]


def _deployments(facts: EndpointFacts, status: EndpointStatus, under_way: Course | None) -> list[Step]:
    """Releases in use or warm are kept running; others are let go."""
    wanted = [release for release in (status.stable, status.previous) if release is not None]
    if under_way is not None and under_way.status.phase not in STOPPED:
        wanted.append(under_way.spec.target)
    if not (under_way is not None or _blocked(facts, status)):
        wanted.append(facts.spec.release)
    names = {release.deployment: release for release in wanted if release.deployment}
    steps = [
        Step(
            verb="deployment.ensure",
            subject=f"Deployment/{name}",
            reason=f"'{facts.name}' serves {release.id}",
            data={"model": release.model, "version": release.version, "replicas": facts.spec.replicas},
        )
        for name, release in names.items()
        if not _is_held(facts, name)
    ]
    steps += [
        Step(verb="deployment.leave", subject=f"Deployment/{name}", reason=f"'{facts.name}' needs it no more")
        for name in facts.deployments
        if name not in names
    ]
    return steps


def _is_held(facts: EndpointFacts, name: str) -> bool:
    held = facts.deployments.get(name)
    if held is None:
        return False
    return held.replicas >= facts.spec.replicas if held.shared else held.replicas == facts.spec.replicas


def _replaced(spec: EndpointSpec, status: EndpointStatus, by: ReleaseSpec, now_ns: int) -> EndpointStatus:
    until = now_ns + int(seconds_of(spec.strategy.rollback_window) * 1e9)
    return replace(status, stable=by, previous=status.stable, previous_until_ns=until)


def _may_return(facts: EndpointFacts, status: EndpointStatus, now_ns: int) -> bool:
    """Whether the wanted release was stable a moment ago and still runs: then it returns at once."""
    previous = status.previous
    return (
        previous is not None
        and previous.id == facts.spec.release.id
        and now_ns < status.previous_until_ns
        and _ready(facts, previous).ready
    )


def _blocked(facts: EndpointFacts, status: EndpointStatus) -> bool:
    """Whether the wanted release was aborted, and neither the spec has left it since nor a person allowed it again."""
    latest = facts.latest
    return (
        latest is not None
        and latest.status.phase in STOPPED
        and latest.spec.target.id == facts.spec.release.id
        and not latest.status.retried
        and latest.spec.number > status.forgiven
    )


def _ready(facts: EndpointFacts, release: ReleaseSpec) -> Readiness:
    return facts.ready.get(release.id, Readiness(ready=False))


def _conditions(facts: EndpointFacts, status: EndpointStatus, course: Course | None) -> tuple[Condition, ...]:
    stable = status.stable
    ready = stable is not None and _ready(facts, stable).ready
    waiting = "no release has been ready yet" if stable is None else f"{stable.id} has no ready target"
    progress = f"{course.name}: {course.status.phase}" if course is not None else "no rollout is under way"
    degraded, why = False, "the wanted release serves"
    failed = _ready(facts, facts.spec.release).failed
    if _blocked(facts, status) and facts.latest is not None:
        degraded, why = True, f"{facts.latest.name} was aborted: {facts.latest.status.reason}"
    elif failed:
        degraded, why = True, failed
    return (
        Condition(type="Ready", status=ready, reason=f"{stable.id} serves" if ready and stable else waiting),
        Condition(type="Progressing", status=course is not None, reason=progress),
        Condition(type="Degraded", status=degraded, reason=why),
    )
