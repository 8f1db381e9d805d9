"""A policy set in force: parsed once, cut into slices by the heads of its policies, asked without limit.

Made from the text of a snapshot or of the store by whoever must decide. A decision asks Cedar with the few policies
that concern it, in up to three slices: those that name no resource, those that name this one, and those that name both
it and a principal. So there are as many slices as principals' roles and resources, not as their product, and each is
parsed once. Must never raise for what it is asked about, nor decide otherwise than the whole set would.
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

SLICES_MAX = 4096  # parsed at one time; at the limit all are forgotten and parsed again as they are needed
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
    forbids: bool  # whether anything forbids this action to anyone
    groups: frozenset[str]  # the action itself and what it is in
    entity: str  # the action's own
    broad: tuple[Head, ...]  # those that name no resource
    broad_names: frozenset[Uid]  # the principals, roles and teams that they name
    of_resource: Mapping[Uid, tuple[Head, ...]]  # those that name it and nobody
    of_both: Mapping[Uid, tuple[Head, ...]]  # those that name it and somebody


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
        self._slices: dict[tuple[Any, ...], cedarpy.PolicySet | None] = {}
        self._principals: dict[Principal, _Known] = {}

    @property
    def slices(self) -> int:
        """How many are parsed now."""
        return len(self._slices)

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
        known = self._known(principal)
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
        text = f"[{known.entity},{concerns.entity},{entities.resource_text(resource)}]"
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
            errors.update(self._erring(text) for text in diagnostics.errors)
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

    def _known(self, principal: Principal) -> _Known:
        found = self._principals.get(principal)
        if found is None:
            if len(self._principals) >= PRINCIPALS_MAX:
                self._principals.clear()
            found = _Known(
                entities.uid_of(principal),
                entities.ancestors_of(principal),
                entities.principal_text(principal),
            )
            self._principals[principal] = found
        return found

    def _slices_of(
        self, concerns: Concerns, action: str, known: _Known, resource: Uid
    ) -> list[cedarpy.PolicySet]:
        """The policies that could say anything. Equal keys have equal slices."""
        type_ = known.uid[0]
        key: tuple[Any, ...] = (action, type_, resource[0], known.ancestors & concerns.broad_names)
        found = [self._slice(key, concerns, concerns.broad, known, resource)]
        heads = concerns.of_resource.get(resource)
        if heads is not None:
            found.append(self._slice((action, type_, resource), concerns, heads, known, resource))
        heads = concerns.of_both.get(resource)
        if heads is not None:
            named = frozenset(head.principal.within for head in heads)
            mine = known.ancestors & named
            if mine:
                found.append(self._slice((action, type_, resource, mine), concerns, heads, known, resource))
        return [slice_ for slice_ in found if slice_ is not None]

    def _slice(
        self, key: tuple[Any, ...], concerns: Concerns, heads: Sequence[Head], known: _Known, resource: Uid
    ) -> cedarpy.PolicySet | None:
        try:
            return self._slices[key]
        except KeyError:
            pass
        asked = Asked(
            actions=concerns.groups,
            principal=known.uid,
            principal_ancestors=known.ancestors,
            resource=resource,
        )
        wanted = [head.id for head in heads if matches(head, asked)]
        built = self._build(wanted) if wanted else None
        if len(self._slices) >= SLICES_MAX:
            self._slices.clear()
        self._slices[key] = built
        return built

    def _build(self, ids: Sequence[str]) -> cedarpy.PolicySet:
        return cedarpy.PolicySet.from_json_str(_text_of({id_: self._policies[id_] for id_ in ids}))

    def whole(self) -> cedarpy.PolicySet:
        """Every policy in one set, which takes its time: for proofs and comparisons."""
        return self._build([head.id for head in self.heads])


def _sort_out(action: str, every: Sequence[Head]) -> Concerns:
    groups = frozenset((action, *groups_of(action)))
    heads = [head for head in every if head.actions is None or not head.actions.isdisjoint(groups)]
    of_resource: dict[Uid, list[Head]] = {}
    of_both: dict[Uid, list[Head]] = {}
    broad = []
    for head in heads:
        resource = head.resource.within
        if resource is None:
            broad.append(head)
        else:
            (of_resource if head.principal.within is None else of_both).setdefault(resource, []).append(head)
    return Concerns(
        heads=tuple(heads),
        fields=frozenset(field for head in heads for field in head.fields),
        forbids=any(head.effect == "forbid" for head in heads),
        groups=groups,
        entity=entities.action_text(action),
        broad=tuple(broad),
        broad_names=frozenset(head.principal.within for head in broad if head.principal.within is not None),
        of_resource={uid: tuple(found) for uid, found in of_resource.items()},
        of_both={uid: tuple(found) for uid, found in of_both.items()},
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
