"""The rules of rollouts: every phase against every event, and that no history breaks what must always hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from andon.kernel.reports import Cut, GateReading
from andon.lifecycle.rollouts.model import (
    ENDED,
    STOPPED,
    GatewayProgress,
    Readiness,
    RolloutStatus,
    Transition,
)
from andon.lifecycle.rollouts.rules import abort, confirm, decide, judgement, merged, pause, resume, take_in
from andon.lifecycle.rollouts.strategy import (
    BlueGreenSpec,
    CanarySpec,
    GateSpec,
    PauseSpec,
    ReleaseSpec,
    RolloutSpec,
    StepSpec,
    StrategySpec,
)

S = 1_000_000_000
READY, WAITING = Readiness(ready=True), Readiness(ready=False)
STEPS = (
    StepSpec(weight=5, pause=PauseSpec(requests=20)),
    StepSpec(weight=50, pause=PauseSpec(duration="30s")),
)
CANARY = StrategySpec(canary=CanarySpec(steps=STEPS))


def spec(strategy: StrategySpec = CANARY) -> RolloutSpec:
    return RolloutSpec(
        endpoint="credit",
        number=1,
        source=ReleaseSpec(model="credit", version="1"),
        target=ReleaseSpec(model="credit", version="2"),
        strategy=strategy,
    )


def reading(
    gate: str = "errors", verdict: str = "pass", canary_n: int = 100, stable_n: int = 900
) -> GateReading:
    return GateReading(
        gate=gate,
        metric="errorRate",
        verdict=verdict,
        evidence=1.0,
        threshold=125.0,
        canary_n=canary_n,
        stable_n=stable_n,
        canary_value=None,
        stable_value=None,
        minimum=50,
        reason=verdict,
    )


def both(verdict: str) -> tuple[GateReading, ...]:
    return reading("errors", verdict), reading("latency", verdict)


def progress(status: RolloutStatus, requests: int, verdict: str, at_ns: int = 5 * S) -> RolloutStatus:
    said = GatewayProgress(
        at_ns=at_ns,
        generation=status.generation,
        canary_requests=requests,
        stable_requests=requests * 9,
        step_canary_requests=requests,
        readings=both(verdict),
    )
    return take_in(spec(), status, "gw-0", said)


def cut(action: str = "abort", at_ns: int = S) -> Cut:
    return Cut(
        rollout="credit-1",
        generation=2,
        release="credit@2",
        gateway="gw-0",
        at_ns=at_ns,
        canary_requests=3,
        seconds=0.3,
        action=action,
        readings=both("breach"),
    )


def move(
    status: RolloutStatus, strategy: StrategySpec = CANARY, new: Readiness = READY, at_s: float = 1
) -> Transition:
    found = decide(spec(strategy), status, new, int(at_s * S))
    assert found is not None
    return found


def at_step(step: int = 0) -> RolloutStatus:
    return RolloutStatus(phase="Progressing", step=step, weight=500 if step == 0 else 5000, generation=2)


def test_a_canary_walks_its_steps_only_when_every_gate_passes() -> None:
    status = move(RolloutStatus()).status
    assert (status.phase, status.weight, status.generation) == ("Progressing", 500, 2)
    assert decide(spec(), status, READY, 100 * S) is None  # nobody has asked it anything yet
    status = move(progress(status, 60, "pass"), at_s=100).status
    assert (status.step, status.weight) == (1, 5000)
    assert decide(spec(), status, READY, 110 * S) is None  # 30 s have not passed
    status = move(status, at_s=131).status
    assert (status.phase, status.weight) == ("Promoting", 10_000)
    assert move(status, at_s=132).event == "rollout.succeeded"


@pytest.mark.parametrize("verdict", ["insufficient", "no-data"])
def test_without_enough_data_it_holds_and_says_why_until_the_deadline_aborts(verdict: str) -> None:
    status = progress(at_step(), 60, verdict)
    held = move(status)
    assert held.event == "rollout.held"
    assert held.status.weight == 500
    assert decide(spec(), held.status, READY, 2 * S) is None
    late = move(held.status, at_s=3601)
    assert late.event == "rollout.aborted"
    assert late.status.weight == 0


@pytest.mark.parametrize(
    ("missing", "verdict", "wanted"),
    [
        ("hold", "no-data", "hold"),
        ("abort", "no-data", "abort"),
        ("promote", "no-data", "go"),
        ("abort", "insufficient", "hold"),
        ("promote", "insufficient", "go"),
        ("promote", "breach", "abort"),
    ],
)
def test_missing_data_does_what_the_gate_says(missing: str, verdict: str, wanted: str) -> None:
    gate = GateSpec(name="errors", metric="errorRate", on_missing_data=missing)
    assert judgement([gate], (reading("errors", verdict),))[0] == wanted


def test_a_gate_that_never_reported_has_no_data() -> None:
    assert judgement([GateSpec(name="errors", metric="errorRate")], ())[0] == "hold"


def test_a_warning_gate_never_holds() -> None:
    gate = GateSpec(name="errors", metric="errorRate", on_breach="warn")
    assert judgement([gate], (reading("errors", "breach"),))[0] == "go"


@pytest.mark.parametrize("phase", ["Pending", "Progressing", "Paused", "Promoting"])
def test_whatever_the_phase_an_abort_takes_the_weight_away_once(phase: str) -> None:
    status = RolloutStatus(phase=phase, weight=500, generation=7)
    stopped = abort(status, S, "why")
    assert stopped is not None
    assert (stopped.status.phase, stopped.status.weight, stopped.status.generation) == ("Aborting", 0, 8)
    assert abort(stopped.status, S, "again") is None
    ended = move(stopped.status)
    assert ended.status.phase == "Aborted"
    assert decide(spec(), ended.status, READY, 9 * S) is None


@pytest.mark.parametrize("phase", ["Succeeded", "Aborted", "Aborting"])
def test_what_has_ended_stays_ended(phase: str) -> None:
    status = RolloutStatus(phase=phase)
    assert abort(status, S, "x") is None
    assert pause(status, S, "x") is None
    assert resume(status, S, "x") is None
    assert confirm(CANARY, status, S, True, "x") is None


def test_a_breach_that_only_progress_tells_of_aborts_too() -> None:
    assert move(progress(at_step(), 5, "breach")).event == "rollout.aborted"


def test_a_release_that_cannot_start_or_is_too_slow_to_start_is_aborted() -> None:
    failed = Readiness(ready=False, failed="digest mismatch")
    assert "digest mismatch" in move(RolloutStatus(), new=failed).reason
    assert decide(spec(), RolloutStatus(), WAITING, 500 * S) is None
    assert move(RolloutStatus(), new=WAITING, at_s=601).event == "rollout.aborted"


def test_the_deadline_may_pause_or_promote_instead() -> None:
    paused = move(at_step(), replace(CANARY, on_deadline="pause"), at_s=3601)
    assert paused.status.phase == "Paused"
    assert decide(spec(replace(CANARY, on_deadline="pause")), paused.status, READY, 9999 * S) is None
    assert move(at_step(), replace(CANARY, on_deadline="promote"), at_s=3601).status.phase == "Promoting"


def test_a_pause_by_a_gate_can_be_overruled_and_then_begins_again() -> None:
    held = pause(at_step(), S, "gate", cut("pause"))
    assert held is not None
    assert held.status.cut is not None
    assert confirm(CANARY, held.status, S, True, "x") is None  # promoting past a breach needs a resume first
    going = resume(held.status, 2 * S, "go")
    assert going is not None
    assert (going.status.phase, going.status.overrules, going.status.cut) == ("Progressing", 1, None)
    assert going.status.readings == ()


def test_a_step_without_a_pause_waits_for_a_person() -> None:
    strategy = StrategySpec(canary=CanarySpec(steps=(StepSpec(weight=5, pause=PauseSpec()),)))
    status = progress(at_step(), 999, "pass")
    assert decide(spec(strategy), status, READY, 100 * S) is None
    confirmed = confirm(strategy, status, S, False, "a person")
    assert confirmed is not None
    assert move(confirmed.status, strategy).status.phase == "Promoting"


def test_blue_green_previews_switches_holds_back_and_finishes() -> None:
    strategy = StrategySpec(type="blueGreen", blue_green=BlueGreenSpec(scale_down_delay="60s"))
    status = move(RolloutStatus(), strategy).status
    assert (status.phase, status.weight) == ("Progressing", 0)
    status = move(status, strategy).status
    assert (status.phase, status.weight) == ("Promoting", 9500)
    assert decide(spec(strategy), status, READY, 30 * S) is None
    assert move(progress(status, 999, "breach"), strategy, at_s=30).event == "rollout.aborted"
    assert move(progress(status, 999, "pass"), strategy, at_s=70).event == "rollout.succeeded"


def test_blue_green_without_auto_promotion_waits_for_a_person() -> None:
    strategy = StrategySpec(type="blueGreen", blue_green=BlueGreenSpec(auto_promote=False))
    status = move(RolloutStatus(), strategy).status
    assert decide(spec(strategy), status, READY, 100 * S) is None
    assert confirm(strategy, status, S, True, "x").status.phase == "Promoting"  # type: ignore[union-attr]  # it applies


def test_all_at_once_hands_over_when_ready() -> None:
    strategy = StrategySpec(type="allAtOnce")
    assert decide(spec(strategy), RolloutStatus(), WAITING, S) is None
    status = move(RolloutStatus(), strategy).status
    assert status.weight == 10_000
    assert move(status, strategy).status.phase == "Succeeded"


def test_readings_of_gateways_add_up_and_one_breach_is_a_breach() -> None:
    two = merged(
        [(reading(verdict="insufficient", canary_n=30),), (reading(verdict="insufficient", canary_n=30),)]
    )
    assert (two[0].verdict, two[0].canary_n) == ("pass", 60)
    assert merged([(reading(),), (reading(verdict="breach"),)])[0].verdict == "breach"
    assert merged([(reading(canary_n=0),), (reading(canary_n=0),)])[0].verdict == "no-data"


def test_old_news_is_no_news() -> None:
    status = progress(at_step(), 10, "pass", at_ns=9 * S)
    assert progress(status, 5, "breach", at_ns=8 * S) is status


EVENTS = [
    "decide",
    "late",
    "pass",
    "breach",
    "no-data",
    "cut",
    "pause-cut",
    "abort",
    "pause",
    "resume",
    "promote",
    "full",
]


@settings(max_examples=300)
@given(
    strategy=st.sampled_from([CANARY, StrategySpec(type="blueGreen"), StrategySpec(type="allAtOnce")]),
    events=st.lists(st.sampled_from(EVENTS), max_size=40),
    ready=st.booleans(),
)
def test_no_history_aborts_twice_or_gives_an_aborted_release_traffic(
    strategy: StrategySpec, events: list[str], ready: bool
) -> None:
    status, now, aborts = RolloutStatus(), 0, 0
    for event in events:
        now += 40 * S if event != "late" else 4000 * S
        found: Transition | None = None
        before = status
        if event in ("pass", "breach", "no-data"):
            status = progress(status, 100, event, at_ns=now)
        elif event in ("decide", "late"):
            found = decide(spec(strategy), status, Readiness(ready=ready), now)
        elif event == "cut":
            found = abort(status, now, event, cut())
        elif event == "pause-cut":
            found = pause(status, now, event, cut("pause"))
        elif event == "abort":
            found = abort(status, now, event)
        elif event == "pause":
            found = pause(status, now, event)
        elif event == "resume":
            found = resume(status, now, event)
        else:
            found = confirm(strategy, status, now, event == "full", event)
        if found is not None:
            status = found.status
            aborts += found.event == "rollout.aborted"
        assert 0 <= status.weight <= 10_000
        assert status.generation >= before.generation
        assert status.weight == before.weight or status.generation > before.generation
        if before.phase in ENDED:
            assert status.phase == before.phase
        if status.phase in STOPPED:
            assert status.weight == 0
    assert aborts <= 1
