"""What `andon explain rollout NAME` says: where it stands, why, and the verdict of every gate, as data.

Made from the stored status, whose readings come from `gates.readings`, the function that decides. Pure.
"""

from __future__ import annotations

import msgspec

from andon.kernel.reports import Cut, GateReading
from andon.lifecycle.rollouts.compilation import gate_entries
from andon.lifecycle.rollouts.model import ENDED, Course
from andon.lifecycle.rollouts.rules import judgement
from andon.lifecycle.rollouts.strategy import seconds_of


class GateExplanation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One gate as it is in force, defaults filled in, and what it read last."""

    name: str
    metric: str
    margin: float
    direction: str
    alpha: float
    on_breach: str
    on_missing_data: str
    reading: GateReading | None


class Explanation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A rollout for a person to read."""

    name: str
    endpoint: str
    source: str
    target: str
    strategy: str
    phase: str
    step: int  # counted from 1; 0 before the first
    steps: int
    weight: int  # basis points of the new release
    generation: int
    verdict: str
    reason: str
    seconds: float  # since it began, or that it took
    deadline_s: float
    canary_requests: int
    stable_requests: int
    would: str  # "go", "hold" or "abort", were the step to end now
    because: str
    gates: tuple[GateExplanation, ...]
    cut: Cut | None


def explain(course: Course, now_ns: int) -> Explanation:
    """Everything that the decision rests on."""
    spec, status = course.spec, course.status
    readings = {reading.gate: reading for reading in status.readings}
    would, because = judgement(spec.strategy.in_force, status.readings)
    until = status.ended_ns or now_ns
    steps = len(spec.strategy.canary.steps) if spec.strategy.type == "canary" else 1
    ended = status.phase in ENDED
    return Explanation(
        name=course.name,
        endpoint=spec.endpoint,
        source=spec.source.id,
        target=spec.target.id,
        strategy=spec.strategy.type,
        phase=status.phase,
        step=0 if status.phase == "Pending" else status.step + 1,
        steps=steps,
        weight=status.weight,
        generation=status.generation,
        verdict=status.verdict,
        reason=status.reason,
        seconds=max(0.0, (until - status.started_ns) / 1e9),
        deadline_s=seconds_of(spec.strategy.deadline),
        canary_requests=sum(said.canary_requests for said in status.gateways.values()),
        stable_requests=sum(said.stable_requests for said in status.gateways.values()),
        would="" if ended else would,
        because="" if ended else because,
        gates=tuple(
            GateExplanation(
                name=gate.name,
                metric=gate.metric,
                margin=gate.margin,
                direction=gate.direction,
                alpha=gate.alpha,
                on_breach=gate.on_breach,
                on_missing_data=gate.on_missing_data,
                reading=readings.get(gate.name),
            )
            for gate in gate_entries(spec.strategy, 1)
        ),
        cut=status.cut,
    )
