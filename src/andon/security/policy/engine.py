"""A policy set in force: read once, found by the heads of its policies, asked without limit.

Made from the text of a snapshot or of the store by whoever must decide. A decision looks only at policies whose heads
name the principal, one of its roles or its team, and the resource. Conditions that `compilation` knows are evaluated
here; for what remains Cedar is asked, once. Must never raise for what it is asked about, nor decide otherwise than
Cedar would with the whole set.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Final

import cedarpy
import msgspec

from andon.kernel.access import Decision, Resource
from andon.kernel.errors import Refused
from andon.kernel.principals import Principal
from andon.security.policy import entities
from andon.security.policy.compilation import CannotEvaluateError, Condition, compile_conditions
from andon.security.policy.facts import (
    Facts,
    NoFactsError,
    Thing,
    action_thing,
    context_values,
    principal_thing,
    resource_thing,
)
from andon.security.policy.heads import Head, Uid, concerns, head_of
from andon.security.policy.text import statements
from andon.security.policy.vocabulary import DATA_ACTIONS, groups_of

SETS_MAX = (
    4096  # parsed for Cedar at one time; at the limit all are forgotten and parsed again as they are needed
)
TOGETHER_MAX = 64  # policies of one action that Cedar gets as they are, whether or not their heads match
STEP_POLICIES = 16  # read at once where others are waiting: about a millisecond
_NAMED = re.compile(r"policy `([^`]*)`")
_DENIED: Final = Decision(allowed=False)


class _Set(msgspec.Struct):
    """Cedar's JSON form of a policy set; each policy stays text until it is needed."""

    static: dict[str, msgspec.Raw] = msgspec.field(name="staticPolicies")
    templates: dict[str, msgspec.Raw] = {}


class Rule:
    """One policy, as decisions go through it. What its head says of actions and names has been looked up by then."""

    __slots__ = ("condition", "exact", "head", "id", "permits", "principal_type", "resource_type")

    def __init__(self, head: Head, condition: Condition | None) -> None:
        self.head = head
        self.id = head.id
        self.permits = head.effect == "permit"
        self.principal_type = head.principal.type
        self.resource_type = head.resource.type
        self.exact = head.principal.exact  # only the principal that is named, nobody within it
        self.condition = condition  # None = Cedar must be asked


class Concerns(msgspec.Struct, frozen=True, kw_only=True):
    """What the policies of one action look at."""

    heads: tuple[Head, ...]
    fields: frozenset[str]  # of the context
    attributes: frozenset[str]  # of principals and resources
    forbids: bool  # whether anything forbids this action to anyone
    uid: Uid
    thing: Thing
    entity: str  # the action's own, for Cedar
    names: frozenset[Uid]  # the principals, roles and teams that heads name
    table: Mapping[tuple[Uid | None, Uid | None], tuple[Rule, ...]]  # by the somebody and resource they name
    together: cedarpy.PolicySet | None  # all that is Cedar's, where that is little


