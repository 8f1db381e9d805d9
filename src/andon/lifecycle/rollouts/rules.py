"""The rules of a rollout: from where it stands and what is known, to its next move. Pure; one move at a time.

Called by the endpoint's controller each turn, and by `service.py` and `reports.py` for what people and gateways say.
Abort and success are final. It must never pass a gate that has no data.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from andon.kernel.reports import Cut, GateReading
from andon.lifecycle.rollouts.model import (
    ENDED,
    STOPPED,
    GatewayProgress,
    Phase,
    Readiness,
    RolloutStatus,
    Transition,
)
from andon.lifecycle.rollouts.strategy import GateSpec, RolloutSpec, StrategySpec, seconds_of

WHOLE = 10_000


def decide(spec: RolloutSpec, status: RolloutStatus, new: Readiness, now_ns: int) -> Transition | None:
    """The next move, or None while there is nothing to do but wait."""
    if status.phase in ENDED:
        return None
    if status.phase == "Aborting":
        ended = replace(status, phase="Aborted", ended_ns=now_ns)
        return Transition(status=ended, event="rollout.ended", reason=status.reason)
    if status.phase == "Promoting" and spec.strategy.type != "blueGreen":
        return _succeed(status, now_ns)
    stop = _must_stop(spec.strategy, status, new, now_ns)
    if stop is not None:
        return stop
    if status.phase == "Paused":
        return None
    if status.phase == "Pending":
        return _begin(spec.strategy, status, new, now_ns)
    if status.phase == "Promoting":
        return _finish_blue_green(spec.strategy, status, now_ns)
    return _go_on(spec.strategy, status, now_ns)


def _must_stop(
    strategy: StrategySpec, status: RolloutStatus, new: Readiness, now_ns: int
) -> Transition | None:
    """What ends or holds a rollout whatever its step: a release that cannot start, a breach, a deadline."""
    if new.failed:
        return abort(status, now_ns, f"the release cannot serve: {new.failed}")
    breached = [reading for reading in status.readings if reading.verdict == "breach"]
    actions = {gate.name: gate.on_breach for gate in strategy.in_force}
    for reading in breached:
        if actions.get(reading.gate) == "abort":
            return abort(status, now_ns, f"gate '{reading.gate}': {reading.reason}")
    if status.phase == "Paused":
        return None
    waited_s = (now_ns - status.started_ns) / 1e9
    if status.phase == "Pending" and not new.ready and waited_s > seconds_of(strategy.progress_deadline):
        return abort(status, now_ns, f"the release was not ready within {strategy.progress_deadline}")
    if waited_s <= seconds_of(strategy.deadline):
        return None
    reason = f"not finished within {strategy.deadline}"
    if strategy.on_deadline == "promote" and new.ready and status.phase != "Promoting" and not breached:
        return _promote(strategy, status, now_ns, reason)
    if strategy.on_deadline == "pause":
        return pause(status, now_ns, reason)
    return abort(status, now_ns, reason)


def _begin(strategy: StrategySpec, status: RolloutStatus, new: Readiness, now_ns: int) -> Transition | None:
    if not new.ready:
        return None
    if strategy.type == "allAtOnce" or (strategy.type == "canary" and not strategy.canary.steps):
        return _promote(strategy, status, now_ns, "the release is ready")
    weight = 0 if strategy.type == "blueGreen" else round(strategy.canary.steps[0].weight * 100)
    return _step(status, now_ns, 0, weight, "the release is ready")


def _go_on(strategy: StrategySpec, status: RolloutStatus, now_ns: int) -> Transition | None:
    """The end of a step, if its pause is over and the gates allow it."""
    blue_green = strategy.type == "blueGreen"
    if not status.confirmed:
        if blue_green:
            over = (
                strategy.blue_green.auto_promote and _requests(status) >= strategy.blue_green.preview_requests
            )
            judged = strategy.blue_green.shadow_percent > 0
        else:
            step = strategy.canary.steps[status.step]
            over = _pause_over(status, step.pause.duration, step.pause.requests, now_ns)
            judged = step.weight > 0 or strategy.canary.shadow_percent > 0
        if not over:
            return None
        verdict, why = judgement(strategy.in_force if judged else (), status.readings)
        if verdict == "abort":
            return abort(status, now_ns, why)
        if verdict == "hold":
            return None if status.reason == why else _note(status, why)
    else:
        why = "confirmed by a person"
    if blue_green or status.step + 1 >= len(strategy.canary.steps):
        return _promote(strategy, status, now_ns, why)
    following = status.step + 1
    return _step(status, now_ns, following, round(strategy.canary.steps[following].weight * 100), why)


def _finish_blue_green(strategy: StrategySpec, status: RolloutStatus, now_ns: int) -> Transition | None:
    blue_green = strategy.blue_green
    if status.confirmed:
        return _succeed(status, now_ns)
    if (now_ns - status.step_started_ns) / 1e9 < seconds_of(blue_green.scale_down_delay):
        return None
    verdict, why = judgement(strategy.in_force if blue_green.holdback else (), status.readings)
    if verdict == "abort":
        return abort(status, now_ns, why)
    if verdict == "hold":
        return None if status.reason == why else _note(status, why)
    return _succeed(status, now_ns)


def judgement(gates: Iterable[GateSpec], readings: tuple[GateReading, ...]) -> tuple[str, str]:
    """What the gates say at the end of a step: ("go" | "hold" | "abort", why). A gate without a reading has no data."""
    by_name = {reading.gate: reading for reading in readings}
    holding = ""
    for gate in gates:
        reading = by_name.get(gate.name)
        verdict = reading.verdict if reading is not None else "no-data"
        if verdict == "pass" or gate.on_breach == "warn":
            continue
        # No numbers in what holds: they change each second, and each change of a reason is an event in the journal.
        why = f"gate '{gate.name}': {verdict}"
        if verdict == "breach" and reading is not None:
            told = f"gate '{gate.name}': {reading.reason}"
            return ("abort", told) if gate.on_breach == "abort" else ("hold", why)
        if gate.on_missing_data == "abort" and verdict == "no-data":
            return "abort", why
        if gate.on_missing_data != "promote":
            holding = holding or why
    return ("hold", holding) if holding else ("go", "every gate passed")


def abort(status: RolloutStatus, now_ns: int, reason: str, cut: Cut | None = None) -> Transition | None:
    """Take the new release out of the traffic, for good. None if it is out or has taken over already."""
    if status.phase in ENDED or status.phase in STOPPED:
        return None
    stopped = replace(
        status,
        phase="Aborting",
        weight=0,
        generation=status.generation + 1,
        verdict="aborted",
        reason=reason,
        cut=cut or status.cut,
        step_started_ns=now_ns,
    )
    return Transition(status=stopped, event="rollout.aborted", reason=reason)


def pause(status: RolloutStatus, now_ns: int, reason: str, cut: Cut | None = None) -> Transition | None:
    """Hold everything as it is; after a cut, with no traffic on the new release."""
    if status.phase not in ("Pending", "Progressing", "Promoting"):
        return None
    held = replace(
        status,
        phase="Paused",
        resume_to=status.phase,
        reason=reason,
        cut=cut or status.cut,
        generation=status.generation + (1 if cut else 0),
    )
    return Transition(status=held, event="rollout.paused", reason=reason)


def resume(status: RolloutStatus, now_ns: int, reason: str) -> Transition | None:
    """Go on where a pause interrupted; after a cut this overrules the gate, whose evidence begins again."""
    if status.phase != "Paused":
        return None
    overruled = status.cut is not None
    going = replace(
        status,
        phase=status.resume_to,
        reason=reason,
        step_started_ns=now_ns,
        started_ns=now_ns,  # the deadline begins again: a person is watching
        resumed_ns=now_ns,
        generation=status.generation + 1,
        overrules=status.overrules + (1 if overruled else 0),
        cut=None,
        readings=() if overruled else status.readings,
        gateways={} if overruled else status.gateways,
    )
    return Transition(status=going, event="rollout.resumed", reason=reason)


def confirm(
    strategy: StrategySpec, status: RolloutStatus, now_ns: int, full: bool, reason: str
) -> Transition | None:
    """A person's `promote`: end this step now, or with `full` the whole rollout."""
    if status.phase not in ("Progressing", "Paused", "Promoting") or status.cut is not None:
        return None
    if full and status.phase != "Promoting" and status.resume_to != "Promoting":
        return _promote(strategy, status, now_ns, reason)
    phase: Phase = status.resume_to if status.phase == "Paused" else status.phase
    return Transition(
        status=replace(status, phase=phase, confirmed=True, reason=reason),
        event="rollout.confirmed",
        reason=reason,
    )


