"""What would permit it: the policies nearest to saying yes, where nothing did.

Pure. It looks at heads only; whether conditions would hold is known to Cedar alone, which has said that they do not.
"""

from __future__ import annotations

from collections.abc import Sequence

from andon.kernel.access import Resource
from andon.kernel.principals import Principal
from andon.security.policy.engine import Engine
from andon.security.policy.entities import ancestors_of, resource_uid, uid_of
from andon.security.policy.heads import Scope, within

NEAREST_MAX = 10


def nearest(
    engine: Engine, principal: Principal, action: str, resource: Resource
) -> Sequence[tuple[str, str]]:
    """Policies that permit this action, each with what it asks for that is not so; the nearest first."""
    mine, thing = uid_of(principal), resource_uid(resource)
    found = []
    for head in engine.concerns(action).heads:
        if head.effect != "permit":
            continue
        missing = []
        if not within(head.principal, mine, ancestors_of(principal)):
            missing.append(f"the principal to be {_words(head.principal)}")
        if not within(head.resource, thing, frozenset((thing,))):
            missing.append(f"the resource to be {_words(head.resource)}")
        why = "It asks for " + " and ".join(missing) if missing else "Its conditions do not hold"
        found.append((len(missing), head.id, why + "."))
    found.sort()
    return [(id_, why) for _, id_, why in found[:NEAREST_MAX]]


def _words(scope: Scope) -> str:
    named = "" if scope.within is None else f'{scope.within[0]}::"{scope.within[1]}"'
    if scope.type:
        return f"a {scope.type}" + (f" in {named}" if named else "")
    return named if scope.exact else f"in {named}"
