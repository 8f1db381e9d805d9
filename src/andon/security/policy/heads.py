"""What a policy says about whom it concerns before any condition is looked at: its head, and the context it reads.

Pure. A policy whose head does not match a request can neither permit nor forbid nor fail, so leaving it out changes
nothing about a decision: that is what makes slices of a policy set sound (Cedar's "policy slicing", Cutler et al.,
OOPSLA 2024, §4.2).
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

Uid = tuple[str, str]  # type, id
WHOLE: Final = "*"  # the context is used as a whole: every field matters
TAGS: Final = "#"  # stands among attributes for tags, which policies may name as they run


class Scope(msgspec.Struct, frozen=True):
    """What a head asks of a principal or a resource. Both empty = anything."""

    type: str = ""  # `is T`
    within: Uid | None = None  # `== U` or `in U`
    exact: bool = False  # `== U`: being below it is not enough


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """One policy's head."""

    id: str
    effect: Literal["permit", "forbid"]
    principal: Scope
    actions: frozenset[str] | None  # actions and groups that it names; None = every one
    action_exact: bool  # `== Action::"x"`: being in it is not enough
    resource: Scope
    fields: frozenset[str]  # of the context
    attributes: frozenset[str]  # that it names, of whatever; TAGS where it looks at tags


def head_of(id_: str, policy: dict[str, Any]) -> Head:
    """The head of a policy in Cedar's JSON form (docs.cedarpolicy.com/policies/json-format.html)."""
    fields: set[str] = set()
    attributes: set[str] = set()
    for condition in policy.get("conditions", ()):
        _collect(condition["body"], fields, attributes)
    return Head(
        id=id_,
        effect=policy["effect"],
        principal=_scope(policy["principal"]),
        actions=_actions(policy["action"]),
        action_exact=policy["action"]["op"] == "==",
        resource=_scope(policy["resource"]),
        fields=frozenset(fields),
        attributes=frozenset(attributes),
    )


def concerns(head: Head, action: str, groups: frozenset[str]) -> bool:
    """Whether a policy is about an action, which is in these groups and among them."""
    if head.actions is None:
        return True
    return action in head.actions if head.action_exact else not head.actions.isdisjoint(groups)


def within(scope: Scope, uid: Uid, ancestors: frozenset[Uid]) -> bool:
    """Whether a thing is what a scope asks for."""
    if scope.type and scope.type != uid[0]:
        return False
    if scope.within is None:
        return True
    return scope.within == uid if scope.exact else scope.within in ancestors


def _scope(told: dict[str, Any]) -> Scope:
    kind = told["op"]
    if kind == "All":
        return Scope()
    if kind == "is":
        within = told.get("in")
        return Scope(told["entity_type"], None if within is None else _uid(within["entity"]))
    return Scope("", _uid(told["entity"]), kind == "==")


def _actions(told: dict[str, Any]) -> frozenset[str] | None:
    if told["op"] == "All":
        return None
    entities = told["entities"] if "entities" in told else [told["entity"]]
    return frozenset(_uid(entity)[1] for entity in entities)


def _uid(entity: dict[str, Any]) -> Uid:
    told = entity.get("__entity", entity)
    return told["type"], told["id"]


def _collect(expression: Any, fields: set[str], attributes: set[str]) -> None:
    """What an expression reads. Depth is bounded by Cedar's own parser."""
    if isinstance(expression, list):
        for part in expression:
            _collect(part, fields, attributes)
    elif isinstance(expression, dict):
        for name, part in expression.items():
            if name == "Value":
                continue
            if name == "Var":
                if part == "context":
                    fields.add(WHOLE)
            elif name in (".", "has"):
                named = part["attr"]
                names = (named,) if isinstance(named, str) else tuple(named)
                attributes.update(names)
                if part["left"] == {"Var": "context"}:
                    fields.update(names)
                else:
                    _collect(part["left"], fields, attributes)
            else:
                if name in ("hasTag", "getTag"):
                    attributes.add(TAGS)
                _collect(part, fields, attributes)
