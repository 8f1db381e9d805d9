"""The factory's policies in a process with an admin API: read from the store, in force within a second of a change.

An `Authority` and the `Facts` that it is asked with, for control and observer. Where the store does not answer, the
last policies stay in force; where there were none yet, nothing is decided. Must never drop a policy that it cannot
read: then only the administrator may do anything, until it is mended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog

from andon.kernel.access import Decision, Resource
from andon.kernel.clock import Clock
from andon.kernel.errors import Refused, Transient
from andon.kernel.principals import Principal
from andon.kernel.snapshot import PolicyEntry
from andon.security.policy.approvals import APPROVAL, ApprovalSpec, approvers_of, digest_of
from andon.security.policy.describing import describe
from andon.security.policy.engine import Engine
from andon.security.policy.model import POLICY, entry_of, text_of
from andon.security.policy.text import built_in, statements
from andon.store.model import Record, Store, Unit

FRESH_S = 1.0  # how soon a change by another process is in force here
APPROVED_ACTIONS = ("release.promote", "release.resume", "factory.apply")

_logger = structlog.get_logger("andon.policies")


class PolicyBook:
    """The policies in force. `changed` marks them as old, so that the next question reads them again."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._read_at = float("-inf")
        self._dirty = False
        self._written: tuple[Record, ...] | None = None
        self._told: set[str] = set()  # policies whose errors have been logged, of this set
        self.entry: PolicyEntry | None = None
        self.engine = Engine(text_of(()))
        self.problem = ""
        self.refreshed = 0

    def changed(self) -> None:
        """Something in the store changed."""
        self._dirty = True

    async def refresh(self) -> None:
        """Read the policies if what is known is old. Raises Transient where nothing was ever known."""
        now = self._clock.monotonic()
        if not self._dirty and now - self._read_at < FRESH_S:
            return
        self._dirty = False
        try:
            records = await self._store.transact(lambda unit: tuple(unit.list(POLICY)))
        except Transient:
            self._dirty = True
            if self._written is None:
                raise
            return  # as they were last known: a database that is away changes nothing
        self._read_at = now
        if self._written is None or _texts(records) != _texts(self._written):
            self._written = records
            self._adopt(records)

    def _adopt(self, records: Sequence[Record]) -> None:
        self._told = set()
        self.refreshed += 1
        try:
            self.entry = entry_of(records, "")
            self.engine = Engine(text_of(()) if self.entry is None else self.entry.text)
            self.problem = ""
        except (Refused, msgspec.ValidationError) as error:
            self.problem = str(error)
            self.engine = Engine(_administrator_only())
            _logger.error("policies unreadable, only the administrator may act", reason=self.problem)

    def decide(
        self, principal: Principal, action: str, resource: Resource, context: Mapping[str, Any]
    ) -> Decision:
        """The decision by the policies in force."""
        decision = self.engine.decide(principal, action, resource, context)
        for id_ in decision.errors:
            if id_ not in self._told and len(self._told) < 1000:
                self._told.add(id_)
                _logger.error("policy cannot be evaluated, it permits nothing", policy=id_, action=action)
        return decision

    async def gather(
        self, principal: Principal, action: str, resource: Resource
    ) -> tuple[Resource, Mapping[str, Any]]:
        """What the store knows of the resource, and who has approved; nothing where no policy could ask."""
        await self.refresh()
        context: dict[str, Any] = {"approvals": 0, "approvers": (), "change": ""}
        if self.entry is None or not resource.name or resource.attributes:
            return resource, context
        known = await self._store.transact(lambda unit: _look(unit, resource, action))
        if known.digest:
            context |= self.approval_context(known.approvals, known.digest, principal)
        return known.resource, context

    def approval_context(
        self, approvals: Sequence[ApprovalSpec], digest: str, principal: Principal
    ) -> Mapping[str, Any]:
        """The part of a context that is about approvals."""
        names = approvers_of(approvals, digest, principal, self._clock.now_ns())
        return {"approvals": len(names), "approvers": tuple(names)}


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    resource: Resource
    digest: str = ""
    approvals: tuple[ApprovalSpec, ...] = ()


def _look(unit: Unit, resource: Resource, action: str) -> _Known:
    record = unit.get(resource.kind, resource.name)
    if record is None:
        return _Known(resource=resource)
    full = Resource(kind=resource.kind, name=resource.name, attributes=describe(record, unit.get))
    if action not in APPROVED_ACTIONS:
        return _Known(resource=full)
    return _Known(resource=full, digest=digest_of(record), approvals=approvals_in(unit))


def approvals_in(unit: Unit) -> tuple[ApprovalSpec, ...]:
    """Every approval that is kept."""
    return tuple(msgspec.convert(record.spec, ApprovalSpec) for record in unit.list(APPROVAL))


def _texts(records: Sequence[Record]) -> Sequence[Any]:
    return [(record.name, record.spec) for record in records]


def _administrator_only() -> str:
    return next(one.text for one in statements(built_in()) if one.id == "role-administrator")
