"""What must hold of every plan and every status of deployments, whatever was seen: in simulation and in production.

A plan that breaks one is vetoed and told; nothing here decides anything.
"""

from __future__ import annotations

from andon.kernel.decision import Plan
from andon.serving.deployments.model import Facts, ServingStatus
from andon.serving.deployments.rules import START, STOP


def broken_by(facts: Facts, plan: Plan) -> str | None:
    """The invariant that a plan would break, or None."""
    starts = [step.subject for step in plan.steps if step.verb == START]
    stops = {step.subject.removeprefix("Replica/") for step in plan.steps if step.verb == STOP}
    known = {one.spec.id for one in facts.observed}
    living = [one for one in facts.observed if one.phase in ("starting", "ready")]
    ready = [one for one in living if one.phase == "ready"]
    left = [one for one in ready if one.spec.id not in stops]
    if len(left) < min(facts.wanted, len(ready)):
        return f"A plan must not stop ready replicas below the {facts.wanted} that are wanted."
    if starts and len(living) + len(starts) > facts.wanted + 1 + len(stops):
        return "A plan must not run more than one replica beyond the wanted number."
    if any(subject.removeprefix("Replica/") in known for subject in starts):
        return "A replica's id must never be used again."
    if len(set(starts)) != len(starts):
        return "A replica must not be started twice."
    return None


def broken_in(status: ServingStatus) -> str | None:
    """The invariant that a status breaks, or None."""
    if status.ready != len(status.targets):
        return "Every ready replica is a target, and nothing else is."
    ready = {replica.id for replica in status.replicas if replica.phase == "ready"}
    if not all(target.id in ready for target in status.targets):
        return "A target is a ready replica."
    return None
