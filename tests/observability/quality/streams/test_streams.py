"""Detectors of change: what they promise about false alarms, and what they find."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.observability.quality.streams import nab
from andon.observability.quality.streams.adwin import Adwin, changes
from andon.observability.quality.streams.novelty import NoveltyDetector, NoveltySettings, score_series
from andon.observability.quality.streams.run_length import RunLengthDetector, RunSettings, alarms, usual_rate


def test_the_run_before_a_false_alarm_is_as_long_as_was_asked() -> None:
    chance = np.random.default_rng(7)
    wanted, runs = 1000.0, []
    for _ in range(150):
        detector = RunLengthDetector(RunSettings(usual_rate=0.1, expected_run=wanted))
        while not detector.take(float(chance.random() < 0.1)) and detector.count < 20_000:
            pass
        runs.append(detector.count)
    assert np.mean(runs) >= wanted
    assert np.median(runs) < 20_000


def test_a_doubled_error_rate_is_found_soon() -> None:
    chance = np.random.default_rng(8)
    errors = np.concatenate([chance.random(5000) < 0.1, chance.random(2000) < 0.2]).astype(float)
    found = alarms(errors, RunSettings(usual_rate=0.1, expected_run=100_000))
    assert found
    assert 5000 <= found[0] < 5600


def test_fewer_errors_are_no_alarm_for_the_rate() -> None:
    chance = np.random.default_rng(9)
    assert not alarms((chance.random(20_000) < 0.05).astype(float), RunSettings(usual_rate=0.1))


@given(errors=st.integers(0, 200), more=st.integers(1, 1000))
def test_the_usual_rate_is_above_what_was_seen(errors: int, more: int) -> None:
    rate = usual_rate(errors, errors + more)
    assert errors / (errors + more) < rate < 1


def test_a_window_keeps_everything_while_the_mean_holds() -> None:
    chance = np.random.default_rng(10)
    values = chance.random(20_000)
    window = Adwin()
    assert not any(window.take(float(value)) for value in values)
    assert window.count == len(values)
    assert math.isclose(window.mean, values.mean(), rel_tol=1e-9)


def test_a_window_forgets_what_was_before_a_change() -> None:
    chance = np.random.default_rng(11)
    values = np.concatenate([chance.random(4000) < 0.2, chance.random(4000) < 0.5]).astype(float)
    found = changes(values)
    assert found
    assert all(4000 <= place < 5500 for place in found)
    window = Adwin()
    for value in values:
        window.take(float(value))
    assert 2000 < window.count <= 4200
    assert abs(window.mean - 0.5) < 0.05


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 2)), min_size=1, max_size=80),
    memory=st.integers(6, 40),
)
def test_distances_are_those_of_a_plain_search(values: list[float], memory: int) -> None:
    length = 3
    detector = NoveltyDetector(NoveltySettings(shape_rows=length, memory_rows=memory))
    size = memory + length
    relative = np.array(values) - values[0]
    for row, value in enumerate(relative):
        nearest, shape = detector._distances(float(value))
        detector._rows += 1
        ages = [age for age in range(1, size + 1) if row - age >= 0]
        expected = min((abs(value - relative[row - age]) for age in ages), default=0.0)
        assert nearest == pytest.approx(expected, abs=1e-6)
        now = relative[row - length + 1 : row + 1]
        shapes = [
            math.sqrt(float(((now - relative[row - age - length + 1 : row - age + 1]) ** 2).mean()))
            for age in ages
            if length <= age <= memory and row - age >= length - 1
        ]
        assert shape == pytest.approx(min(shapes, default=0.0), abs=1e-4)


def test_a_score_depends_on_the_past_only() -> None:
    values = np.sin(np.arange(600) / 20) + np.random.default_rng(3).normal(0, 0.1, 600)
    assert np.array_equal(score_series(values)[:400], score_series(values[:400]))


def test_a_spike_scores_once_and_a_constant_never() -> None:
    values = np.full(400, 5.0)
    assert not score_series(values).any()
    values[300:310] = 50.0
    scores = score_series(values)
    assert scores[300] > NoveltySettings().threshold
    assert not scores[:300].any()
    assert not scores[301:310].any()


def test_rows_that_are_no_numbers_are_passed_over() -> None:
    assert not score_series([1.0, math.nan, math.inf] * 50).any()


def test_the_scorer_knows_silence_and_perfection() -> None:
    series = nab.Labelled(name="one", rows=1000, windows=((400, 450), (700, 760)))
    silent = np.zeros(1000)
    perfect = silent.copy()
    perfect[[400, 700]] = 1.0
    assert nab.score_corpus([series], [perfect]).score == pytest.approx(100)
    assert nab.judge(series, silent, 0.5).score == -2
    assert nab.score_corpus([series], [silent]).score <= 0


def test_an_alarm_is_worth_less_the_later_and_nothing_in_the_probation() -> None:
    series = nab.Labelled(name="one", rows=1000, windows=((400, 450),))
    worth, within = nab.weigh(series)
    assert worth[400] == pytest.approx(1)
    assert all(np.diff(worth[400:451]) < 0)
    assert worth[399] == pytest.approx(-0.11)
    assert -0.02 < worth[451] < 0
    assert worth[600] == pytest.approx(-0.11)
    assert (within[:150] == -2).all()
    assert nab.probation(20_000) == 750


def test_one_threshold_is_the_best_of_all() -> None:
    chance = np.random.default_rng(4)
    corpus = [nab.Labelled(name=str(n), rows=300, windows=((100 + n, 130 + n), (200, 230))) for n in range(5)]
    scores = [np.round(chance.random(300), 2) for _ in corpus]
    threshold, raw = nab.sweep(corpus, scores)
    totals = {
        value: sum(
            nab.judge(series, given, value).score for series, given in zip(corpus, scores, strict=True)
        )
        for value in np.unique(np.concatenate(scores))
    }
    assert raw == pytest.approx(max(*totals.values(), -10.0))
    assert math.isinf(threshold) or totals[threshold] == pytest.approx(raw)
