"""May this principal do this: one question to the authority for each request, and one record of what it said.

Called by `web/application` once it is known who calls, before anything of the request is read. The answer to a denial
says what was asked and nothing about how near it was to being allowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from andon.kernel.access import OPEN, Access, Authority, Decision, Records, Resource
from andon.kernel.clock import Clock
from andon.kernel.errors import Refused
from andon.kernel.principals import Principal

Grants = Mapping[str, Sequence[str]]  # role -> actions, or families of them such as "factory.*"


class RoleAuthority:
    """An `Authority` that knows roles and actions only: for tests of what stands before and behind it."""

    def __init__(self, grants: Grants) -> None:
        self._grants = MappingProxyType({role: frozenset(actions) for role, actions in grants.items()})

    def decide(
        self, principal: Principal, action: str, resource: Resource, context: Mapping[str, Any]
    ) -> Decision:
        """Allowed where one of the principal's roles names the action or its family."""
        family = action.partition(".")[0] + ".*"
        for role in principal.roles:
            granted = self._grants.get(role, frozenset())
            if action in granted or family in granted:
                return Decision(allowed=True, policies=(f"role-{role}",))
        return Decision(allowed=False)


class Facts(Protocol):
    """What is known of a resource beyond its name, asked before the authority is."""

    async def gather(
        self, principal: Principal, action: str, resource: Resource
    ) -> tuple[Resource, Mapping[str, Any]]:
        """The resource with its attributes, and what else the context holds; raises `Transient` where the store,
        and so the authority's own knowledge, is too old to decide by."""
        ...


class Authoriser:
    """Asks the authority and remembers the answer."""

    def __init__(
        self,
        authority: Authority,
        clock: Clock,
        process: str,
        records: Records | None = None,
        facts: Facts | None = None,
    ) -> None:
        self._authority = authority
        self._clock = clock
        self._process = process
        self._records = records  # None = decisions are not remembered here
        self._facts = facts

    async def check(
        self,
        id_: str,
        principal: Principal,
        action: str,
        resource: Resource,
        address: str,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Return if the principal may; raises Refused 403, or Transient where the decision cannot be remembered."""
        if action == OPEN:
            return
        context: dict[str, Any] = {"address": address, "hour": self._clock.now_ns() // 3_600_000_000_000 % 24}
        if self._facts is not None:
            resource, known = await self._facts.gather(principal, action, resource)
            context |= known
        decision = self._authority.decide(principal, action, resource, context | dict(more or {}))
        if self._records is not None:
            await self._records.record(
                Access(
                    id=id_,
                    at_ns=self._clock.now_ns(),
                    principal=principal.name,
                    action=action,
                    resource=f"{resource.kind}/{resource.name}" if resource.name else resource.kind,
                    allowed=decision.allowed,
                    policies=decision.policies,
                    address=address,
                    process=self._process,
                )
            )
        if not decision.allowed:
            raise Refused(
                "action_forbidden",
                f"{principal.name} may not do {action}"
                + (f" on {resource.kind}/{resource.name}." if resource.name else "."),
                hint="Ask the owner of the factory, or use the key of its administrator, in .andon/admin.key.",
                status=403,
            )