def take_in(
    spec: RolloutSpec, status: RolloutStatus, gateway: str, progress: GatewayProgress
) -> RolloutStatus:
    """Remember what a gateway said, if it is news; the readings of all gateways become one."""
    known = status.gateways.get(gateway)
    if status.phase in ENDED or (known is not None and known.at_ns >= progress.at_ns):
        return status
    gateways = {**status.gateways, gateway: progress}
    return replace(
        status, gateways=gateways, readings=merged([entry.readings for entry in gateways.values()])
    )


def merged(parts: Iterable[tuple[GateReading, ...]]) -> tuple[GateReading, ...]:
    """One reading per gate from several gateways: a breach anywhere is a breach, observations add up.

    Each gateway has its own share of alpha, so that the sum over gateways keeps the promise.
    """
    found: dict[str, list[GateReading]] = {}
    for readings in parts:
        for reading in readings:
            found.setdefault(reading.gate, []).append(reading)
    return tuple(_one_of(readings) for readings in found.values())


def _one_of(readings: list[GateReading]) -> GateReading:
    if len(readings) == 1:
        return readings[0]
    lead = max(readings, key=lambda reading: (reading.verdict == "breach", reading.evidence))
    canary_n = sum(reading.canary_n for reading in readings)
    stable_n = sum(reading.stable_n for reading in readings)
    enough = canary_n >= lead.minimum and stable_n > 0
    if lead.verdict == "breach":
        return replace(lead, canary_n=canary_n, stable_n=stable_n)
    if canary_n == 0 or stable_n == 0:
        return replace(lead, verdict="no-data", canary_n=canary_n, stable_n=stable_n)
    reason = f"{canary_n} of at least {lead.minimum} canary observations, {len(readings)} gateways together"
    verdict = "pass" if enough else "insufficient"
    return replace(lead, verdict=verdict, canary_n=canary_n, stable_n=stable_n, reason=reason)


