"""Engagement and feature time: intervals against SciPy's, and the SQL against a count by hand."""

from __future__ import annotations

import random
import statistics
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from andon.observability.engagement.repository import read_engagement, read_features
from andon.observability.engagement.rules import estimate_mean, estimate_ratio
from tests.ledger.facts.rig import TableOfRequests

COLUMNS = (
    "id VARCHAR, release VARCHAR, endpoint VARCHAR, at_ns BIGINT, refused_by VARCHAR, stream BOOLEAN, "
    "status BIGINT, duration_us BIGINT, features MAP(VARCHAR, BIGINT)"
)


class Tables(TableOfRequests):
    """Requests and feedback as the engine's views show them."""

    def __init__(self) -> None:
        super().__init__(COLUMNS)
        self._base.execute("CREATE TABLE feedback (request_id VARCHAR, kind VARCHAR, value DOUBLE)")

    def tell(self, *values: Any) -> None:
        self._base.execute("INSERT INTO feedback VALUES (?, ?, ?)", values)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_shares_have_wilsons_interval(pair: tuple[int, int]) -> None:
    successes, trials = pair
    found = estimate_ratio(successes, trials)
    wanted = scipy.stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert found.low == pytest.approx(wanted.low, abs=1e-12)
    assert found.high == pytest.approx(wanted.high, abs=1e-12)


def test_nothing_is_known_of_nothing() -> None:
    assert estimate_ratio(0, 0).value is None
    assert estimate_mean(None, None, 0, lambda p, n: 1.0).value is None
    one = estimate_mean(4.0, None, 1, lambda p, n: 1.0)
    assert (one.value, one.low, one.count) == (4.0, None, 1)


def test_engagement_and_features_are_what_one_counts_by_hand() -> None:
    chance = random.Random(7)
    tables = Tables()
    ratings: list[float] = []
    thumbs = {"up": 0, "all": 0}
    seen = {"with": 0, "again": 0, "streams": 0, "left": 0}
    spent: dict[str, list[int]] = {"age": [], "history": []}
    total_us = 0
    for number in range(400):
        stream = number % 2 == 0
        left = stream and chance.random() < 0.1
        times = {"age": chance.randrange(100), "history": chance.randrange(5000)}
        for name, us in times.items():
            spent[name].append(us)
        total_us += 10_000
        tables.put(f"r{number}", "m@1", "credit", 1000, None, stream, 499 if left else 200, 10_000, times)
        seen["streams"] += stream
        seen["left"] += left
        kinds = [kind for kind in ("thumb", "rating", "regenerate") if chance.random() < 0.2]
        seen["with"] += bool(kinds)
        for kind in kinds:
            value = {"thumb": float(chance.random() < 0.8), "rating": float(chance.randint(1, 5))}.get(kind)
            tables.tell(f"r{number}", kind, value)
            if kind == "thumb":
                thumbs["all"] += 1
                thumbs["up"] += value == 1.0
            elif kind == "rating":
                ratings.append(value or 0.0)
            else:
                seen["again"] += 1
    tables.put("old", "m@1", "credit", 10, None, False, 200, 1, None)  # before
    tables.put("else", "m@1", "other", 1000, None, False, 200, 1, None)
    tables.put("no", "m@1", "credit", 1000, "limits", False, 429, 1, None)
    tables.put("quiet", "m@2", "credit", 1000, None, False, 200, 1, None)
    tables.tell("old", "thumb", 1.0)
    first, second = read_engagement(tables, "credit", 1000)
    assert (first.release, first.exchanges) == ("m@1", 400)
    assert first.feedback == estimate_ratio(seen["with"], 400)
    assert first.thumbs == estimate_ratio(thumbs["up"], thumbs["all"])
    assert first.regenerated == estimate_ratio(seen["again"], 400)
    assert first.abandoned == estimate_ratio(seen["left"], seen["streams"])
    assert (first.rating.value, first.rating.count) == (pytest.approx(statistics.mean(ratings)), len(ratings))
    low, high = scipy.stats.t.interval(
        0.95, len(ratings) - 1, statistics.mean(ratings), statistics.stdev(ratings) / len(ratings) ** 0.5
    )
    assert (first.rating.low, first.rating.high) == (pytest.approx(low), pytest.approx(high))
    assert (second.release, second.feedback.value, second.thumbs.value) == ("m@2", 0.0, None)
    costly, cheap = read_features(tables, "credit", 1000)
    assert (costly.feature, cheap.feature, costly.requests) == ("history", "age", 400)
    assert costly.p50_us == pytest.approx(np.quantile(spent["history"], 0.5))
    assert costly.p95_us == pytest.approx(np.quantile(spent["history"], 0.95))
    assert costly.share == pytest.approx(sum(spent["history"]) / total_us)
    tables.close()
