"""A histogram that adds: quantiles within 1 % from a few hundred counts. Pure.

Buckets grow by a constant ratio (DDSketch: Masson, Rim & Lee, VLDB 2019, §2.2), so two histograms are merged by adding
counts, over time, releases or gateways alike. Values outside the range count in the first or last bucket. Batches are
counted by `observability/windows/batches.py` on this same grid; this file imports no numpy, because control reads it.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable

ACCURACY = 0.01
RATIO = (1 + ACCURACY) / (1 - ACCURACY)
SCALE = 1 / math.log(RATIO)  # buckets per factor of e
BUCKETS_MAX = 1100  # covers 1 to over 3e9: microseconds up to nearly an hour
_COUNT_MAX = 2**32 - 1


class Histogram:
    """Counts of positive numbers. Memory grows with the number of different magnitudes, up to `BUCKETS_MAX`."""

    __slots__ = ("_counts", "_packed", "total")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._packed: tuple[array[int], array[int]] | None = None  # instead of `_counts`, a tenth of its size
        self.total = 0

    def add(self, value: float) -> None:
        """Count one value; what is below 1 counts as 1."""
        index = 0 if value <= 1 else min(BUCKETS_MAX - 1, math.ceil(math.log(value) * SCALE))
        counts = self._open()
        counts[index] = counts.get(index, 0) + 1
        self.total += 1

    def add_counts(self, items: Iterable[tuple[int, int]]) -> None:
        """Add counts by bucket, as `items` of another histogram or a batch gives them."""
        counts, total = self._open(), 0
        for index, count in items:
            counts[index] = counts.get(index, 0) + count
            total += count
        self.total += total

    def merge(self, other: Histogram) -> None:
        """Add another's counts."""
        self.add_counts(other.items())

    def items(self) -> Iterable[tuple[int, int]]:
        """Buckets that are not empty, with their counts; in no order."""
        return self._counts.items() if self._packed is None else zip(*self._packed, strict=True)

    def arrays(self) -> tuple[array[int], array[int]]:
        """The same as two arrays, buckets and counts, for who adds up many at once."""
        return self._packed or (array("H", self._counts), array("Q", self._counts.values()))

    def pack(self) -> None:
        """Keep it small from here on; it opens again by itself when something is added."""
        if self._packed is None and all(count <= _COUNT_MAX for count in self._counts.values()):
            self._packed = (array("H", self._counts), array("I", self._counts.values()))
            self._counts = {}

    def quantile(self, share: float) -> float | None:
        """The smallest value at or below which at least `share` of all lie (nearest rank), within 1 %.

        None of nothing. Raises ValueError outside [0, 1].
        """
        if not 0 <= share <= 1:
            raise ValueError(f"{share} is not a share; quantiles lie in [0, 1]")
        if not self.total:
            return None
        rank, seen, found = nearest_rank(share, self.total), 0, 0
        for index, count in sorted(self.items()):
            found, seen = index, seen + count
            if seen >= rank:
                break
        return 2 * RATIO**found / (RATIO + 1)  # the point with equal relative error to both edges

    def _open(self) -> dict[int, int]:
        if self._packed is not None:
            self._counts = dict(zip(*self._packed, strict=True))
            self._packed = None
        return self._counts


def nearest_rank(share: float, total: int) -> int:
    """Which of `total` sorted values is the quantile, counted from 1: ⌈share · total⌉, as SQL's `quantile_disc`."""
    return max(1, math.ceil(share * total - 1e-9 * total))  # 0.07 · 100 is 7.000000000000001
