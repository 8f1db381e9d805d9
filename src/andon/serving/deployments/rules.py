"""What to start, replace and stop, and what to say of it. Pure: observed replicas and a status in, steps out.

A replica that ends is started again after a wait that doubles with each crash of its slot; one that can never be
served is not. A changed version is replaced one replica at a time, the new one ready before the old one stops.
"""

from __future__ import annotations

from typing import Any

import msgspec

from andon.kernel.decision import Plan, Step
from andon.serving.deployments.model import Crash, Facts
from andon.serving.executors.port import Observed

BACKOFF_FIRST_S = 0.5
BACKOFF_LONGEST_S = 60.0
WINDOW_S = 600.0  # crashes older than this are forgotten
ALERT_CRASHES = 3  # within the window
HUNG_S = 10.0  # a replica that was ready and no longer answers is replaced after this
CRASHES_KEPT = 50
STOP_GRACE_S = 35.0  # its lingering and draining, and a little
_LOOK_S = 0.1
_LOOK_STOPPING_S = 0.25

START, STOP, FORGET = "replica.start", "replica.stop", "replica.forget"
CRASHED, FAILED, ALERT = "replica.crashed", "deployment.failed", "alert.raise"


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """What the observed replicas amount to, before anything is decided."""

    living: tuple[Observed, ...]  # starting or ready, and in time
    overdue: tuple[Observed, ...]  # too long not ready: to be stopped and counted as crashed
    crashes: tuple[Crash, ...]  # remembered and new, oldest first
    new: tuple[Crash, ...]
    failed: str
    failed_by: str = ""  # the replica whose end says so now


def assess(facts: Facts, now_ns: int) -> Assessment:
    """Sort what is seen into living, overdue and ended."""
    noted = {crash.replica for crash in facts.before.crashes}
    fingerprint = facts.template.fingerprint if facts.template else ""
    is_same = facts.before.failed_fingerprint == fingerprint and (
        facts.before.observed_generation == facts.generation
    )
    failed = facts.problem or (facts.before.failed if is_same and facts.template else "")
    failed_by = ""
    living: list[Observed] = []
    overdue: list[Observed] = []
    new: list[Crash] = []
    for one in facts.observed:
        if one.phase == "exited":
            if one.spec.id not in noted:
                new.append(_crash(one, one.ended_ns, one.reason))
                if one.permanent and one.spec.fingerprint == fingerprint:
                    failed, failed_by = one.reason, one.spec.id
        elif one.phase != "stopping":
            late = _lateness(one, now_ns)
            (overdue if late else living).append(one)
            if late and one.spec.id not in noted:
                new.append(_crash(one, now_ns, late))
    new.sort(key=lambda crash: (crash.at_ns, crash.replica))
    return Assessment(
        living=tuple(living),
        overdue=tuple(overdue),
        crashes=_recent((*facts.before.crashes, *new), facts, now_ns),
        new=tuple(new),
        failed=failed,
        failed_by=failed_by,
    )


def _crash(one: Observed, at_ns: int, reason: str) -> Crash:
    return Crash(replica=one.spec.id, slot=one.spec.slot, at_ns=at_ns, reason=reason)


def _lateness(one: Observed, now_ns: int) -> str:
    """Why a replica that is not ready has had its time; empty if it has not."""
    if one.phase == "ready":
        return ""
    waited_s = (now_ns - one.unready_since_ns) / 1e9
    limit_s = HUNG_S if one.was_ready else one.spec.start_timeout_s
    if waited_s <= limit_s:
        return ""
    state = "has not answered its health checks" if one.was_ready else "was not ready"
    return f"It {state} for {limit_s:g} s: {one.reason or 'no reason is known'}."


def _recent(crashes: tuple[Crash, ...], facts: Facts, now_ns: int) -> tuple[Crash, ...]:
    """Crashes within the window, and older ones whose replica is still seen, so that none is counted twice."""
    seen = {one.spec.id for one in facts.observed}
    kept = [crash for crash in crashes if crash.replica in seen or now_ns - crash.at_ns < WINDOW_S * 1e9]
    return tuple(kept[-max(CRASHES_KEPT, len(seen)) :])


def due_ns(crashes: tuple[Crash, ...], slot: int, now_ns: int) -> int:
    """When a slot may be started again: half a second after its first crash, doubling to a minute.

    Without jitter: replicas are few, and equal histories give equal schedules.
    """
    own = [crash.at_ns for crash in crashes if crash.slot == slot and now_ns - crash.at_ns < WINDOW_S * 1e9]
    if not own:
        return 0
    # Beyond 2^30 the longest wait rules anyway, and a float would overflow.
    wait_s = min(BACKOFF_LONGEST_S, BACKOFF_FIRST_S * 2 ** min(len(own) - 1, 30))
    return max(own) + int(wait_s * 1e9)


