"""Assessments: counted, bounded, seeded, and stronger attacks never find a model more robust."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from andon.kernel.errors import Refused
from andon.security.robustness.attacks import assess
from andon.security.robustness.model import Terms, interval

pytestmark = pytest.mark.filterwarnings("ignore")  # the toolbox warns of frameworks that are not there


@pytest.fixture(scope="module")
def wine() -> tuple[Any, Any, Any]:
    rows, labels = load_wine(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(rows, labels)
    return model.predict_proba, rows, labels


@pytest.mark.parametrize("attack", ["hopskipjump", "zoo"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_same_seed_gives_the_same_and_the_budget_holds(attack: Any, norm: Any, wine: Any) -> None:
    asked = 0

    def counted(points: Any) -> Any:
        nonlocal asked
        asked += len(points)
        return wine[0](points)

    terms = Terms(attack=attack, norm=norm, epsilon=0.2, budget=150, rows=8, seed=3)
    first = assess(counted, wine[1], wine[2], terms)
    assert first.queries + first.rows == asked
    assert first.queries <= terms.budget * first.right
    assert 0 <= first.stood <= first.right <= first.rows == 8
    assert assess(wine[0], wine[1], wine[2], terms) == first


def test_robustness_falls_with_epsilon(wine: Any) -> None:
    stood = [
        assess(wine[0], wine[1], wine[2], Terms(epsilon=epsilon, budget=300, rows=12)).stood
        for epsilon in (0.001, 0.1, 0.6)
    ]
    assert stood[0] >= stood[1] >= stood[2]
    assert stood[0] == 12
    assert stood[2] < 6


def test_a_constant_model_cannot_be_moved() -> None:
    rows, labels = load_breast_cancer(return_X_y=True)

    def always(points: Any) -> Any:
        return np.tile([0.0, 1.0], (len(points), 1))

    outcome = assess(always, rows, labels, Terms(budget=60, rows=10, epsilon=0.5))
    assert outcome.stood == outcome.right > 0


def test_no_rows_are_refused() -> None:
    with pytest.raises(Refused):
        assess(lambda points: points, np.zeros((0, 3)), np.zeros(0), Terms())


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_interval_holds_the_share(count: int, total: int) -> None:
    low, high = interval(min(count, total), total)
    assert 0.0 <= low <= min(count, total) / total + 1e-12
    assert min(count, total) / total - 1e-12 <= high <= 1.0
