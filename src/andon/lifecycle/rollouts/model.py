"""Where a rollout stands: the status that control keeps, and the facts that its rules decide on.

Written by `reports.py`, `service.py` and the endpoint's controller, each in one unit of work. Frozen.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from andon.kernel.reports import Cut, GateReading
from andon.lifecycle.rollouts.strategy import RolloutSpec

ROLLOUT = "Rollout"
Phase = Literal["Pending", "Progressing", "Paused", "Promoting", "Succeeded", "Aborting", "Aborted"]
ENDED: tuple[Phase, ...] = ("Succeeded", "Aborted")
STOPPED: tuple[Phase, ...] = ("Aborting", "Aborted")


class GatewayProgress(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one gateway last said."""

    at_ns: int
    generation: int
    canary_requests: int
    stable_requests: int
    step_canary_requests: int
    readings: tuple[GateReading, ...]


class RolloutStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where it stands."""

    phase: Phase = "Pending"
    step: int = 0
    generation: int = 1  # grows with every change of routing
    overrules: int = 0  # how often a person resumed it after a cut
    weight: int = 0  # basis points of the new release
    started_ns: int = 0
    step_started_ns: int = 0
    ended_ns: int = 0
    resumed_ns: int = 0
    resume_to: Phase = "Progressing"  # what a pause interrupted
    confirmed: bool = False  # a person said: go on, without waiting for this step's conditions
    retried: bool = False  # a person allowed the aborted release another rollout
    verdict: str = ""
    reason: str = ""
    readings: tuple[GateReading, ...] = ()
    gateways: dict[str, GatewayProgress] = {}
    cut: Cut | None = None


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout as a whole: its name, what was copied at its start, and where it stands."""

    name: str
    spec: RolloutSpec
    status: RolloutStatus


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the new release can serve."""

    ready: bool
    failed: str = ""  # why it never will


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One move of a rollout: the status after it, and the event that tells of it."""

    status: RolloutStatus
    event: str  # "rollout.advanced"
    reason: str


def status_of(raw: dict[str, object]) -> RolloutStatus:
    """The status as stored; an empty one is a rollout that has not been looked at yet."""
    return msgspec.convert(raw, RolloutStatus)
