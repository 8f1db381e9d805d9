"""The shape of every controller, as the driver runs it: observe → plan → journal → veto → act → guarded apply.

A controller is woken by period or by signal; a signal carries no data. Retrying is the next turn, never a loop inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from andon.kernel.decision import Plan, Step
from andon.store.model import Lease, Unit

Facts = TypeVar("Facts")


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a turn: the new status, written only where generation and lease still match."""

    status: dict[str, Any] | None = None
    kind: str = ""
    name: str = ""
    generation: int = 0


class Controller(Protocol[Facts]):
    """One reconciler. `plan` and `veto` are pure; `act` is idempotent and does one step."""

    name: str
    period_s: float

    def subjects(self, unit: Unit) -> Sequence[str]:
        """What there is to look after, as "Kind/name"; one lease and one turn each."""
        ...

    async def observe(self, subject: str) -> Facts | None:
        """Everything the decision needs, frozen; None if the subject is gone."""
        ...

    def plan(self, facts: Facts, now_ns: int) -> Plan:
        """What to do and why. No clock, no chance, no I/O."""
        ...

    def veto(self, facts: Facts, plan: Plan) -> str | None:
        """The invariant that the plan would break, or None."""
        ...

    async def act(self, facts: Facts, step: Step, lease: Lease) -> None:
        """Do one step. Raises `Transient` to be run again later, `Permanent` to be parked with an event."""
        ...

    async def conclude(self, facts: Facts, plan: Plan, lease: Lease) -> Sequence[Result]:
        """Statuses to write after all steps are done."""
        ...
