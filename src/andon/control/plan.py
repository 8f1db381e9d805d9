"""What an `apply` would do: the pure difference between what people wrote and what is stored.

Called by `factory`, which reads the state and later does exactly what stands here, or refuses because the world has
moved. Knows no store, no clock, no chance: the same inputs give the same plan, id included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from andon.control.catalogue import Catalogue
from andon.control.resources import Content, digest_of
from andon.kernel.errors import Refused

PLAN_FORMAT = 1
PLAN_BYTES_MAX = 16 * 2**20
CHANGES_MAX = 1000  # fields shown of one resource; the rest is one line that says how many
Verb = Literal["create", "update", "delete", "no-op"]
SYMBOLS: Mapping[str, str] = {"create": "+", "update": "~", "delete": "-", "no-op": " "}


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """One field that would change, at a path such as `spec.strategy.steps[1].weight`."""

    path: str
    symbol: Literal["+", "~", "-"]
    before: Any = None  # null where the symbol is +
    after: Any = None  # null where the symbol is -


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of one resource."""

    verb: Verb
    kind: str
    name: str
    changes: tuple[FieldChange, ...] = ()
    content: Content | None = None  # what will be stored; null where the verb is delete

    @property
    def subject(self) -> str:
        """ "Endpoint/credit"."""
        return f"{self.kind}/{self.name}"

    @property
    def symbol(self) -> str:
        """`+`, `~`, `-` or a space, as in Terraform."""
        return SYMBOLS[self.verb]


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that was changed outside of `apply` since the last revision."""

    subject: str
    verb: Verb
    changes: tuple[FieldChange, ...] = ()


class ChangePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one `apply` would do, bound to the state that was looked at."""

    id: str  # from the content: equal plans have equal ids
    parent: int  # the revision it was made against; 0 = none yet
    prune: bool
    actions: tuple[Action, ...]  # in the order in which they are done
    drift: tuple[Drift, ...] = ()
    base: dict[str, str] = {}  # digest of every resource looked at, by subject: what must not have moved
    undo_of: int = 0  # the revision that an undo returns to
    format: int = PLAN_FORMAT

    @property
    def changes(self) -> tuple[Action, ...]:
        """The actions that do something."""
        return tuple(action for action in self.actions if action.verb != "no-op")

    @property
    def empty(self) -> bool:
        """Whether nothing would change."""
        return not self.changes

    def count(self, verb: Verb) -> int:
        """How many actions have this verb."""
        return sum(action.verb == verb for action in self.actions)


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """The state that a plan is made against."""

    stored: dict[str, Content]  # every resource that people wrote, by subject
    managed: dict[str, Content]  # the document of the last revision, by subject
    revision: int = 0


def make_plan(
    desired: Sequence[Content], base: Base, catalogue: Catalogue, *, prune: bool = True, undo_of: int = 0
) -> ChangePlan:
    """The plan that makes `desired` true.

    With `prune`, what the last revision holds and `desired` does not is deleted, as in Terraform; what was made by
    other verbs and never stood in a revision (keys, say) is left alone.
    """
    wanted = {content.subject: content for content in desired}
    actions = [
        _action(content, base.stored.get(content.subject))
        for content in sorted(desired, key=lambda content: (catalogue.rank(content.kind), content.name))
    ]
    if prune:
        gone = [
            base.stored[subject]
            for subject in base.managed
            if subject not in wanted and subject in base.stored
        ]
        gone.sort(key=lambda content: (-catalogue.rank(content.kind), content.name))
        actions += [
            Action(verb="delete", kind=content.kind, name=content.name, changes=field_changes(content, None))
            for content in gone
        ]
    plan = ChangePlan(
        id="",
        parent=base.revision,
        prune=prune,
        actions=tuple(actions),
        drift=find_drift(base),
        base={subject: digest_of(content) for subject, content in sorted(base.stored.items())},
        undo_of=undo_of,
    )
    return msgspec.structs.replace(plan, id=plan_id(plan))


def plan_id(plan: ChangePlan) -> str:
    """The name of a plan, from its content: long enough that nobody finds two plans of one name to approve."""
    return f"plan-{digest_of(msgspec.structs.replace(plan, id=''))[:32]}"


def moved_since(plan: ChangePlan, base: Base) -> tuple[str, ...]:
    """What is no longer as the plan saw it, in words; empty if it can be applied exactly."""
    moved = []
    if base.revision != plan.parent:
        moved.append(f"revision {base.revision} is the latest, not {plan.parent}")
    now = {subject: digest_of(content) for subject, content in base.stored.items()}
    for subject in sorted(now.keys() | plan.base.keys()):
        if subject not in plan.base:
            moved.append(f"{subject} was created")
        elif subject not in now:
            moved.append(f"{subject} was deleted")
        elif now[subject] != plan.base[subject]:
            moved.append(f"{subject} was changed")
    return tuple(moved)


def resulting(plan: ChangePlan, base: Base) -> dict[str, Content]:
    """The document of the revision that applying the plan makes, by subject."""
    after = dict(base.managed)
    for action in plan.actions:
        if action.content is None:
            after.pop(action.subject, None)
        else:
            after[action.subject] = action.content
    # What a person deleted by another verb is not brought back by a revision that does not name it.
    named = {action.subject for action in plan.actions}
    return {
        subject: after[subject] for subject in sorted(after) if subject in named or subject in base.stored
    }


