"""The status of a deployment after a turn: from what was seen and what was decided, purely.

Targets are what gateways send traffic to: ready replicas that nobody is about to stop.
"""

from __future__ import annotations

from andon.kernel.decision import Plan
from andon.kernel.deployments import ReplicaStatus
from andon.kernel.snapshot import TargetEntry
from andon.serving.deployments.model import Facts, ServingStatus
from andon.serving.deployments.rules import START, STOP, Assessment, assess, due_ns, number_of
from andon.serving.executors.port import Observed


def conclude(facts: Facts, plan: Plan, now_ns: int) -> ServingStatus:
    """The status to write once the steps of the plan are done."""
    seen = assess(facts, now_ns)
    stopping = {step.subject.removeprefix("Replica/") for step in plan.steps if step.verb == STOP}
    starts = [step for step in plan.steps if step.verb == START]
    ready = [one for one in seen.living if one.phase == "ready" and one.spec.id not in stopping]
    newest = max(
        (one for one in facts.observed if one.signature is not None),
        key=lambda one: (_is_wanted(facts, one), one.started_ns),
        default=None,
    )
    replicas = [
        _replica(one, seen, "stopping" if one.spec.id in stopping else one.phase)
        for one in facts.observed
        if one.phase != "exited"
    ]
    replicas += [
        ReplicaStatus(
            id=step.subject.removeprefix("Replica/"),
            phase="starting",
            url="",
            restarts=_restarts(seen, int(step.data["slot"])),
        )
        for step in starts
    ]
    started = [number_of(step.subject) for step in starts]
    return ServingStatus(
        observed_generation=facts.generation,
        ready=len(ready),
        replicas=(*replicas, *_waiting(facts, seen, now_ns, {int(step.data["slot"]) for step in starts})),
        targets=tuple(
            TargetEntry(id=one.spec.id, url=one.url, protocol="oip", model=one.spec.model) for one in ready
        ),
        signature=newest.signature if newest else facts.before.signature,
        digest=newest.digest if newest else facts.before.digest,
        failed=seen.failed,
        waiting=facts.waiting,
        serial=max(facts.before.serial, *started, *(number_of(one.spec.id) for one in facts.observed), 0),
        crashes=seen.crashes,
        failed_fingerprint=facts.template.fingerprint if seen.failed and facts.template else "",
    )


def _is_wanted(facts: Facts, one: Observed) -> bool:
    return facts.template is not None and one.spec.fingerprint == facts.template.fingerprint


def _replica(one: Observed, seen: Assessment, phase: str) -> ReplicaStatus:
    return ReplicaStatus(
        id=one.spec.id,
        phase=phase,
        url=one.url,
        pid=one.pid,
        restarts=_restarts(seen, one.spec.slot),
        reason=one.reason,
    )


def _restarts(seen: Assessment, slot: int) -> int:
    return sum(crash.slot == slot for crash in seen.crashes)


def _waiting(facts: Facts, seen: Assessment, now_ns: int, started: set[int]) -> list[ReplicaStatus]:
    """Slots that nobody fills now because their last replica crashed, or failed for good."""
    filled = {one.spec.slot for one in seen.living} | started
    shown: list[ReplicaStatus] = []
    for slot in range(facts.wanted):
        own = [crash for crash in seen.crashes if crash.slot == slot]
        if slot in filled or not own:
            continue
        wait_s = max(0.0, (due_ns(seen.crashes, slot, now_ns) - now_ns) / 1e9)
        phase = "failed" if seen.failed else "backoff"
        reason = seen.failed or f"{own[-1].reason} It is started again in {wait_s:.1f} s."
        shown.append(ReplicaStatus(id=own[-1].replica, phase=phase, url="", restarts=len(own), reason=reason))
    return shown
