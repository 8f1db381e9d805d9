"""From an endpoint and its rollout to their entry in the snapshot, every default made explicit.

Called by `app`'s compiler, which knows where targets come from. Pure; the gateway sees nothing of this room but this.
"""

from __future__ import annotations

from collections.abc import Callable

from andon.kernel.snapshot import (
    EndpointEntry,
    GateEntry,
    PinEntry,
    ReleaseEntry,
    RolloutEntry,
    Signature,
    TargetEntry,
)
from andon.kernel.units import duration_s, size_bytes
from andon.lifecycle.endpoints.model import PinSpec, ReleaseSpec, StickySpec, StrategySpec
from andon.lifecycle.endpoints.rules import Course, EndpointFacts, standings
from andon.lifecycle.rollouts.model import STOPPED

# What an error rate weighs in the division of alpha, and what a latency does; measured in docs/decisions/0005.
_PARTS = {"errorRate": 4.0, "latency": 1.0}
_MARGINS = {"errorRate": 0.0, "latency": 1.25}
_ALPHA_MIN = 1e-12  # the checks refuse shares that leave nothing; a logarithm must still exist

# Where a release can be reached now, and what its model takes and gives.
Targets = Callable[[ReleaseSpec], tuple[tuple[TargetEntry, ...], Signature | None]]


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
            )
        )
    return tuple(entries)


def compile_endpoint(facts: EndpointFacts, targets: Targets, gateways: int = 1) -> EndpointEntry:
    """The entry of one endpoint. Without a stable release it has none, and the gateway says so."""
    spec, status, latest = facts.spec, facts.status, facts.latest
    course = latest if latest is not None and latest.spec.number > status.absorbed else None
    if course is not None and (course.status.phase in STOPPED or status.stable is None):
        course = None
    by_id = {
        release.id: release for release in (status.stable, course.spec.target if course else None) if release
    }
    releases = []
    for standing in standings(status, course):
        reached, signature = targets(by_id[standing.id])
        releases.append(
            ReleaseEntry(
                id=standing.id, arm=standing.arm, weight=standing.weight, targets=reached, signature=signature
            )
        )
    return EndpointEntry(
        name=facts.name,
        protocol=spec.protocol,
        releases=tuple(releases),
        rollout=_rollout(course, gateways) if course is not None else None,
        durability=spec.durability,
        timeout_s=duration_s(spec.timeouts.total),
        connect_timeout_s=duration_s(spec.timeouts.connect),
        first_byte_timeout_s=duration_s(spec.timeouts.first_byte),
        idle_timeout_s=duration_s(spec.timeouts.idle),
        retries=spec.retries,
        hedge_after_ms=spec.hedge_after_ms,
        fallbacks=spec.fallbacks,
        body_bytes_max=size_bytes(spec.body_max),
        max_output_tokens=spec.max_output_tokens,
        on_full_disk=spec.on_full_disk,
        aliases=spec.aliases,
    )


def _rollout(course: Course, gateways: int) -> RolloutEntry:
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
        gates=gate_entries(strategy, gateways),
        sticky_header=sticky.header if sticky.by == "header" else "",
        sticky_key=sticky.by == "key",
        salt=course.name,
        pins=tuple(
            PinEntry(arm=pin.arm, header=pin.header, value=pin.value, cohort=pin.cohort) for pin in pins
        ),
        shadow_share=round(shadow * 100),
    )