def find_drift(base: Base) -> tuple[Drift, ...]:
    """What was changed or deleted outside of `apply` since the last revision."""
    drift = []
    for subject, content in sorted(base.managed.items()):
        stored = base.stored.get(subject)
        if stored is None:
            drift.append(Drift(subject=subject, verb="delete"))
        elif stored != content:
            drift.append(Drift(subject=subject, verb="update", changes=field_changes(content, stored)))
    return tuple(drift)


def compare(before: Mapping[str, Content], after: Mapping[str, Content]) -> tuple[Action, ...]:
    """What differs between two documents, sorted by subject; equal resources are left out."""
    actions = []
    for subject in sorted(before.keys() | after.keys()):
        old, new = before.get(subject), after.get(subject)
        if new is not None and new != old:
            actions.append(_action(new, old))
        elif new is None and old is not None:
            actions.append(
                Action(verb="delete", kind=old.kind, name=old.name, changes=field_changes(old, None))
            )
    return tuple(actions)


def _action(content: Content, stored: Content | None) -> Action:
    changes = field_changes(stored, content)
    verb: Verb = "create" if stored is None else "update" if changes else "no-op"
    return Action(verb=verb, kind=content.kind, name=content.name, changes=changes, content=content)


def field_changes(before: Content | None, after: Content | None) -> tuple[FieldChange, ...]:
    """The leaves that differ, in the order of the fields; empty if and only if both are equal."""
    changes: list[FieldChange] = []
    for field, path in (
        ("labels", "metadata.labels"),
        ("annotations", "metadata.annotations"),
        ("spec", "spec"),
    ):
        _walk(path, getattr(before, field, {}), getattr(after, field, {}), changes)
    if len(changes) > CHANGES_MAX:
        left = len(changes) - CHANGES_MAX
        changes = [*changes[:CHANGES_MAX], FieldChange(path="…", symbol="~", after=f"and {left} more fields")]
    return tuple(changes)


def _walk(path: str, before: Any, after: Any, changes: list[FieldChange]) -> None:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            _step(f"{path}.{key}", key in before, before.get(key), key in after, after.get(key), changes)
    elif isinstance(before, list) and isinstance(after, list):
        for index in range(max(len(before), len(after))):
            had, has = index < len(before), index < len(after)
            old, new = before[index] if had else None, after[index] if has else None
            _step(f"{path}[{index}]", had, old, has, new, changes)
    elif before != after or type(before) is not type(after):
        changes.append(FieldChange(path=path, symbol="~", before=before, after=after))


def _step(path: str, had: bool, before: Any, has: bool, after: Any, changes: list[FieldChange]) -> None:
    if had and has:
        _walk(path, before, after, changes)
    elif had:
        changes.append(FieldChange(path=path, symbol="-", before=before))
    else:
        changes.append(FieldChange(path=path, symbol="+", after=after))


class _SavedPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan as it lies in a file."""

    digest: str
    plan: msgspec.Raw


def save_plan(plan: ChangePlan) -> bytes:
    """The plan as a file: JSON with a digest over its content, so that a change by hand or by accident is seen."""
    body = msgspec.json.encode(plan, order="deterministic")
    saved = {"digest": digest_of(plan), "plan": msgspec.Raw(body)}
    return msgspec.json.format(msgspec.json.encode(saved), indent=1) + b"\n"


def load_plan(data: bytes) -> ChangePlan:
    """A plan from a file; raises Refused if it is none, is of another format, or is not what was saved."""
    if len(data) > PLAN_BYTES_MAX:
        raise Refused("plan_too_large", f"The plan is {len(data)} bytes; at most {PLAN_BYTES_MAX} are read.")
    again = "Make a new one with 'andon plan -o FILE'."
    try:
        saved = msgspec.json.decode(data, type=_SavedPlan)
        found = msgspec.json.decode(saved.plan).get("format")
        if found != PLAN_FORMAT:
            raise Refused(
                "plan_format", f"The plan has format {found}; this version reads {PLAN_FORMAT}.", hint=again
            )
        plan = msgspec.json.decode(saved.plan, type=ChangePlan)
    except (msgspec.MsgspecError, AttributeError) as error:
        raise Refused("plan_unreadable", f"The file holds no saved plan: {error}.", hint=again) from error
    if digest_of(plan) != saved.digest or plan_id(plan) != plan.id:
        raise Refused(
            "plan_tampered", "The plan is not what was saved: its digest does not match.", hint=again
        )
    return plan


def plan_lines(plan: ChangePlan) -> list[str]:
    """The plan for a terminal without colour: symbols as in Terraform, one field a line, the sum at the end."""
    lines = [
        f"! {item.subject} was changed outside of apply since revision {plan.parent}" for item in plan.drift
    ]
    for action in plan.changes:
        lines.append(f"{action.symbol} {action.subject}")
        if action.verb == "update":
            lines += [f"    {change.symbol} {change.path}: {_shown(change)}" for change in action.changes]
    if plan.empty:
        return [*lines, "No changes: what is stored is what the files say."]
    sums = (plan.count("create"), plan.count("update"), plan.count("delete"))
    return [*lines, "Plan: {} to create, {} to update, {} to delete.".format(*sums)]


def _shown(change: FieldChange) -> str:
    before, after = (msgspec.json.encode(value).decode() for value in (change.before, change.after))
    return after if change.symbol == "+" else before if change.symbol == "-" else f"{before} → {after}"
