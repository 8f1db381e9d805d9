"""The life of what fires: inactive → pending → firing → resolved, one step at each look. Pure.

An instance is one set of labels of one rule. It begins with the look that first saw it, fires when it has been true
for `for`, and ends `keepFiringFor` after it was last true. A look that could not see ends nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from andon.observability.alerts.model import INSTANCES_MAX
from andon.observability.alerts.rules import (
    NS,
    Evaluation,
    Observation,
    Rule,
    annotations_of,
    fingerprint_of,
    labels_of,
)

RESOLVED_KEPT_NS = 900 * NS  # how long one that has ended is shown

Phase = Literal["pending", "firing", "resolved"]


class Instance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that is, or was a moment ago, true."""

    rule: str
    fingerprint: str
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    severity: str = "page"
    phase: Phase = "pending"
    value: float | None = None
    active_ns: int = 0  # since when it is true; names the episode
    fired_ns: int = 0
    true_ns: int = 0  # when it was last seen
    ended_ns: int = 0
    acked_by: str = ""
    acked_ns: int = 0

    @property
    def episode(self) -> str:
        """One firing from its begin to its end, unique for ever."""
        return f"{self.fingerprint}-{self.active_ns}"


class Stepped(msgspec.Struct, frozen=True, kw_only=True):
    """What one look made of a rule's instances."""

    instances: dict[str, Instance]
    fired: tuple[Instance, ...] = ()
    resolved: tuple[Instance, ...] = ()
    changed: bool = False  # something that must be remembered
    left_out: int = 0


def step(rule: Rule, before: Mapping[str, Instance], look: Evaluation, now_ns: int) -> Stepped:
    """One look at a rule. Those seen before have their place; new ones only while there is room."""
    seen, left_out = _admit(rule, before, look)
    kept = {fingerprint_of(labels_of(rule, labels)) for labels in look.kept}
    ended = {fingerprint_of(labels_of(rule, labels)) for labels in look.ended}
    after: dict[str, Instance] = {}
    fired, resolved, changed = [], [], False
    for mark, (labels, observation) in seen.items():
        was = before.get(mark)
        now = after[mark] = _seen(rule, mark, was, labels, observation, now_ns)
        changed |= was is None or was.phase != now.phase
        if now.phase == "firing" and (was is None or was.phase != "firing"):
            fired.append(now)
    for mark, was in before.items():
        if mark in after:
            continue
        stays = mark in kept or (look.unknown and mark not in ended)
        next_ = _unseen(rule, was, stays=stays, over=mark in ended, now_ns=now_ns)
        changed |= next_ is None or next_.phase != was.phase
        if next_ is None:
            continue
        after[mark] = next_
        if next_.phase == "resolved" and was.phase == "firing":
            resolved.append(next_)
    return Stepped(
        instances=after,
        fired=tuple(fired),
        resolved=tuple(resolved),
        changed=changed,
        left_out=left_out + look.left_out,
    )


def _admit(
    rule: Rule, before: Mapping[str, Instance], look: Evaluation
) -> tuple[dict[str, tuple[dict[str, str], Observation]], int]:
    found: dict[str, tuple[dict[str, str], Observation]] = {}
    for observation in look.seen:
        labels = labels_of(rule, observation.labels)
        found.setdefault(fingerprint_of(labels), (labels, observation))
    if len(found) <= INSTANCES_MAX:
        return found, 0
    order = sorted(found, key=lambda mark: (mark not in before, sorted(found[mark][0].items())))
    return {mark: found[mark] for mark in order[:INSTANCES_MAX]}, len(found) - INSTANCES_MAX


def _seen(
    rule: Rule,
    mark: str,
    was: Instance | None,
    labels: dict[str, str],
    observation: Observation,
    now_ns: int,
) -> Instance:
    if was is None or was.phase == "resolved":
        was = Instance(
            rule=rule.name,
            fingerprint=mark,
            labels=labels,
            severity=rule.spec.severity,
            active_ns=now_ns,
            ended_ns=0 if was is None else was.ended_ns,
        )
    phase, fired_ns = was.phase, was.fired_ns
    if phase == "pending" and now_ns - was.active_ns >= rule.for_ns:
        phase, fired_ns = "firing", now_ns
    return msgspec.structs.replace(
        was,
        phase=phase,
        fired_ns=fired_ns,
        true_ns=now_ns,
        value=observation.value,
        annotations=annotations_of(rule, labels, observation.value, observation.why),
    )


def _unseen(rule: Rule, was: Instance, *, stays: bool, over: bool, now_ns: int) -> Instance | None:
    if was.phase == "resolved":
        return was if now_ns - was.ended_ns < RESOLVED_KEPT_NS else None
    if stays:
        return was
    if was.phase == "pending":
        return None
    if not over and now_ns - was.true_ns < rule.keep_ns:
        return was
    return msgspec.structs.replace(was, phase="resolved", ended_ns=now_ns)


def due_ns(rule: Rule, instances: Mapping[str, Instance], seen: frozenset[str], now_ns: int) -> int | None:
    """When the next step happens by time alone, if what is seen stays as it is; None if it never does."""
    times = []
    for mark, one in instances.items():
        if one.phase == "pending" and mark in seen:
            times.append(one.active_ns + rule.for_ns)
        elif one.phase == "firing" and mark not in seen:
            times.append(one.true_ns + rule.keep_ns)
    later = [at for at in times if at > now_ns]
    return min(later, default=None)
