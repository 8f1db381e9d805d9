"""What is asked of the ledger about engagement and features: SQL over its views, and rows into values.

Blocking: called from a thread of the observer.
"""

from __future__ import annotations

from typing import Any

from scipy.special import stdtrit

from andon.ledger.queries import Bounds, Engine
from andon.observability.engagement.rules import Engagement, FeatureTime, estimate_mean, estimate_ratio

BOUNDS = Bounds(seconds=60.0, memory_bytes=1 << 30, rows=10_000)

_SERVED = """
    SELECT * FROM requests
    WHERE endpoint = $endpoint AND at_ns >= $since_ns AND refused_by IS NULL AND release IS NOT NULL
"""

EXCHANGES = f"""
WITH served AS ({_SERVED})
SELECT release, count(*) AS exchanges, count(*) FILTER (WHERE stream) AS streams,
    count(*) FILTER (WHERE stream AND status = 499) AS abandoned
FROM served GROUP BY release ORDER BY release
"""  # noqa: S608 - made of constants

FEEDBACK = f"""
WITH served AS ({_SERVED})
SELECT served.release, count(DISTINCT served.id) AS exchanges,
    count(*) FILTER (WHERE kind = 'thumb') AS thumbs,
    count(*) FILTER (WHERE kind = 'thumb' AND value >= 0.5) AS thumbs_up,
    count(*) FILTER (WHERE kind = 'rating') AS ratings,
    avg(value) FILTER (WHERE kind = 'rating') AS rating_mean,
    stddev_samp(value) FILTER (WHERE kind = 'rating') AS rating_deviation,
    count(DISTINCT served.id) FILTER (WHERE kind = 'regenerate') AS regenerated
FROM feedback JOIN served ON feedback.request_id = served.id
GROUP BY served.release
"""  # noqa: S608 - made of constants

FEATURES = """
WITH told AS (
    SELECT unnest(map_entries(features)) AS entry, duration_us FROM requests
    WHERE endpoint = $endpoint AND at_ns >= $since_ns AND features IS NOT NULL
)
SELECT entry.key AS feature, count(*) AS requests,
    quantile_cont(entry.value, 0.5)::DOUBLE AS p50_us, quantile_cont(entry.value, 0.95)::DOUBLE AS p95_us,
    sum(entry.value)::DOUBLE / nullif(sum(duration_us), 0)::DOUBLE AS share
FROM told GROUP BY feature ORDER BY sum(entry.value) DESC, feature
"""


def read_engagement(engine: Engine, endpoint: str, since_ns: int) -> list[Engagement]:
    """Engagement with each release of an endpoint since a moment, by name of release. Blocks."""
    given = {"endpoint": endpoint, "since_ns": since_ns}
    told = {row["release"]: row for row in engine.query(FEEDBACK, given, BOUNDS).to_pylist()}
    return [
        _engagement(row, told.get(row["release"], {}))
        for row in engine.query(EXCHANGES, given, BOUNDS).to_pylist()
    ]


def _engagement(exchanges: dict[str, Any], told: dict[str, Any]) -> Engagement:
    count = exchanges["exchanges"]
    return Engagement(
        release=exchanges["release"],
        exchanges=count,
        feedback=estimate_ratio(told.get("exchanges", 0), count),
        thumbs=estimate_ratio(told.get("thumbs_up", 0), told.get("thumbs", 0)),
        rating=estimate_mean(
            told.get("rating_mean"), told.get("rating_deviation"), told.get("ratings", 0), _t_quantile
        ),
        regenerated=estimate_ratio(told.get("regenerated", 0), count),
        abandoned=estimate_ratio(exchanges["abandoned"], exchanges["streams"]),
    )


def _t_quantile(probability: float, freedom: int) -> float:
    return float(stdtrit(freedom, probability))


def read_features(engine: Engine, endpoint: str, since_ns: int) -> list[FeatureTime]:
    """What each feature of an endpoint took since a moment, the costliest first. Blocks."""
    given = {"endpoint": endpoint, "since_ns": since_ns}
    return [FeatureTime(**row) for row in engine.query(FEATURES, given, BOUNDS).to_pylist()]
