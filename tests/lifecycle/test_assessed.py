"""The gate on robustness: bounds, comparison with the stable version, and what is not compared."""

from __future__ import annotations

import msgspec
import pytest

from andon.kernel.admission import Assessment
from andon.kernel.snapshot import GateEntry
from andon.lifecycle.rollouts.assessed import judge_robustness

GATE = GateEntry(name="robust", metric="robustness", alpha=0.01, margin=0.05)


def assessment(robust: float, **changes: object) -> Assessment:
    made = Assessment(
        digest="sha256:x",
        attack="hopskipjump",
        norm="linf",
        epsilon=0.1,
        budget=100,
        seed=0,
        rows=50,
        clean_accuracy=0.9,
        robust_accuracy=robust,
        robust_low=robust - 0.1,
        robust_high=robust + 0.1,
        clean_low=0.8,
        clean_high=0.95,
        queries=1,
    )
    return msgspec.structs.replace(made, **changes)


@pytest.mark.parametrize(
    ("at_least", "source", "target", "verdict"),
    [
        (0.5, [], [0.6], "pass"),
        (0.5, [], [0.4], "breach"),
        (0.5, [0.9], [0.6], "breach"),
        (None, [0.6], [0.56], "pass"),
        (None, [0.6], [0.54], "breach"),
        (None, [], [0.6], "no-data"),
        (None, [0.6], [], "no-data"),
        (0.5, [0.6], [0.1, 0.6], "pass"),
    ],
)
def test_verdicts(at_least: float | None, source: list[float], target: list[float], verdict: str) -> None:
    gate = msgspec.structs.replace(GATE, at_least=at_least)
    reading = judge_robustness(gate, [assessment(one) for one in source], [assessment(one) for one in target])
    assert reading.verdict == verdict
    assert reading.reason


def test_different_conditions_are_not_compared() -> None:
    source = [assessment(0.9, epsilon=0.01)]
    assert judge_robustness(GATE, source, [assessment(0.5)]).verdict == "no-data"
