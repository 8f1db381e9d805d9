"""Everything that is known of alerts at one moment, moved on by looks and by what became of notifications. Pure.

The one place where rules, instances, silences and groups meet; the observer, the back-test and the simulation run this
same code under their own clocks. It gathers what must be remembered (`taken`) and never touches the world.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from andon.kernel.events import Event
from andon.observability.alerts.groups import (
    Group,
    Members,
    Notification,
    decide,
    delivered,
    due_ns,
    failed,
    is_empty,
    key_of,
)
from andon.observability.alerts.instances import Instance, step
from andon.observability.alerts.instances import due_ns as instance_due_ns
from andon.observability.alerts.rules import NS, Evaluation, Rule
from andon.observability.alerts.silencing import Silence, inhibited_by, silenced_by

GROUPS_MAX = 1000  # conversations at one time; beyond, one per receiver without labels takes the rest
ACTOR = "observer:alerts"
SHOWN = 20  # alerts of a notification that the journal names


class Receiving(msgspec.Struct, frozen=True, kw_only=True):
    """What grouping must know of a receiver."""

    send_resolved: bool = True
    groups_itself: bool = False  # it waits and batches by itself, so it is told at once


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What has changed since the last time, to be remembered in one transaction."""

    rules: dict[str, tuple[Instance, ...]]  # every instance of each rule that changed
    groups: dict[str, Group | None]  # None = forgotten
    events: tuple[Event, ...]


