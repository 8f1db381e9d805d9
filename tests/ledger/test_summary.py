"""The figures of `andon top`, and the histogram under every latency."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.ledger.histogram import Histogram, nearest_rank
from andon.ledger.row import Intent
from andon.ledger.summary import OTHER, SUBJECTS_MAX, summarise
from tests.ledger.conftest import row

SECOND = 10**9


@given(st.lists(st.floats(1, 1e9), min_size=1), st.floats(0, 1))
def test_quantiles_are_within_one_percent_of_the_nearest_rank(values: list[float], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = sorted(values)[nearest_rank(share, len(values)) - 1]
    found = histogram.quantile(share)
    assert found is not None
    assert abs(found - exact) <= 0.0101 * exact


def test_nearest_rank_is_the_ceiling_whatever_floats_make_of_it() -> None:
    for total in range(1, 400):
        for percent in range(101):
            assert nearest_rank(percent / 100, total) == max(1, math.ceil(percent * total / 100 - 1e-9))
            assert nearest_rank(percent / 100, total) == max(1, -(-percent * total // 100))


@given(st.lists(st.floats(0, 1e12)), st.lists(st.floats(0, 1e12)), st.booleans(), st.booleans())
def test_merging_is_counting_together_packed_or_not(
    left: list[float], right: list[float], pack_left: bool, pack_right: bool
) -> None:
    parts, together = [Histogram(), Histogram()], Histogram()
    for part, values in zip(parts, (left, right), strict=True):
        for value in values:
            part.add(value)
            together.add(value)
    for part, is_packed in zip(parts, (pack_left, pack_right), strict=True):
        if is_packed:
            part.pack()
    parts[0].merge(parts[1])
    assert parts[0].total == together.total
    assert sorted(parts[0].items()) == sorted(together.items())
    assert parts[0].quantile(0.5) == together.quantile(0.5)


def test_an_empty_histogram_knows_no_quantile_and_shares_are_checked() -> None:
    assert Histogram().quantile(0.5) is None
    with pytest.raises(ValueError, match="share"):
        Histogram().quantile(1.5)


def test_a_reading_counts_requests_attempts_errors_and_tokens() -> None:
    now = 1000 * SECOND
    fields = {"endpoint": "credit", "release": "credit@2", "arm": "stable", "at_ns": now}
    rows = [
        Intent(id="r-0", endpoint="credit"),
        row(1, status=200, duration_us=1000, input_tokens=5, output_tokens=7, **fields),
        row(2, status=503, final=False, provider_error=True, **fields),
        row(2, status=500, provider_error=True, duration_us=9000, **fields),
        row(3, status=429, duration_us=10, **fields),
        row(4, status=499, duration_us=10, **fields),
        row(5, status=200, **{**fields, "at_ns": now - 60 * SECOND}),
    ]
    (reading,) = summarise(rows, now - 10 * SECOND, now + 1)
    assert (reading.requests, reading.attempts, reading.refused, reading.cancelled) == (4, 5, 1, 1)
    assert (reading.errors, reading.attempt_errors) == (1, 2)
    assert (reading.input_tokens, reading.output_tokens) == (5, 7)
    assert reading.error_rate == pytest.approx(1 / 4)
    assert reading.duration is not None
    assert reading.duration.count == 4
    assert reading.duration.p99_ms == pytest.approx(9.0, rel=0.01)
    assert reading.first_token is None


def test_a_stream_has_a_first_token_and_a_pace() -> None:
    fields = {"endpoint": "chat", "release": "chat@1", "arm": "stable", "at_ns": 1}
    rows = [
        row(1, stream=True, first_byte_us=200_000, upstream_us=1_200_000, output_tokens=101, **fields),
        row(2, stream=False, first_byte_us=7, upstream_us=9, output_tokens=101, **fields),
    ]
    (reading,) = summarise(rows, 0, 2)
    assert reading.first_token is not None
    assert reading.per_token is not None
    assert reading.first_token.count == reading.per_token.count == 1
    assert reading.first_token.p50_ms == pytest.approx(200, rel=0.01)
    assert reading.per_token.p50_ms == pytest.approx(10, rel=0.01)


def test_a_shadow_is_counted_in_its_own_arm_only() -> None:
    rows = [
        row(1, endpoint="e", release="e@1", arm="stable", duration_us=5, at_ns=1),
        row(1, endpoint="e", release="e@2", arm="shadow", final=False, duration_us=7, at_ns=1),
    ]
    shadow, stable = sorted(summarise(rows, 0, 2), key=lambda reading: reading.arm)
    assert (shadow.arm, shadow.requests, stable.arm, stable.requests) == ("shadow", 1, "stable", 1)


def test_the_number_of_subjects_is_bounded() -> None:
    rows = [row(number, endpoint=f"e-{number}", release="r", at_ns=1) for number in range(SUBJECTS_MAX + 50)]
    readings = summarise(rows, 0, 2)
    assert len(readings) == SUBJECTS_MAX + 1
    assert next(reading for reading in readings if reading.endpoint == OTHER).requests == 50


def test_names_that_clients_invent_make_no_subjects() -> None:
    rows = [row(number, endpoint=f"junk-{number}", status=404, at_ns=1) for number in range(10)]
    (reading,) = summarise(rows, 0, 2)
    assert (reading.endpoint, reading.requests, reading.refused) == (OTHER, 10, 10)
