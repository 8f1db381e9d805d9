"""A policy set in force: parsed once, cut into slices by the heads of its policies, asked without limit.

Made from the text of a snapshot or of the store by whoever must decide. A decision asks Cedar with the few policies
that concern it, in slices by what their heads name: a role or team, a resource, both, or nothing. There are as many of
these as there are names, not as there are combinations, and each is parsed once; combinations that come again are put
together into one. Must never raise for what it is asked about, nor decide otherwise than the whole set would.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import cedarpy
import msgspec

from andon.kernel.access import Decision, Resource
from andon.kernel.errors import Refused
from andon.kernel.principals import Principal
from andon.security.policy import entities
from andon.security.policy.heads import Asked, Head, Uid, head_of, matches
from andon.security.policy.vocabulary import groups_of

SLICES_MAX = 8192  # parsed at one time; at the limit all are forgotten and parsed again as they are needed
JOINED_AFTER = 4  # how often a combination comes before its slices are put together
JOINED_MAX = 64  # policies in one slice put together: beyond, parsing takes longer than it saves
PRINCIPALS_MAX = 10_000  # whose entities are remembered; likewise
_NAMED = re.compile(r"policy `([^`]*)`")
_DENIED: Final = Decision(allowed=False)


class _Set(msgspec.Struct):
    """Cedar's JSON form of a policy set; each policy stays text until it is needed."""

    static: dict[str, msgspec.Raw] = msgspec.field(name="staticPolicies")
    templates: dict[str, msgspec.Raw] = {}


class Concerns(msgspec.Struct, frozen=True, kw_only=True):
    """What the policies of one action look at."""

    heads: tuple[Head, ...]
    fields: frozenset[str]  # of the context
    attributes: frozenset[str]  # of principals and resources
    forbids: bool  # whether anything forbids this action to anyone
    groups: frozenset[str]  # the action itself and what it is in
    entity: str  # the action's own
    resources: frozenset[Uid]  # that heads name
    names: frozenset[Uid]  # the principals, roles and teams that heads name
    table: Mapping[
        tuple[Uid | None, Uid | None], tuple[Head, ...]
    ]  # heads by the somebody and resource they name


class _Known(msgspec.Struct, frozen=True):
    """A principal, prepared."""

    uid: Uid
    ancestors: frozenset[Uid]
    entity: str


