"""Who is told what, and when: alerts of one receiver with the same labels are one group and one notification. Pure.

As Alertmanager does: the first notification waits for `groupWait`, the next for `groupInterval`, what still fires is
repeated after `repeatInterval`, and what ended before it was told is never told. A group has one notification under way
at most; until it was delivered nothing of it counts as told, so nothing that fires is lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

import msgspec

from andon.observability.alerts.instances import Instance
from andon.observability.alerts.rules import NS, digest

MEMBERS_MAX = 100  # of one notification, the longest firing first; how many were left out is told
DOUBT_KEPT = 1000
MARGIN_NS = 600 * NS

Reason = Literal["new", "resolved", "repeat", "test"]


class Alerted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One alert as it is told."""

    rule: str
    fingerprint: str
    labels: dict[str, str]
    annotations: dict[str, str]
    severity: str
    value: float | None = None
    starts_ns: int = 0
    ends_ns: int = 0  # 0 while it fires


class Notification(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message to one receiver. `id` is the same for the same content, so that a receiver can tell a repetition."""

    id: str
    group: str
    receiver: str
    labels: dict[str, str]  # of the group
    reason: Reason
    firing: tuple[Alerted, ...] = ()
    resolved: tuple[Alerted, ...] = ()
    left_out: int = 0
    made_ns: int = 0
    until_ns: int = 0  # for receivers that forget: by then it is told again or over


class Group(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One conversation with one receiver."""

    key: str
    receiver: str
    labels: dict[str, str]
    wait_ns: int
    interval_ns: int
    repeat_ns: int
    changed_ns: int = 0  # since when there is something new to tell; 0 = nothing
    flushed_ns: int = 0  # when a notification was last made
    told_ns: int = 0  # when one was last delivered
    sequence: int = 0  # delivered so far
    sent: tuple[str, ...] = ()  # fingerprints that the receiver knows to fire
    doubtful: tuple[str, ...] = ()  # that it may know: an attempt ended without an answer
    outstanding: Notification | None = None


class Members(msgspec.Struct, frozen=True, kw_only=True):
    """What belongs to a group now."""

    firing: Mapping[str, Instance]  # that somebody should know of, acknowledged ones included
    muted: frozenset[str]  # that fire or fired, and about which nobody is told now
    ended: Mapping[str, Instance]  # that no longer fire
    acked: frozenset[str] = frozenset()


def key_of(receiver: str, labels: Mapping[str, str]) -> str:
    """The group of a receiver with these labels."""
    return digest("\0".join((receiver, *(f"{name}={labels[name]}" for name in sorted(labels)))))


def decide(group: Group, members: Members, now_ns: int, *, send_resolved: bool = True) -> Group:
    """The group with a notification under way if one is due, else with what it must remember."""
    if group.outstanding is not None:
        return group
    known = {*group.sent, *group.doubtful}
    new = [mark for mark in members.firing if mark not in group.sent and mark not in members.acked]
    # Whoever is no longer there, or ended while nobody was to be told, is forgotten without a word.
    gone = [mark for mark in known if mark in members.ended and mark not in members.muted]
    stays = {mark for mark in known if mark in members.firing or mark in members.muted or mark in gone}
    stays -= {mark for mark in members.muted if mark in members.ended}
    if not send_resolved:
        stays -= set(gone)
        gone = []
    group = msgspec.structs.replace(
        group,
        sent=tuple(mark for mark in group.sent if mark in stays),
        doubtful=tuple(mark for mark in group.doubtful if mark in stays),
        changed_ns=(group.changed_ns or now_ns) if new else 0,
    )
    at_ns = due_ns(group, members, gone=bool(gone))
    if at_ns is None or now_ns < at_ns:
        return group
    reason: Reason = "new" if new else "resolved" if gone else "repeat"
    note = _notification(group, members, gone, reason, now_ns)
    return msgspec.structs.replace(group, outstanding=note, flushed_ns=now_ns, changed_ns=0)


def due_ns(group: Group, members: Members, *, gone: bool) -> int | None:
    """When the next notification is due if nothing changes; None if none ever is."""
    spaced = group.flushed_ns + group.interval_ns if group.flushed_ns else 0
    times = []
    if group.changed_ns:
        times.append(max(group.changed_ns + group.wait_ns, spaced))
    if gone:
        times.append(spaced)
    if group.told_ns and any(mark not in members.acked for mark in members.firing if mark in group.sent):
        times.append(max(group.told_ns + group.repeat_ns, spaced))
    return min(times, default=None)


def delivered(group: Group, note: Notification, now_ns: int) -> Group:
    """The receiver knows."""
    if group.outstanding is None or group.outstanding.id != note.id:
        return group
    told = {one.fingerprint for one in note.firing}
    over = {one.fingerprint for one in note.resolved}
    return msgspec.structs.replace(
        group,
        sent=tuple(sorted((set(group.sent) | told) - over)),
        doubtful=tuple(mark for mark in group.doubtful if mark not in told and mark not in over),
        told_ns=now_ns,
        sequence=group.sequence + 1,
        outstanding=None,
    )


def failed(group: Group, note: Notification, *, unknown: bool) -> Group:
    """It was given up for now: what still is so is told again after `groupInterval`."""
    if group.outstanding is None or group.outstanding.id != note.id:
        return group
    doubtful = set(group.doubtful)
    if unknown:
        doubtful |= {one.fingerprint for one in note.firing}
    return msgspec.structs.replace(
        group, doubtful=tuple(sorted(doubtful - set(group.sent)))[:DOUBT_KEPT], outstanding=None
    )


def is_empty(group: Group, members: Members, now_ns: int) -> bool:
    """Whether there is nothing left to remember: not even when something was last told, for what comes again soon."""
    if group.flushed_ns and now_ns < group.flushed_ns + group.interval_ns:
        return False
    return not (group.outstanding or group.sent or group.doubtful or members.firing or members.muted)


def _notification(
    group: Group, members: Members, gone: Collection[str], reason: Reason, now_ns: int
) -> Notification:
    firing = sorted(members.firing.values(), key=lambda one: (one.active_ns, one.fingerprint))
    ended = sorted((members.ended[mark] for mark in gone), key=lambda one: (one.ended_ns, one.fingerprint))
    shown, over = firing[:MEMBERS_MAX], ended[:MEMBERS_MAX]
    # By episode, because a group that was forgotten and comes again counts from one again.
    content = ",".join((*(one.episode for one in shown), "-", *(one.episode for one in over)))
    return Notification(
        id=f"{group.key}-{group.sequence + 1}-{digest(content)[:8]}",
        group=group.key,
        receiver=group.receiver,
        labels=group.labels,
        reason=reason,
        firing=tuple(alerted(one) for one in shown),
        resolved=tuple(alerted(one, over=True) for one in over),
        left_out=len(firing) + len(ended) - len(shown) - len(over),
        made_ns=now_ns,
        until_ns=now_ns + group.repeat_ns + group.interval_ns + MARGIN_NS,
    )


def alerted(one: Instance, *, over: bool = False) -> Alerted:
    """An instance as it is told."""
    return Alerted(
        rule=one.rule,
        fingerprint=one.fingerprint,
        labels=one.labels,
        annotations=one.annotations,
        severity=one.severity,
        value=one.value,
        starts_ns=one.fired_ns or one.active_ns,
        ends_ns=one.ended_ns if over else 0,
    )
