"""May this principal make each change of this plan: one question for every resource that an apply would touch.

Called by the apply route after it was allowed to apply at all. All changes are allowed or none is made.
"""

from __future__ import annotations

from msgspec.structs import replace

from andon.app.policies import PolicyBook, approvals_in
from andon.control.plan import Action, ChangePlan
from andon.control.resources import record_of
from andon.kernel.access import Resource
from andon.security.policy.describing import describe
from andon.store.model import Store, Unit
from andon.web.authorisation import Authoriser
from andon.web.routes import Call

ACTION = "factory.apply"


class PlanChanges:
    """A `services.Changes` that asks the policies."""

    def __init__(self, store: Store, book: PolicyBook, authoriser: Authoriser) -> None:
        self._store = store
        self._book = book
        self._authoriser = authoriser

    async def check(self, call: Call, plan: ChangePlan) -> None:
        """Return if every change may be made; raises Refused 403 for the first that may not."""
        await self._book.refresh()
        resources, approvals = await self._store.transact(
            lambda unit: ([_resources(unit, action) for action in plan.changes], approvals_in(unit))
        )
        approved = self._book.approval_context(approvals, plan.id, call.principal)
        for action, asked in zip(plan.changes, resources, strict=True):
            context = {**approved, "change": action.verb}
            for resource in asked:
                await self._authoriser.check(call.id, call.principal, ACTION, resource, call.address, context)


def _resources(unit: Unit, action: Action) -> list[Resource]:
    """The resource as it is and as it will be: taking a label away must not get around what it stands for."""
    held = unit.get(action.kind, action.name)
    wanted = None if action.content is None else record_of(action.content)
    if held is not None and wanted is not None and held.spec == wanted.spec:
        wanted = replace(wanted, status=held.status, generation=held.generation)
    found = [describe(record, unit.get) for record in (held, wanted) if record is not None]
    distinct = found[:1] if len(found) == 2 and found[0] == found[1] else found
    return [Resource(kind=action.kind, name=action.name, attributes=one) for one in distinct] or [
        Resource(kind=action.kind, name=action.name)
    ]
