"""Gates on labels and scores in seeded simulations: worse canaries are stopped, equal ones are not."""

from __future__ import annotations

import random

import pytest

from andon.kernel.snapshot import GateEntry
from andon.lifecycle.rollouts.compilation import AT_GATEWAY, gate_entries
from andon.lifecycle.rollouts.labelled import Trial, judge_trials
from andon.lifecycle.rollouts.strategy import GateSpec, StrategySpec

ALPHA = 0.01


def entry(metric: str, **fields: object) -> GateEntry:
    given = {"name": "g", "metric": metric, "alpha": ALPHA, "margin": 0.0, "minimum": 100}
    return GateEntry(**{**given, **fields})  # type: ignore[arg-type]  # the fields of a gate


def outcomes(seed: int, count: int, canary: float, stable: float, share: float = 0.2) -> list[Trial]:
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        drawn = chance.random() < share
        bad = chance.random() < (canary if drawn else stable)
        found.append(Trial(canary=drawn, share=share, bad=bad))
    return found


def scores(seed: int, count: int, shift: float, share: float = 0.3) -> list[Trial]:
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        drawn = chance.random() < share
        score = chance.betavariate(2.0, 2.0 + (shift if drawn else 0.0))
        found.append(Trial(canary=drawn, share=share, score=score))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_canary_whose_answers_are_wrong_more_often_is_stopped(seed: int) -> None:
    reading = judge_trials(entry("quality"), outcomes(seed, 3000, canary=0.2, stable=0.05))
    assert reading.verdict == "breach"
    assert reading.canary_n < 300
    assert reading.canary_value > reading.stable_value  # type: ignore[operator]  # both arms were seen


def test_an_equal_canary_is_not_stopped() -> None:
    stopped = sum(
        judge_trials(entry("quality"), outcomes(seed, 1000, canary=0.1, stable=0.1)).verdict == "breach"
        for seed in range(300)
    )
    assert stopped <= 6  # 1 % of 300 is 3; more than 6 has a chance of 3 %, and the test is conservative


def test_it_passes_once_enough_is_known_and_not_before() -> None:
    trials = outcomes(1, 2000, canary=0.05, stable=0.05)
    assert judge_trials(entry("quality"), trials).verdict == "pass"
    early = judge_trials(entry("quality"), trials[:100])
    assert early.verdict == "insufficient"
    assert "of at least 100" in early.reason
    assert judge_trials(entry("quality"), []).verdict == "no-data"


def test_a_breach_stands_whatever_comes_after_it() -> None:
    bad, good = outcomes(2, 1500, canary=0.5, stable=0.05), outcomes(3, 20_000, canary=0.0, stable=0.05)
    reading = judge_trials(entry("quality"), [*bad, *good])
    assert reading == judge_trials(entry("quality"), bad)
    assert reading.verdict == "breach"


def test_labels_that_come_for_one_arm_more_often_are_not_judged() -> None:
    trials = [trial for trial in outcomes(4, 4000, canary=0.3, stable=0.05) if not trial.canary or trial.bad]
    reading = judge_trials(entry("quality"), trials)
    assert reading.verdict == "no-data"
    assert "cannot be compared" in reading.reason


def test_each_unit_counts_once_and_what_was_not_drawn_never() -> None:
    many = [Trial(canary=True, share=0.5, bad=True, unit=7) for _ in range(50)]
    sure = [Trial(canary=True, share=1.0, bad=True) for _ in range(50)]
    assert judge_trials(entry("quality"), [*many, *sure]).canary_n == 1


@pytest.mark.parametrize("shift", [-1.0, 2.0])
def test_scores_that_lie_elsewhere_are_drift_either_way(shift: float) -> None:
    reading = judge_trials(entry("drift", margin=0.05), scores(5, 4000, shift))
    assert reading.verdict == "breach"
    assert "lie elsewhere" in reading.reason


def test_scores_that_lie_alike_are_not() -> None:
    stopped = sum(
        judge_trials(entry("drift"), scores(seed, 600, 0.0)).verdict == "breach" for seed in range(100)
    )
    assert stopped <= 3
    assert judge_trials(entry("drift"), scores(6, 2000, 0.0)).verdict == "pass"
    assert judge_trials(entry("drift"), scores(6, 30, 0.0)).verdict == "no-data"


def test_gates_on_labels_share_alpha_and_stay_away_from_gateways() -> None:
    strategy = StrategySpec(
        gates=(GateSpec(name="errors", metric="errorRate"), GateSpec(name="right", metric="quality"))
    )
    entries = gate_entries(strategy, 1)
    assert sum(one.alpha for one in entries) == pytest.approx(strategy.alpha)
    assert [one.name for one in entries if one.metric in AT_GATEWAY] == ["errors"]