class Engine:
    """One policy set. `concerns` says what a caller must know to ask or to remember an answer."""

    def __init__(self, text: str = "") -> None:
        """Raises `Refused` policy_invalid for text that is no policy set."""
        self._policies: dict[str, msgspec.Raw] = {}
        self._rules: list[Rule] = []
        self.errors: dict[str, int] = {}  # by policy: how often it could not be evaluated
        self.asked = 0  # questions to Cedar
        self._concerns: dict[str, Concerns] = {}
        self._sets: dict[tuple[str, ...], cedarpy.PolicySet] = {}  # by the policies in them
        if text:
            self._take(text)

    @classmethod
    def in_steps(cls, text: str) -> Generator[None, None, Engine]:
        """The same, a little at a time, made ready for every action of the data plane. Raises `Refused`."""
        engine = cls()
        written = [one.text for one in statements(text)]
        for begin in range(0, len(written), STEP_POLICIES):
            engine._take("\n".join(written[begin : begin + STEP_POLICIES]))
            yield
        for action in DATA_ACTIONS:
            engine.concerns(action)
            yield
        return engine

    @property
    def heads(self) -> tuple[Head, ...]:
        """What each policy is about."""
        return tuple([rule.head for rule in self._rules])

    @property
    def compiled(self) -> int:
        """Policies that are decided without Cedar."""
        return sum(rule.condition is not None for rule in self._rules)

    def concerns(self, action: str) -> Concerns:
        """What the policies of an action look at; the actions are those of the vocabulary, so this stays small."""
        found = self._concerns.get(action)
        if found is None:
            found = self._concerns[action] = self._sort_out(action)
        return found

    def decide(
        self, principal: Principal, action: str, resource: Resource, context: Mapping[str, Any]
    ) -> Decision:
        """The decision, with the ids of the policies that determined it."""
        known = self.concerns(action)
        mine = entities.uid_of(principal), entities.ancestors_of(principal)
        uid = entities.resource_uid(resource)
        rules = _found(known, *mine, uid)
        if not rules:
            return _DENIED
        request = (principal, action, resource, context)
        try:
            facts = Facts(
                (mine[0], known.uid, uid),
                {
                    mine[0]: principal_thing(principal, mine[1]),
                    known.uid: known.thing,
                    uid: resource_thing(resource, uid, known.attributes),
                },
                context_values(context, known.fields),
            )
        except NoFactsError:
            return self._conclude([], [], [], self._ask(request, known, [rule.id for rule in rules], None))
        permits, forbids, erring, rest = _judge(rules, facts)
        told = self._ask(request, known, rest, known.together) if rest else None
        return self._conclude(permits, forbids, erring, told)

    def _ask(
        self,
        request: tuple[Principal, str, Resource, Mapping[str, Any]],
        known: Concerns,
        ids: Sequence[str],
        policies: cedarpy.PolicySet | None,
    ) -> cedarpy.AuthzResult | ValueError:
        """What Cedar says of these policies, or of a set that is there; the error where it cannot even be asked."""
        principal, action, resource, context = request
        mine, uid = entities.uid_of(principal), entities.resource_uid(resource)
        self.asked += 1
        try:
            if policies is None:
                policies = self._set(tuple(ids))
            asked = {
                "principal": {"type": mine[0], "id": mine[1]},
                "action": {"type": "Action", "id": action},
                "resource": {"type": uid[0], "id": uid[1]},
                "context": entities.context_text(context, known.fields),
            }
            somebody = entities.principal_text(principal, known.attributes)
            thing = entities.resource_text(resource, known.attributes)
            return cedarpy.is_authorized(asked, policies, f"[{somebody},{known.entity},{thing}]")
        except ValueError as error:
            return error

    def _conclude(
        self,
        permits: list[str],
        forbids: list[str],
        erring: list[str],
        told: cedarpy.AuthzResult | ValueError | None,
    ) -> Decision:
        """One decision from both: a forbid outweighs every permit."""
        if isinstance(told, ValueError):  # what cannot be asked is denied, and counted as nobody's error
            permits, forbids, erring = [], [], [_erring(str(told))]
        elif told is not None:
            diagnostics = told.diagnostics
            (permits if told.allowed else forbids).extend(diagnostics.reasons)
            erring.extend([_erring(text) for text in diagnostics.errors])
        for id_ in erring:
            self.errors[id_] = self.errors.get(id_, 0) + 1
        return Decision(
            allowed=bool(permits) and not forbids,
            policies=tuple(sorted(forbids or permits)),
            errors=tuple(sorted(erring)) if erring else (),
        )

    def _set(self, ids: tuple[str, ...]) -> cedarpy.PolicySet:
        found = self._sets.get(ids)
        if found is None:
            if len(self._sets) >= SETS_MAX:
                self._sets.clear()
            found = self._sets[ids] = self._build(ids)
        return found

    def _build(self, ids: Sequence[str]) -> cedarpy.PolicySet:
        return cedarpy.PolicySet.from_json_str(_text_of({id_: self._policies[id_] for id_ in ids}))

    def whole(self) -> cedarpy.PolicySet:
        """Every policy in one set, which takes its time: for proofs and comparisons."""
        return self._build([rule.id for rule in self._rules])

    def _take(self, text: str) -> None:
        """Policies by @id. Raises `Refused`: a set is taken whole or not at all."""
        try:
            found = msgspec.json.decode(cedarpy.policies_to_json_str(text), type=_Set)
        except ValueError as error:
            raise Refused("policy_invalid", f"The policies cannot be read: {error}.") from error
        if found.templates:
            raise Refused("policy_invalid", "Templates (?principal, ?resource) are not taken.")
        for raw in found.static.values():
            policy = msgspec.json.decode(raw)
            id_ = policy.get("annotations", {}).get("id") or ""
            if not id_ or id_ in self._policies:
                what = f"Two policies have the id '{id_}'." if id_ else "A policy has no @id."
                raise Refused("policy_invalid", what)
            self._policies[id_] = raw
            condition = compile_conditions(policy.get("conditions", ()))
            if condition is None:
                self._try(id_)
            self._rules.append(Rule(head_of(id_, policy), condition))

    def _try(self, id_: str) -> None:
        """Cedar writes deeper expressions than it reads: what it must be asked about has to be readable."""
        try:
            self._build([id_])
        except ValueError as error:
            raise Refused("policy_invalid", f"The policy '{id_}' is nested too deeply.") from error

    def _sort_out(self, action: str) -> Concerns:
        groups = frozenset((action, *groups_of(action)))
        rules = [rule for rule in self._rules if concerns(rule.head, action, groups)]
        table: dict[tuple[Uid | None, Uid | None], list[Rule]] = {}
        for rule in rules:
            table.setdefault((rule.head.principal.within, rule.head.resource.within), []).append(rule)
        rest = [rule.id for rule in rules if rule.condition is None]
        return Concerns(
            heads=tuple([rule.head for rule in rules]),
            fields=frozenset(field for rule in rules for field in rule.head.fields),
            attributes=frozenset(name for rule in rules for name in rule.head.attributes),
            forbids=not all(rule.permits for rule in rules),
            uid=("Action", action),
            thing=action_thing(action, groups),
            entity=entities.action_text(action),
            names=frozenset(somebody for somebody, _ in table if somebody is not None),
            table={named: tuple(found) for named, found in table.items()},
            # A policy whose head does not match says nothing, so a few too many change nothing.
            together=self._build(rest) if 0 < len(rest) <= TOGETHER_MAX else None,
        )


