"""Rates and means with their intervals: how sure one can be of what few people did. Pure.

An interval is of 95 %. Unknown is null: where nobody did anything there is no rate, and of one rating no interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

CONFIDENCE = 0.95
Z = 1.959963984540054  # quantile of the normal distribution at 0.975


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A number, from how many it is, and where it lies with 95 % confidence."""

    value: float | None
    low: float | None
    high: float | None
    count: int


def estimate_ratio(successes: int, trials: int) -> Estimate:
    """A share with the score interval of Wilson (JASA 22, 1927, p. 209): it holds near 0 and 1 and for few trials."""
    if trials <= 0:
        return Estimate(value=None, low=None, high=None, count=0)
    share, z2 = successes / trials, Z * Z
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    reach = Z / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    return Estimate(value=share, low=max(0.0, middle - reach), high=min(1.0, middle + reach), count=trials)


def estimate_mean(
    mean: float | None, deviation: float | None, count: int, quantile: Callable[[float, int], float]
) -> Estimate:
    """A mean with the interval of Student (Biometrika 6, 1908).

    `deviation` is that of the sample; `quantile(p, freedom)` is that of the t distribution.
    """
    if mean is None or count <= 0:
        return Estimate(value=None, low=None, high=None, count=0)
    if deviation is None or count < 2:
        return Estimate(value=mean, low=None, high=None, count=count)
    reach = quantile((1 + CONFIDENCE) / 2, count - 1) * deviation / math.sqrt(count)
    return Estimate(value=mean, low=mean - reach, high=mean + reach, count=count)


class Engagement(msgspec.Struct, frozen=True, kw_only=True):
    """What people did with one release's answers."""

    release: str
    exchanges: int
    feedback: Estimate  # share of exchanges with any feedback
    thumbs: Estimate  # share of thumbs that are up
    rating: Estimate  # mean of ratings, 1 to 5
    regenerated: Estimate  # share of exchanges that somebody asked for once more
    abandoned: Estimate  # share of streamed exchanges that the client left


class FeatureTime(msgspec.Struct, frozen=True, kw_only=True):
    """What computing one feature took."""

    feature: str
    requests: int
    p50_us: float
    p95_us: float
    share: float | None  # of the duration of the requests that had it