def plan(facts: Facts, now_ns: int) -> Plan:
    """Steps in the order that keeps most requests answered: say, start, stop, forget."""
    seen = assess(facts, now_ns)
    said = _announcements(facts, seen, now_ns)
    starts, next_due_ns = _starts(facts, seen, now_ns)
    stops = _stops(facts, seen)
    noted = {crash.replica for crash in facts.before.crashes}
    forgets = [
        _step(FORGET, one.spec.id, "Its end is written down.")
        for one in facts.observed
        if one.phase == "exited" and one.spec.id in noted
    ]
    steps = (*said, *starts, *stops, *forgets)
    return Plan(
        controller="deployments",
        subject=f"Deployment/{facts.name}",
        generation=facts.generation,
        steps=steps,
        wake_after_s=_wake_s(facts, seen, bool(steps), next_due_ns, now_ns),
    )


def _wake_s(
    facts: Facts, seen: Assessment, has_steps: bool, next_due_ns: int | None, now_ns: int
) -> float | None:
    waits: list[float] = []
    if has_steps or any(one.phase == "starting" for one in seen.living):
        waits.append(_LOOK_S)
    if any(one.phase == "stopping" for one in facts.observed):
        waits.append(_LOOK_STOPPING_S)
    if next_due_ns is not None:
        waits.append(max(_LOOK_S, (next_due_ns - now_ns) / 1e9))
    return min(waits, default=None)


def _announcements(facts: Facts, seen: Assessment, now_ns: int) -> list[Step]:
    steps = [
        _step(CRASHED, crash.replica, crash.reason, slot=crash.slot, atNs=crash.at_ns) for crash in seen.new
    ]
    if seen.failed_by:
        steps.append(_step(FAILED, seen.failed_by, seen.failed))
    window_ns = int(WINDOW_S * 1e9)
    counted = [crash for crash in seen.crashes if now_ns - crash.at_ns < window_ns]
    known = len(counted) - len(seen.new)
    if seen.new and known < ALERT_CRASHES <= len(counted):
        reason = f"{len(counted)} crashes within {WINDOW_S / 60:g} minutes, the last: {seen.new[-1].reason}"
        steps.append(_step(ALERT, seen.new[-1].replica, reason, crashes=len(counted)))
    return steps


def _split(facts: Facts, seen: Assessment) -> tuple[list[Observed], list[Observed]]:
    """Living replicas of the wanted spec, and of others. Without a template nothing is old."""
    if facts.template is None:
        return list(seen.living), []
    fingerprint = facts.template.fingerprint
    current = [one for one in seen.living if one.spec.fingerprint == fingerprint]
    return current, [one for one in seen.living if one.spec.fingerprint != fingerprint]


def _starts(facts: Facts, seen: Assessment, now_ns: int) -> tuple[list[Step], int | None]:
    """Replicas to start now, and when the next one that waits may be."""
    if facts.template is None or seen.failed:
        return [], None
    current, old = _split(facts, seen)
    taken = {one.spec.slot for one in current}
    missing = facts.wanted - len(current)
    # One more than wanted, only while old ones make room one by one.
    room = facts.wanted + (1 if old else 0) - len(seen.living)
    serial = max(facts.before.serial, *(number_of(one.spec.id) for one in facts.observed), 0)
    steps: list[Step] = []
    waiting: list[int] = []
    for slot in range(facts.wanted):
        if slot in taken or len(steps) >= min(missing, room):
            continue
        due = due_ns(seen.crashes, slot, now_ns)
        if now_ns < due:
            waiting.append(due)
            continue
        serial += 1
        reason = "It replaces one of an older spec." if old else "One more is wanted."
        steps.append(_step(START, f"{facts.name}-r{serial}", reason, slot=slot))
    return steps, min(waiting, default=None)


def number_of(id_: str) -> int:
    """The serial number in a replica's id; 0 if there is none."""
    digits = id_.rpartition("-r")[2]
    return int(digits) if digits.isdecimal() else 0


def _stops(facts: Facts, seen: Assessment) -> list[Step]:
    current, old = _split(facts, seen)
    steps = [_step(STOP, one.spec.id, _lateness_text(seen, one), graceS=1.0) for one in seen.overdue]
    ready = sum(one.phase == "ready" for one in seen.living)
    for one in sorted(old, key=_least_useful):
        if one.phase == "ready":
            if ready - 1 < facts.wanted and facts.wanted:
                continue
            ready -= 1
        steps.append(_step(STOP, one.spec.id, "Its spec is no longer the wanted one.", graceS=STOP_GRACE_S))
    surplus = max(0, len(current) - facts.wanted)
    steps += [
        _step(STOP, one.spec.id, f"{facts.wanted} are wanted.", graceS=STOP_GRACE_S)
        for one in sorted(current, key=_least_useful)[:surplus]
    ]
    return steps


def _lateness_text(seen: Assessment, one: Observed) -> str:
    found = [crash.reason for crash in seen.crashes if crash.replica == one.spec.id]
    return found[-1] if found else "It was not ready in time."


def _least_useful(one: Observed) -> tuple[bool, int]:
    return one.phase == "ready", -one.spec.slot


def _step(verb: str, replica: str, reason: str, **data: Any) -> Step:
    return Step(verb=verb, subject=f"Replica/{replica}", reason=reason, data=data)
