"""Keeps the control database bounded: the journal, revisions and forgotten leases have declared limits.

A controller like any other, run by the driver; trims in one short unit of work each time. The outbox bounds itself:
it refuses what does not fit and buries what cannot be delivered.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from andon.control.controller import Result
from andon.kernel.clock import Clock
from andon.kernel.decision import Plan, Step
from andon.store.model import Lease, Store, Unit

SUBJECT = "Factory/journal"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much is kept."""

    events: int = 100_000
    events_once: int = 100_000  # those that may happen only once, counted on their own
    revisions: int = 1000
    leases_s: float = 86_400.0  # how long an expired lease is remembered


class Retention:
    """Forgets the oldest lines of the journal and the oldest revisions."""

    name = "retention"

    def __init__(self, store: Store, clock: Clock, limits: Limits, period_s: float = 600.0) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self.period_s = period_s

    def subjects(self, unit: Unit) -> Sequence[str]:
        """One: the database itself."""
        return (SUBJECT,)

    async def observe(self, subject: str) -> int | None:
        """How many rows would go is not worth a count: the trim itself finds out."""
        return 0

    def plan(self, facts: int, now_ns: int) -> Plan:
        """No steps: trimming needs no line in the journal that it trims."""
        return Plan(controller=self.name, subject=SUBJECT, generation=0)

    def veto(self, facts: int, plan: Plan) -> str | None:
        """Nothing forbids it."""
        return None

    async def act(self, facts: int, step: Step, lease: Lease) -> None:
        """There are no steps."""

    async def conclude(self, facts: int, plan: Plan, lease: Lease) -> Sequence[Result]:
        """Trim."""
        await self.trim()
        return ()

    async def trim(self) -> int:
        """Forget what is beyond the limits; returns how many rows."""
        limits = self._limits
        before_ns = self._clock.now_ns() - int(limits.leases_s * 1e9)
        return await self._store.transact(
            lambda unit: unit.trim(
                keep_events=limits.events,
                keep_once=limits.events_once,
                keep_revisions=limits.revisions,
                leases_before_ns=before_ns,
            )
        )
