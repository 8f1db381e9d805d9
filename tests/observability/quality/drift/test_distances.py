"""Sketches and distances: equal to what SciPy computes from the rows, additive, and honest about noise."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from andon.observability.quality.drift import sketch
from andon.observability.quality.drift.distances import compare, homogeneity, jensen_shannon, psi


def readings(reference: np.ndarray, current: np.ndarray) -> dict[str, float]:
    shape = sketch.shape_numbers("x", reference[~np.isnan(reference)])
    found = compare(shape, sketch.count(shape, reference), sketch.count(shape, current))
    return {one.statistic: one.value for one in found}


def test_ks_and_wasserstein_of_continuous_rows_are_those_of_scipy() -> None:
    chance = np.random.default_rng(1)
    reference, current = chance.gamma(2, 3, 20_000), chance.gamma(2.2, 3, 15_000)
    found = readings(reference, current)
    exact = stats.ks_2samp(reference, current)
    work = stats.wasserstein_distance(reference, current) / reference.std()
    assert found["ks"] == pytest.approx(exact.statistic, abs=0.001)
    assert found["w1"] == pytest.approx(work, rel=0.01)


@settings(max_examples=40, deadline=None)
@given(
    data=st.lists(st.integers(-5, 5), min_size=200, max_size=300),
    other=st.lists(st.integers(-5, 5), min_size=20, max_size=300),
)
def test_ks_and_wasserstein_of_few_values_are_exact(data: list[int], other: list[int]) -> None:
    # Values between those of the reference are counted at the lower one, so both sides draw from the same.
    reference = np.array([*data, *range(-5, 6)], float)
    current = np.array(other, float)
    found = readings(reference, current)
    spread = max(reference.std(), 1e-3)
    assert found["ks"] == pytest.approx(stats.ks_2samp(reference, current).statistic)
    assert found["w1"] == pytest.approx(stats.wasserstein_distance(reference, current) / spread, abs=1e-9)


def test_values_beyond_the_reference_are_weighed_by_how_far_they_are() -> None:
    reference = np.random.default_rng(2).normal(size=10_000)
    current = reference + 1000.0
    found = readings(reference, current)
    assert found["w1"] == pytest.approx(1000.0 / reference.std(), rel=1e-3)
    assert found["ks"] == 1.0
    assert found["js"] == pytest.approx(1.0, abs=0.01)


def test_float32_needs_no_other_profile() -> None:
    reference = np.random.default_rng(3).normal(size=5000).astype(np.float32)
    shape = sketch.shape_numbers("x", reference)
    one, other = sketch.count(shape, reference), sketch.count(shape, reference.astype(np.float64))
    assert np.array_equal(one.slots, other.slots)
    assert one.slots[0] == one.slots[-1] == 0


def test_psi_and_jensen_shannon_are_their_definitions() -> None:
    p, q = np.array([0.5, 0.3, 0.2, 0.0]), np.array([0.4, 0.4, 0.2, 0.0])
    assert psi(p, q) == pytest.approx(0.1 * np.log(0.5 / 0.4) + 0.1 * np.log(0.4 / 0.3))
    assert psi(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(2 * (1 - 1e-4) * np.log(1e4))
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1.0
    middle = (p + q) / 2
    expected = np.sqrt((stats.entropy(p, middle, base=2) + stats.entropy(q, middle, base=2)) / 2)
    assert jensen_shannon(p, q) == pytest.approx(expected)


def test_homogeneity_is_the_more_careful_of_two_tests() -> None:
    old, now = np.array([500, 300, 200]), np.array([260, 130, 110])
    both = [stats.chi2_contingency(np.array([old, now]), lambda_=name).pvalue for name in (1, 0)]
    assert both[0] != pytest.approx(both[1], rel=1e-6)
    assert homogeneity(old, now)[0] == pytest.approx(max(both))


def test_the_floor_of_psi_is_its_mean_without_drift_and_p_is_uniform() -> None:
    chance = np.random.default_rng(4)
    reference = chance.lognormal(size=20_000)
    shape = sketch.shape_numbers("x", reference)
    known = sketch.count(shape, reference)
    found = []
    for _ in range(400):
        # The deciles are the reference's own, so both samples are drawn anew.
        known = sketch.count(shape, chance.lognormal(size=4000))
        found.append(compare(shape, known, sketch.count(shape, chance.lognormal(size=1000)))[:3])
    psis, jss, kss = ([trio[place] for trio in found] for place in range(3))
    assert np.mean([one.value for one in psis]) == pytest.approx(psis[0].floor, rel=0.1)
    assert np.mean([one.value**2 for one in jss]) == pytest.approx(
        np.mean([one.floor**2 for one in jss]), rel=0.3
    )
    assert np.mean([one.value for one in kss]) == pytest.approx(kss[0].floor, rel=0.1)
    for group in (psis, kss):
        assert np.mean([(one.p or 0) < 0.1 for one in group]) == pytest.approx(0.1, abs=0.05)


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(
        st.one_of(st.floats(-1e6, 1e6), st.just(float("nan")), st.just(float("inf"))),
        min_size=1,
        max_size=200,
    ),
    cut=st.integers(0, 200),
)
def test_counts_of_chunks_add_up_to_those_of_the_whole(values: list[float], cut: int) -> None:
    rows = np.array(values)
    shape = sketch.shape_numbers("x", rows[np.isfinite(rows)])
    whole = sketch.count(shape, rows)
    parts = sketch.count(shape, rows[:cut]) + sketch.count(shape, rows[cut:])
    assert np.array_equal(whole.slots, parts.slots)
    assert whole.slots.sum() == whole.present == parts.present
    assert (whole.rows, whole.missing, whole.finite) == (parts.rows, parts.missing, parts.finite)
    assert whole.total == pytest.approx(parts.total, rel=1e-9, abs=1e-3)
    assert (whole.low, whole.high) == (parts.low, parts.high)


def test_unseen_and_missing_are_readings_of_their_own() -> None:
    reference = pa.array(["a"] * 600 + ["b"] * 300 + [None] * 100)
    shape = sketch.shape_categories("x", reference)
    known = sketch.count(shape, reference)
    same = {one.statistic: one for one in compare(shape, known, known)}
    assert same["missing"].value == 0
    assert same["unseen"].value == 0
    current = sketch.count(shape, pa.array(["a"] * 500 + ["b"] * 280 + ["c"] * 20 + [None] * 200))
    found = {one.statistic: one for one in compare(shape, known, current)}
    assert found["missing"].value == pytest.approx(0.1)
    assert found["unseen"].value == pytest.approx(20 / 800)
    assert (found["missing"].p or 0) < 1e-6
    assert (found["unseen"].p or 0) < 1e-6
    assert dict(current.new) == {"c": 20}


def test_names_that_never_repeat_are_not_an_unseen_category_each_time() -> None:
    reference = pa.array([f"u{number}" for number in range(500)])
    shape = sketch.shape_categories("x", reference)
    current = sketch.count(shape, pa.array([f"v{number}" for number in range(500)]))
    found = {one.statistic: one for one in compare(shape, sketch.count(shape, reference), current)}
    assert found["unseen"].p == pytest.approx(1.0)


def test_a_reference_that_wanders_makes_the_tests_wider() -> None:
    chance = np.random.default_rng(5)
    steady = chance.normal(size=10_000)
    wandering = steady + np.repeat(chance.normal(0, 0.5, 20), 500)
    assert sketch.design_effect(sketch.shape_numbers("x", steady), steady) == 1.0
    assert sketch.design_effect(sketch.shape_numbers("x", wandering), wandering) > 10.0
