"""A histogram that adds: quantiles within 1 % from a few hundred counts. Pure.

Buckets grow by a constant ratio (DDSketch: Masson, Rim & Lee, VLDB 2019, §2.2), so two histograms are merged by adding
counts, over time, releases or gateways alike. Values outside the range count in the first or last bucket.
"""

from __future__ import annotations

import math

ACCURACY = 0.01
_RATIO = (1 + ACCURACY) / (1 - ACCURACY)
_SCALE = 1 / math.log(_RATIO)
BUCKETS_MAX = 1100  # covers 1 to over 3e9: microseconds up to nearly an hour


class Histogram:
    """Counts of positive numbers. Memory grows with the number of different magnitudes, up to `BUCKETS_MAX`."""

    __slots__ = ("_counts", "total")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.total = 0

    def add(self, value: float) -> None:
        """Count one value; what is below 1 counts as 1."""
        index = 0 if value <= 1 else min(BUCKETS_MAX - 1, math.ceil(math.log(value) * _SCALE))
        self._counts[index] = self._counts.get(index, 0) + 1
        self.total += 1

    def merge(self, other: Histogram) -> None:
        """Add another's counts."""
        for index, count in other._counts.items():
            self._counts[index] = self._counts.get(index, 0) + count
        self.total += other.total

    def quantile(self, share: float) -> float | None:
        """The value below which `share` of all lie, within 1 %; None of nothing. Raises ValueError outside [0, 1]."""
        if not 0 <= share <= 1:
            raise ValueError(f"{share} is not a share; quantiles lie in [0, 1]")
        if not self.total:
            return None
        rank, seen = share * (self.total - 1), 0
        for index in sorted(self._counts):
            seen += self._counts[index]
            if seen > rank:
                break
        return 2 * _RATIO**index / (_RATIO + 1)  # the point with equal relative error to both edges
