"""From a rollout to its entry in the snapshot: gates with every default explicit and their shares of alpha.

Called by `endpoints/compilation.py`, and by `explanation.py` so that people read what is in force. Pure.
"""

from __future__ import annotations

from andon.kernel.snapshot import GateEntry, PinEntry, RolloutEntry
from andon.lifecycle.rollouts.model import Course
from andon.lifecycle.rollouts.strategy import PinSpec, StickySpec, StrategySpec

# What an error rate weighs in the division of alpha, and what a latency does; measured in docs/decisions/0005.
_PARTS = {
    "errorRate": 4.0,
    "latency": 1.0,
    "quality": 4.0,
    "calibration": 1.0,
    "drift": 1.0,
    "robustness": 1.0,
}
_MARGINS = {
    "errorRate": 0.0,
    "latency": 1.25,
    "quality": 0.0,
    "calibration": 0.0,
    "drift": 0.05,
    "robustness": 0.05,
}
AT_GATEWAY = ("errorRate", "latency")  # the others need labels or the ledger: the observer judges them
_ALPHA_MIN = 1e-12  # the checks refuse shares that leave nothing; a logarithm must still exist


def gate_entries(strategy: StrategySpec, gateways: int) -> tuple[GateEntry, ...]:
    """The gates with their shares of alpha for one of so many gateways; the shares of all add up to alpha."""
    gates = strategy.in_force
    asked = sum(gate.alpha_share for gate in gates if gate.alpha_share is not None)
    parts = sum(_PARTS[gate.metric] for gate in gates if gate.alpha_share is None)
    entries = []
    for gate in gates:
        share = gate.alpha_share
        if share is None:
            share = max(0.0, 1.0 - asked) * _PARTS[gate.metric] / parts
        entries.append(
            GateEntry(
                name=gate.name,
                metric=gate.metric,
                alpha=max(strategy.alpha * share / max(1, gateways), _ALPHA_MIN),
                margin=_MARGINS[gate.metric] if gate.margin is None else gate.margin,
                direction=gate.direction,
                minimum=gate.minimum,
                on_breach=gate.on_breach,
                on_missing_data=gate.on_missing_data,
                quantiles=gate.quantiles,
                slack_ms=gate.slack_ms if gate.metric == "latency" else 0.0,
                at_least=gate.at_least if gate.metric == "robustness" else None,
            )
        )
    return tuple(entries)


def compile_rollout(course: Course, gateways: int) -> RolloutEntry:
    """The entry of a rollout under way, for one of so many gateways."""
    strategy, status = course.spec.strategy, course.status
    sticky = StickySpec()
    pins: tuple[PinSpec, ...] = ()
    shadow = 0.0
    if strategy.type == "canary":
        sticky, pins, shadow = strategy.canary.sticky, strategy.canary.pins, strategy.canary.shadow_percent
    elif strategy.type == "blueGreen":
        pins, shadow = strategy.blue_green.pins, strategy.blue_green.shadow_percent
    return RolloutEntry(
        id=course.name,
        generation=status.generation,
        overrules=status.overrules,
        stable=course.spec.source.id,
        canary=course.spec.target.id,
        gates=tuple(gate for gate in gate_entries(strategy, gateways) if gate.metric in AT_GATEWAY),
        sticky_header=sticky.header if sticky.by == "header" else "",
        sticky_key=sticky.by == "key",
        salt=course.name,
        pins=tuple(
            PinEntry(arm=pin.arm, header=pin.header, value=pin.value, cohort=pin.cohort) for pin in pins
        ),
        shadow_share=round(shadow * 100),
    )