def _found(known: Concerns, mine: Uid, ancestors: frozenset[Uid], uid: Uid) -> list[Rule]:
    """The policies whose heads match."""
    return [
        rule
        for somebody in (None, *(ancestors & known.names))
        for named in (None, uid)
        for rule in known.table.get((somebody, named), ())
        if (not rule.principal_type or rule.principal_type == mine[0])
        and (not rule.resource_type or rule.resource_type == uid[0])
        and (not rule.exact or somebody == mine)
    ]


def _judge(rules: Sequence[Rule], facts: Facts) -> tuple[list[str], list[str], list[str], list[str]]:
    """Who permits, who forbids, who cannot be evaluated, and what only Cedar can tell."""
    permits: list[str] = []
    forbids: list[str] = []
    erring: list[str] = []
    rest: list[str] = []
    for rule in rules:
        condition = rule.condition
        if condition is None:
            rest.append(rule.id)
            continue
        try:
            if condition(facts):
                (permits if rule.permits else forbids).append(rule.id)
        except CannotEvaluateError:
            erring.append(rule.id)
    return permits, forbids, erring, rest


def _erring(text: str) -> str:
    found = _NAMED.search(text)
    return found.group(1) if found is not None else "request"


def _text_of(policies: Mapping[str, msgspec.Raw]) -> str:
    document = {"templates": {}, "staticPolicies": policies, "templateLinks": []}
    return msgspec.json.encode(document).decode()
