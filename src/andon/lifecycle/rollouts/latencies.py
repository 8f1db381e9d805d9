"""Latencies of one arm as an additive histogram of 1 % relative width, in bounded memory.

Stands under `gates.py`: the latency gate takes its cut-offs from the stable arm's histogram. Pure; never reads a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log

_WIDTH = log(1.02)  # bucket bounds are 2 % apart, so the middle is within 1 % of every value inside
_LEAST_S = 1e-6
_BUCKETS = 1200  # 1 microsecond to about 6 hours; anything longer counts in the last one
_OFFSET = log(_LEAST_S)


class Latencies:
    """Counts per bucket. Adding takes constant time; a quantile takes one pass over the buckets."""

    __slots__ = ("_counts", "_high", "_low", "n")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._low, self._high = _BUCKETS, -1
        self.n = 0

    def add(self, seconds: float) -> None:
        """Count one latency; anything below a microsecond counts as one."""
        place = int((log(seconds) - _OFFSET) / _WIDTH) if seconds > _LEAST_S else 0
        if place >= _BUCKETS:
            place = _BUCKETS - 1
        self._counts[place] += 1
        self.n += 1
        if place < self._low:
            self._low = place
        if place > self._high:
            self._high = place

    def add_all(self, latencies: Sequence[float]) -> None:
        """Count several, none of them twice: as `add` does, with what they share done once."""
        counts, low, high = self._counts, self._low, self._high
        for seconds in latencies:
            place = int((log(seconds) - _OFFSET) / _WIDTH) if seconds > _LEAST_S else 0
            if place >= _BUCKETS:
                place = _BUCKETS - 1
            counts[place] += 1
            if place < low:
                low = place
            if place > high:
                high = place
        self._low, self._high = low, high
        self.n += len(latencies)

    def quantile(self, share: float) -> float | None:
        """Seconds below which `share` of the latencies lie, within 1 %; None when there are none."""
        if self.n == 0:
            return None
        wanted = share * self.n
        seen = 0
        for place in range(self._low, self._high + 1):
            seen += self._counts[place]
            if seen >= wanted:
                return exp(_OFFSET + (place + 0.5) * _WIDTH)
        return exp(_OFFSET + (self._high + 0.5) * _WIDTH)
