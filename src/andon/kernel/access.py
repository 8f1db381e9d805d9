"""Access: what is asked of a policy, what it decides, and the record that is kept of it.

The port between whoever must know (`web`, the gateway's chain), who decides (`security/policy`) and who remembers
(`security/audit`). Deciding is pure and in memory; remembering may fail, and then the declared mode holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol

import msgspec

from andon.kernel.principals import Principal

OPEN = "open"  # the action of routes that need nobody's permission

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """What is acted upon. The factory itself where an action is about no single thing."""

    kind: str = "Factory"  # a kind of resource: "Endpoint", "Rollout", …
    name: str = ""
    attributes: Mapping[str, Any] = (
        _NOTHING  # what policies may ask of it: text, whole numbers, booleans, sets of text
    )


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Whether it may be, and which policies said so."""

    allowed: bool
    policies: tuple[str, ...] = ()  # ids of those that determined it; empty on a denial = nothing permits it
    errors: tuple[str, ...] = ()  # policies that could not be evaluated; they never permit


class Authority(Protocol):
    """Decides. Memory only; never raises for what it is asked about."""

    def decide(
        self, principal: Principal, action: str, resource: Resource, context: Mapping[str, Any]
    ) -> Decision:
        """The decision on one action. `context` holds facts of this request, in the types of attributes."""
        ...


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """One decision of the admin plane as it is remembered; those of the data plane stand in the ledger's rows."""

    id: str  # of the request
    at_ns: int
    principal: str
    action: str
    resource: str  # "Kind/name", "Factory"
    allowed: bool
    policies: tuple[str, ...] = ()
    address: str = ""  # where it came from
    process: str = ""  # "control", "observer"


class Records(Protocol):
    """Where decisions are remembered."""

    async def record(self, access: Access) -> None:
        """Return once it is kept; raises Transient where it cannot be and the declared mode is to fail closed."""
        ...