class Engine:
    """One policy set. `fields` and `concerns` say what a caller must know to ask or to remember an answer."""

    def __init__(self, text: str) -> None:
        """Raises `Refused` policy_invalid for text that is no policy set."""
        self._policies, self.heads = _read(text)
        self.errors: dict[str, int] = {}  # by policy: how often it could not be evaluated
        self.asked = 0
        self._concerns: dict[str, Concerns] = {}
        self._slices: dict[tuple[Any, ...], tuple[cedarpy.PolicySet, ...]] = {}
        self._sets: dict[tuple[str, ...], cedarpy.PolicySet] = {}  # by the policies in them
        self._seen: dict[
            tuple[Any, ...], int
        ] = {}  # how often a combination came that has no slice of its own
        self._principals: dict[tuple[Principal, frozenset[str]], _Known] = {}

    @property
    def slices(self) -> int:
        """How many are parsed now."""
        return len(self._sets)

    def concerns(self, action: str) -> Concerns:
        """What the policies of an action look at; the actions are those of the vocabulary, so this stays small."""
        found = self._concerns.get(action)
        if found is None:
            found = self._concerns[action] = _sort_out(action, self.heads)
        return found

    def decide(
        self, principal: Principal, action: str, resource: Resource, context: Mapping[str, Any]
    ) -> Decision:
        """The decision, with the ids of the policies that determined it."""
        concerns = self.concerns(action)
        known = self._known(principal, concerns.attributes)
        uid = entities.resource_uid(resource)
        slices = self._slices_of(concerns, action, known, uid)
        if not slices:
            return _DENIED
        self.asked += 1
        request = {
            "principal": {"type": known.uid[0], "id": known.uid[1]},
            "action": {"type": "Action", "id": action},
            "resource": {"type": uid[0], "id": uid[1]},
            "context": entities.context_text(context, concerns.fields) if concerns.fields else "{}",
        }
        text = f"[{known.entity},{concerns.entity},{entities.resource_text(resource, concerns.attributes)}]"
        try:
            if len(slices) == 1:
                return self._join([cedarpy.is_authorized(request, slices[0], text)])
            told = cedarpy.Entities.from_json_str(text)
            return self._join([cedarpy.is_authorized(request, slice_, told) for slice_ in slices])
        except (
            ValueError
        ) as error:  # what cannot be asked is denied, and counted as an error of nobody's policy
            return Decision(allowed=False, errors=(self._erring(str(error)),))

    def _join(self, results: Sequence[cedarpy.AuthzResult]) -> Decision:
        """One decision from those of slices: a denial with reasons is a forbid, which outweighs every permit."""
        permits: list[str] = []
        forbids: list[str] = []
        errors: set[str] = set()
        for result in results:
            diagnostics = result.diagnostics
            (permits if result.allowed else forbids).extend(diagnostics.reasons)
            for text in diagnostics.errors:
                errors.add(self._erring(text))
        return Decision(
            allowed=bool(permits) and not forbids,
            policies=tuple(sorted(forbids or permits)),
            errors=tuple(sorted(errors)) if errors else (),
        )

    def _erring(self, text: str) -> str:
        found = _NAMED.search(text)
        id_ = found.group(1) if found is not None else "request"
        self.errors[id_] = self.errors.get(id_, 0) + 1
        return id_

    def _known(self, principal: Principal, attributes: frozenset[str]) -> _Known:
        key = (principal, attributes)
        found = self._principals.get(key)
        if found is None:
            if len(self._principals) >= PRINCIPALS_MAX:
                self._principals.clear()
            found = self._principals[key] = _Known(
                entities.uid_of(principal),
                entities.ancestors_of(principal),
                entities.principal_text(principal, attributes),
            )
        return found

    def _slices_of(
        self, concerns: Concerns, action: str, known: _Known, resource: Uid
    ) -> Sequence[cedarpy.PolicySet]:
        """The policies that could say anything. Equal keys have equal slices."""
        mine = known.ancestors & concerns.names
        key = (action, known.uid[0], resource if resource in concerns.resources else resource[0], mine)
        found = self._slices.get(key)
        if found is not None:
            return found
        groups = self._groups(concerns, known, resource, mine)
        if len(groups) < 2:
            return self._keep(key, tuple(self._set(ids) for ids in groups))
        seen = self._seen.get(key, 0) + 1
        total = sum(len(ids) for ids in groups)
        if seen >= JOINED_AFTER and total <= JOINED_MAX:
            self._seen.pop(key, None)
            return self._keep(key, (self._build([id_ for ids in groups for id_ in ids]),))
        if len(self._seen) >= SLICES_MAX:
            self._seen.clear()
        self._seen[key] = seen
        return [self._set(ids) for ids in groups]

    def _groups(
        self, concerns: Concerns, known: _Known, resource: Uid, mine: frozenset[Uid]
    ) -> list[tuple[str, ...]]:
        """The ids of the policies that concern a request, by what they name."""
        asked = Asked(
            actions=concerns.groups,
            principal=known.uid,
            principal_ancestors=known.ancestors,
            resource=resource,
        )
        groups = []
        for somebody in (None, *mine):
            for named in (None, resource):
                heads = concerns.table.get((somebody, named))
                if heads is not None:
                    ids = tuple([head.id for head in heads if matches(head, asked)])
                    if ids:
                        groups.append(ids)
        return groups

    def _keep(
        self, key: tuple[Any, ...], slices: tuple[cedarpy.PolicySet, ...]
    ) -> tuple[cedarpy.PolicySet, ...]:
        if len(self._slices) >= SLICES_MAX:
            self._slices.clear()
        self._slices[key] = slices
        return slices

    def _set(self, ids: tuple[str, ...]) -> cedarpy.PolicySet:
        found = self._sets.get(ids)
        if found is None:
            if len(self._sets) >= SLICES_MAX:
                self._sets.clear()
            found = self._sets[ids] = self._build(ids)
        return found

    def _build(self, ids: Sequence[str]) -> cedarpy.PolicySet:
        return cedarpy.PolicySet.from_json_str(_text_of({id_: self._policies[id_] for id_ in ids}))

    def whole(self) -> cedarpy.PolicySet:
        """Every policy in one set, which takes its time: for proofs and comparisons."""
        return self._build([head.id for head in self.heads])


def _sort_out(action: str, every: Sequence[Head]) -> Concerns:
    groups = frozenset((action, *groups_of(action)))
    heads = [head for head in every if head.actions is None or not head.actions.isdisjoint(groups)]
    table: dict[tuple[Uid | None, Uid | None], list[Head]] = {}
    for head in heads:
        table.setdefault((head.principal.within, head.resource.within), []).append(head)
    return Concerns(
        heads=tuple(heads),
        fields=frozenset(field for head in heads for field in head.fields),
        attributes=frozenset(name for head in heads for name in head.attributes),
        forbids=any(head.effect == "forbid" for head in heads),
        groups=groups,
        entity=entities.action_text(action),
        names=frozenset(somebody for somebody, _ in table if somebody is not None),
        resources=frozenset(named for _, named in table if named is not None),
        table={named: tuple(found) for named, found in table.items()},
    )


def _text_of(policies: Mapping[str, msgspec.Raw]) -> str:
    document = {"templates": {}, "staticPolicies": policies, "templateLinks": []}
    return msgspec.json.encode(document).decode()


def _read(text: str) -> tuple[dict[str, msgspec.Raw], tuple[Head, ...]]:
    """Policies and heads by @id. Raises `Refused`: a set is taken whole or not at all."""
    try:
        found = msgspec.json.decode(cedarpy.policies_to_json_str(text), type=_Set)
    except ValueError as error:
        raise Refused("policy_invalid", f"The policies cannot be read: {error}.") from error
    if found.templates:
        raise Refused("policy_invalid", "Templates (?principal, ?resource) are not taken.")
    policies: dict[str, msgspec.Raw] = {}
    heads = []
    for raw in found.static.values():
        policy = msgspec.json.decode(raw)
        id_ = policy.get("annotations", {}).get("id") or ""
        if not id_ or id_ in policies:
            what = f"Two policies have the id '{id_}'." if id_ else "A policy has no @id."
            raise Refused("policy_invalid", what)
        policies[id_] = raw
        heads.append(head_of(id_, policy))
    return policies, tuple(heads)