def _requests(status: RolloutStatus) -> int:
    """Canary requests of this step, over the gateways that know of it."""
    return sum(
        entry.step_canary_requests
        for entry in status.gateways.values()
        if entry.generation == status.generation
    )


def _pause_over(status: RolloutStatus, duration: str, requests: int, now_ns: int) -> bool:
    if not duration and not requests:
        return False  # until a person promotes
    waited = (now_ns - status.step_started_ns) / 1e9 >= seconds_of(duration)
    return waited and _requests(status) >= requests


def _step(status: RolloutStatus, now_ns: int, step: int, weight: int, reason: str) -> Transition:
    moved = replace(
        status,
        phase="Progressing",
        step=step,
        weight=weight,
        generation=status.generation + 1,
        step_started_ns=now_ns,
        confirmed=False,
        reason=reason,
    )
    return Transition(status=moved, event="rollout.advanced", reason=reason)


def _promote(strategy: StrategySpec, status: RolloutStatus, now_ns: int, reason: str) -> Transition:
    holdback = round(strategy.blue_green.holdback * 100) if strategy.type == "blueGreen" else 0
    moved = replace(
        status,
        phase="Promoting",
        weight=WHOLE - holdback,
        generation=status.generation + 1,
        step_started_ns=now_ns,
        confirmed=False,
        reason=reason,
    )
    return Transition(status=moved, event="rollout.promoted", reason=reason)


def _succeed(status: RolloutStatus, now_ns: int) -> Transition:
    done = replace(
        status,
        phase="Succeeded",
        weight=WHOLE,
        ended_ns=now_ns,
        verdict="promoted",
        generation=status.generation + 1,
    )
    return Transition(status=done, event="rollout.succeeded", reason=status.reason or "every gate passed")


def _note(status: RolloutStatus, reason: str) -> Transition:
    return Transition(status=replace(status, reason=reason), event="rollout.held", reason=reason)
