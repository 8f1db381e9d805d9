"""Plans: what a controller or an `apply` is about to do, made by pure rules and journaled before any effect.

A plan is frozen and says why, step by step, so that a person can read it and a veto can refuse it.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One idempotent act of a plan."""

    verb: str  # "replica.start", "rollout.advance"
    subject: str  # "Rollout/credit-3"
    reason: str
    data: dict[str, Any] = {}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Steps in order, bound to the generation of what was observed."""

    controller: str
    subject: str
    generation: int
    steps: tuple[Step, ...] = ()
    wake_after_s: float | None = None  # when to look again without a signal
