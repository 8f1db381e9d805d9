"""The figures of `andon top`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.ledger.histogram import Histogram
from andon.ledger.row import Intent
from andon.ledger.summary import OTHER, SUBJECTS_MAX, Summary
from tests.ledger.conftest import row

SECOND = 10**9


@given(st.lists(st.floats(1, 1e9), min_size=1), st.floats(0, 1))
def test_quantiles_are_within_one_percent_of_the_exact_ones(values: list[float], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = sorted(values)[int(share * (len(values) - 1))]
    found = histogram.quantile(share)
    assert found is not None
    assert abs(found - exact) <= 0.0101 * exact


@given(st.lists(st.floats(0, 1e12)), st.lists(st.floats(0, 1e12)))
def test_merging_is_counting_together(left: list[float], right: list[float]) -> None:
    parts, together = [Histogram(), Histogram()], Histogram()
    for part, values in zip(parts, (left, right), strict=True):
        for value in values:
            part.add(value)
            together.add(value)
    parts[0].merge(parts[1])
    assert parts[0].total == together.total
    assert parts[0].quantile(0.5) == together.quantile(0.5)


def test_an_empty_histogram_knows_no_quantile_and_shares_are_checked() -> None:
    assert Histogram().quantile(0.5) is None
    with pytest.raises(ValueError, match="share"):
        Histogram().quantile(1.5)


def test_a_line_counts_requests_attempts_errors_and_tokens() -> None:
    summary = Summary(window_s=60)
    now = 1000 * SECOND
    fields = {"endpoint": "credit", "release": "credit@2", "at_ns": now}
    summary.extend(
        [
            Intent(id="r-0", endpoint="credit"),
            row(1, status=200, duration_us=1000, input_tokens=5, output_tokens=7, **fields),
            row(2, status=503, final=False, provider_error=True, **fields),
            row(2, status=500, provider_error=True, duration_us=9000, **fields),
            row(3, status=429, duration_us=10, **fields),
        ]
    )
    (line,) = summary.lines(now)
    assert (line.requests, line.attempts, line.errors, line.refused) == (3, 4, 1, 1)
    assert (line.input_tokens, line.output_tokens) == (5, 7)
    assert line.error_rate == pytest.approx(1 / 3)
    assert line.p50_ms == pytest.approx(1.0, rel=0.01)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    summary = Summary(window_s=10)
    for second in range(1000):
        summary.add(row(second, endpoint="e", at_ns=second * SECOND))
    (line,) = summary.lines(999 * SECOND)
    assert 9 <= line.requests <= 11
    assert summary.lines(2000 * SECOND) == []
    summary.add(row(0, endpoint="e", at_ns=0))
    assert summary.lines(0) == []


def test_the_number_of_subjects_is_bounded() -> None:
    summary = Summary()
    for number in range(SUBJECTS_MAX + 50):
        summary.add(row(number, endpoint=f"e-{number}", at_ns=SECOND))
    lines = summary.lines(SECOND)
    assert len(lines) == SUBJECTS_MAX + 1
    assert next(line for line in lines if line.endpoint == OTHER).requests == 50
