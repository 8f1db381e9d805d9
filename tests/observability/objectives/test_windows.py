"""Windows: factors from period and objective, reachability, and what fires on which evidence."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.observability.objectives.model import (
    AlertingSpec,
    AvailabilitySpec,
    IndicatorSpec,
    ObjectiveSpec,
    WindowSpec,
)
from andon.observability.objectives.tails import binomial_tail
from andon.observability.objectives.verdicts import Tallied, budget_of, judge_window, lower_bound
from andon.observability.objectives.windows import period_from_ns, windows_of

DAY_NS = 86_400_000_000_000


def spec(objective: float = 0.999, period: str = "30d", **rest: object) -> ObjectiveSpec:
    indicator = IndicatorSpec(availability=AvailabilitySpec())
    return ObjectiveSpec(indicator=indicator, objective=objective, period=period, **rest)  # type: ignore[arg-type]  # by name


def test_factors_of_30_days_are_the_workbooks() -> None:
    assert [round(window.factor, 6) for window in windows_of(spec())] == [14.4, 6, 3, 1]
    assert [(window.long_s, window.short_s) for window in windows_of(spec())] == [
        (3_600, 300),
        (21_600, 1_800),
        (86_400, 7_200),
        (259_200, 21_600),
    ]


def test_factors_of_28_days_are_derived_not_copied() -> None:
    factors = [round(window.factor, 4) for window in windows_of(spec(period="28d"))]
    assert factors == [13.44, 5.6, 2.8, 0.9333]


def test_a_factor_that_can_never_fire_is_capped_and_told() -> None:
    low = windows_of(spec(0.93))[0]
    assert not low.reachable
    assert "can never fire (objective ≤ 93.06%)" in low.note
    assert low.ratio == pytest.approx(0.535)
    high = windows_of(spec(0.999))[0]
    assert high.reachable
    assert not high.note


@given(st.floats(0.01, 0.99999), st.sampled_from(["28d", "30d", "7d"]))
def test_every_window_can_fire_at_a_total_outage(objective: float, period: str) -> None:
    for window in windows_of(spec(objective, period)):
        assert 0 < window.ratio < 1
        total = Tallied(10**6, 10**6)
        verdict = judge_window(window, objective, total, total, missing="ignore", minimum=1)
        assert verdict.word == "fires"


def test_one_error_among_few_requests_pages_nobody() -> None:
    window = windows_of(spec())[0]
    for total in range(1, 70):
        counted = Tallied(total, 1)
        verdict = judge_window(window, 0.999, counted, counted, missing="ignore", minimum=1)
        assert counted.bad / counted.total > window.ratio  # by the ratio alone it would
        assert verdict.word == "too few"


def test_many_errors_among_few_requests_do_page() -> None:
    window = windows_of(spec())[0]
    counted = Tallied(10, 8)
    assert judge_window(window, 0.999, counted, counted, missing="ignore", minimum=1).word == "fires"
    assert judge_window(window, 0.999, counted, counted, missing="ignore", minimum=50).word == "too few"


def test_the_short_window_ends_a_page() -> None:
    window = windows_of(spec())[0]
    long, short = Tallied(36_000, 3_600), Tallied(3_000, 0)
    verdict = judge_window(window, 0.999, long, short, missing="ignore", minimum=1)
    assert (verdict.word, verdict.why) == ("quiet", "the short window has recovered")


@pytest.mark.parametrize(("missing", "word"), [("ignore", "no data"), ("good", "quiet"), ("bad", "fires")])
def test_silence_is_what_the_spec_says(missing: str, word: str) -> None:
    none = Tallied(0, 0)
    verdict = judge_window(windows_of(spec())[0], 0.999, none, none, missing=missing, minimum=1)  # type: ignore[arg-type]  # parametrised
    assert verdict.word == word


@given(st.integers(1, 60), st.data())
def test_the_tail_is_the_sum_of_the_distribution(total: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, total))
    chance = data.draw(st.floats(0.001, 0.999))
    direct = sum(math.comb(total, k) * chance**k * (1 - chance) ** (total - k) for k in range(bad, total + 1))
    assert binomial_tail(bad, total, chance) == pytest.approx(direct, rel=1e-9, abs=1e-300)


@given(st.integers(1, 500), st.data())
def test_evidence_is_the_clopper_pearson_bound(total: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(1, total))
    low = lower_bound(bad, total, 1e-3)
    assert binomial_tail(bad, total, low) == pytest.approx(1e-3, rel=1e-6)


def test_windows_of_ones_own_replace_the_derived_ones() -> None:
    own = WindowSpec(long="30m", burn=2.0, after="2m")
    (window,) = windows_of(spec(alerting=AlertingSpec(windows=(own,))))
    assert (window.long_s, window.short_s, window.factor, window.after_s) == (1_800, 150, 2.0, 120)


def test_a_budget_is_weighed_by_events() -> None:
    budget = budget_of(0.99, Tallied(10_000, 40), burn=2.0, period_s=30 * 86_400)
    assert budget.remaining == pytest.approx(0.6)
    assert budget.exhaustion_s == pytest.approx(0.6 * 30 * 86_400 / 2)
    assert budget_of(0.99, Tallied(100, 3), None, 1).remaining == pytest.approx(-2)


def test_a_calendar_month_begins_at_its_first_instant() -> None:
    month = spec(period="month")
    may_10 = 1_778_371_200_000_000_000  # 2026-05-10T00:00:00Z
    may_1 = may_10 - 9 * DAY_NS
    assert period_from_ns(month, may_10) == may_1
    assert period_from_ns(month, may_1) == may_1 - 30 * DAY_NS  # April is whole