class Book:
    """The state. `rules`, `receivers` and `silences` are set from outside before `tick`."""

    def __init__(self) -> None:
        self.rules: dict[str, Rule] = {}
        self.receivers: dict[str, Receiving] = {}
        self.silences: tuple[Silence, ...] = ()
        self.instances: dict[str, dict[str, Instance]] = {}
        self.groups: dict[str, Group] = {}
        self.mutes: dict[str, str] = {}  # fingerprint → what silences or inhibits it now
        self.left_out: dict[str, int] = {}
        self.groups_left_out = 0
        self._members: dict[str, Members] = {}
        self._seen: dict[str, frozenset[str]] = {}
        self._changed_rules: set[str] = set()
        self._changed_groups: set[str] = set()
        self._events: list[Event] = []

    def restore(self, instances: Iterable[Instance], groups: Iterable[Group], now_ns: int) -> None:
        """Begin from what was remembered. What fired then is taken as true until a look says otherwise."""
        self.instances, self.groups = {}, {}
        for one in instances:
            if one.phase == "firing":
                one = msgspec.structs.replace(one, true_ns=now_ns)
            self.instances.setdefault(one.rule, {})[one.fingerprint] = one
        for group in groups:
            self.groups[group.key] = group
        self._changed_rules.clear()
        self._changed_groups.clear()
        self._events.clear()

    def tick(self, looks: Mapping[str, Evaluation], now_ns: int) -> None:
        """One moment: looks at some rules, then what every group has to tell."""
        for name, look in looks.items():
            rule = self.rules.get(name)
            if rule is not None and not look.error:
                self._step(rule, look, now_ns)
        for name in [name for name in self.instances if name not in self.rules]:
            self._end(name, now_ns)
        self._regroup(now_ns)

    def due_ns(self, now_ns: int) -> int | None:
        """When the next thing happens by time alone."""
        times = []
        for name, rule in self.rules.items():
            seen = self._seen.get(name, frozenset())
            times.append(instance_due_ns(rule, self.instances.get(name, {}), seen, now_ns))
        for key, group in self.groups.items():
            members = self._members.get(key)
            if members is None or group.outstanding is not None:
                continue
            gone = any(mark in members.ended for mark in (*group.sent, *group.doubtful))
            times.append(due_ns(group, members, gone=gone))
        return min((at for at in times if at is not None and at > now_ns), default=None)

    def waiting(self) -> Sequence[Notification]:
        """Notifications that are to be delivered."""
        return [group.outstanding for group in self.groups.values() if group.outstanding is not None]

    def deliver(self, note: Notification, now_ns: int) -> None:
        """A notification has arrived."""
        self._settle(note, delivered, now_ns)
        data: dict[str, Any] = {"notification": note.id, "receiver": note.receiver, "reason": note.reason}
        data |= {"firing": _names(note.firing), "resolved": _names(note.resolved)}
        self._tell("alert.notified", f"Receiver/{note.receiver}", data, f"alert.notified/{note.id}", now_ns)

    def give_up(self, note: Notification, why: str, now_ns: int, *, unknown: bool) -> None:
        """A notification could not be delivered; it will be made anew if it is still so."""

        def without(group: Group, note: Notification, _: int) -> Group:
            return failed(group, note, unknown=unknown)

        self._settle(note, without, now_ns)
        data: dict[str, Any] = {"notification": note.id, "receiver": note.receiver, "reason": note.reason}
        data |= {"why": why, "firing": _names(note.firing)}
        self._tell(
            "alert.notify_failed",
            f"Receiver/{note.receiver}",
            data,
            f"alert.notify_failed/{note.id}/{note.made_ns}",
            now_ns,
        )

    def acknowledge(self, rule: str, fingerprint: str, who: str, now_ns: int) -> Sequence[Instance]:
        """Repeats stop for what fires or waits now; all of the rule's where no fingerprint is given."""
        found = []
        for mark, one in self.instances.get(rule, {}).items():
            if one.phase == "resolved" or not mark.startswith(fingerprint):
                continue
            acked = msgspec.structs.replace(one, acked_by=who, acked_ns=now_ns)
            self.instances[rule][mark] = acked
            self._changed_rules.add(rule)
            found.append(acked)
            data = {"labels": one.labels, "fingerprint": mark, "by": who}
            self._tell("alert.acknowledged", f"Alert/{rule}", data, None, now_ns)
        return found

    def take(self) -> Taken:
        """What has changed since the last time."""
        taken = Taken(
            rules={name: tuple(self.instances.get(name, {}).values()) for name in self._changed_rules},
            groups={key: self.groups.get(key) for key in self._changed_groups},
            events=tuple(self._events),
        )
        self._changed_rules, self._changed_groups, self._events = set(), set(), []
        return taken

    def _step(self, rule: Rule, look: Evaluation, now_ns: int) -> None:
        done = step(rule, self.instances.get(rule.name, {}), look, now_ns)
        self.instances[rule.name] = done.instances
        self.left_out[rule.name] = done.left_out
        self._seen[rule.name] = frozenset(
            mark for mark, one in done.instances.items() if one.true_ns == now_ns and one.phase != "resolved"
        )
        if done.changed:
            self._changed_rules.add(rule.name)
        for one in done.fired:
            self._turned("alert.fired", one, now_ns)
        for one in done.resolved:
            self._turned("alert.resolved", one, now_ns)

    def _end(self, name: str, now_ns: int) -> None:
        """A rule that is gone or disabled: what fired of it is over."""
        for mark, one in list(self.instances[name].items()):
            if one.phase == "firing":
                over = msgspec.structs.replace(one, phase="resolved", ended_ns=now_ns)
                self.instances[name][mark] = over
                self._changed_rules.add(name)
                self._turned("alert.resolved", over, now_ns)
            elif one.phase == "pending" or not self._is_told(mark):
                del self.instances[name][mark]
                self._changed_rules.add(name)
        if not self.instances[name]:
            del self.instances[name]
            self.left_out.pop(name, None)
            self._seen.pop(name, None)

    def _is_told(self, mark: str) -> bool:
        return any(mark in group.sent or mark in group.doubtful for group in self.groups.values())

    def _turned(self, event: str, one: Instance, now_ns: int) -> None:
        data: dict[str, Any] = {
            "labels": one.labels,
            "fingerprint": one.fingerprint,
            "severity": one.severity,
        }
        data |= {"value": one.value, "summary": one.annotations.get("summary", "")}
        self._tell(event, f"Alert/{one.rule}", data, f"{event}/{one.rule}/{one.episode}", now_ns)

    def _tell(self, name: str, subject: str, data: dict[str, Any], unique: str | None, now_ns: int) -> None:
        self._events.append(
            Event(name=name, subject=subject, actor=ACTOR, data=data, unique=unique, at_ns=now_ns)
        )

    def _settle(self, note: Notification, move: Any, now_ns: int) -> None:
        group = self.groups.get(note.group)
        if group is not None:
            self.groups[note.group] = move(group, note, now_ns)
            self._changed_groups.add(note.group)

    def _regroup(self, now_ns: int) -> None:
        self._mute(now_ns)
        made = self._assign()
        for key in [*self.groups]:
            group = self.groups[key]
            members = self._members.get(key) or self._orphaned(group)
            receiver = self.receivers.get(group.receiver)
            if receiver is None or is_empty(group, members, now_ns):
                del self.groups[key]
                self._members.pop(key, None)
                if key not in made:
                    self._changed_groups.add(key)
                continue
            after = decide(group, members, now_ns, send_resolved=receiver.send_resolved)
            if after != group or key in made:
                self.groups[key] = after
                self._changed_groups.add(key)
        self._members = {key: members for key, members in self._members.items() if key in self.groups}

    def _mute(self, now_ns: int) -> None:
        firing = {
            name: [one for one in instances.values() if one.phase == "firing"]
            for name, instances in self.instances.items()
        }
        self.mutes = {}
        for name, instances in self.instances.items():
            rule = self.rules.get(name)
            for mark, one in instances.items():
                silences = silenced_by(self.silences, one.labels, now_ns)
                if silences:
                    self.mutes[mark] = f"Silence/{silences[0]}"
                elif rule is not None:
                    other = inhibited_by(rule, one, firing)
                    if other:
                        self.mutes[mark] = f"Alert/{other}"

    def _assign(self) -> set[str]:
        """Members by group, new groups made; the keys of those."""
        made: set[str] = set()
        found: dict[str, list[Instance]] = {}
        times: dict[str, list[Rule]] = {}
        for name, rule in self.rules.items():
            for one in self.instances.get(name, {}).values():
                for receiver in rule.spec.receivers:
                    labels = {label: one.labels.get(label, "") for label in rule.spec.group_by}
                    key = key_of(receiver, labels)
                    if key not in self.groups:
                        if one.phase != "firing" or receiver not in self.receivers:
                            continue
                        if len(self.groups) >= GROUPS_MAX:
                            labels, key = {}, key_of(receiver, {})
                            self.groups_left_out += 1
                        if key not in self.groups:
                            self.groups[key] = _new_group(key, receiver, labels, rule)
                            made.add(key)
                    found.setdefault(key, []).append(one)
                    times.setdefault(key, []).append(rule)
        self._members = {key: self._members_of(members) for key, members in found.items()}
        for key, rules in times.items():
            group = self.groups[key]
            receiving = self.receivers.get(group.receiver, Receiving())
            self.groups[key] = msgspec.structs.replace(
                group,
                wait_ns=0 if receiving.groups_itself else min(rule.wait_ns for rule in rules),
                interval_ns=NS if receiving.groups_itself else min(rule.interval_ns for rule in rules),
                repeat_ns=min(rule.repeat_ns for rule in rules),
            )
        return made

    def _members_of(self, members: Sequence[Instance]) -> Members:
        firing = {one.fingerprint: one for one in members if one.phase == "firing"}
        return Members(
            firing={mark: one for mark, one in firing.items() if mark not in self.mutes},
            muted=frozenset(one.fingerprint for one in members if one.fingerprint in self.mutes),
            ended={one.fingerprint: one for one in members if one.phase != "firing"},
            acked=frozenset(mark for mark, one in firing.items() if one.acked_by),
        )

    def _orphaned(self, group: Group) -> Members:
        """A group whose rules are gone: what it has told is over."""
        known = {*group.sent, *group.doubtful}
        ended = {
            mark: one
            for instances in self.instances.values()
            for mark, one in instances.items()
            if mark in known and one.phase != "firing"
        }
        return Members(firing={}, muted=frozenset(mark for mark in ended if mark in self.mutes), ended=ended)


def _new_group(key: str, receiver: str, labels: dict[str, str], rule: Rule) -> Group:
    return Group(
        key=key,
        receiver=receiver,
        labels=labels,
        wait_ns=rule.wait_ns,
        interval_ns=rule.interval_ns,
        repeat_ns=rule.repeat_ns,
    )


def _names(alerts: Sequence[Any]) -> list[dict[str, str]]:
    return [one.labels for one in alerts[:SHOWN]]
