"""ADWIN: a window of recent values that shrinks by itself where the mean has changed.

Bifet & Gavaldà, "Learning from Time-Changing Data with Adaptive Windowing", SDM 2007 (ADWIN2): an exponential
histogram of the window, and for every cut of it the bound ε = √(2/m·σ²·ln(2/δ')) + 2/(3m)·ln(2/δ') with
m = 1/(1/n₀ + 1/n₁) and δ' = δ/ln(n). Values in [0, 1]. Used where no usual rate is known beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

BUCKETS_MAX = 5  # of one size, as in the paper
_EVERY = 32  # values between two looks: the paper's own economy
_ROWS_MIN = 5  # of a side that is compared


class Adwin:
    """One stream. O(log n) memory, O(log² n) time at a look."""

    def __init__(self, delta: float = 0.002) -> None:
        self._delta = delta
        # rows[k] holds buckets of 2^k values as (sum, sum of squared distances to their mean), newest first.
        self._rows: list[list[tuple[float, float]]] = [[]]
        self._since = 0
        self.count = 0  # values in the window
        self.total = 0.0
        self._squares = 0.0  # sum of squared distances to the window's mean

    @property
    def mean(self) -> float:
        """Of the window."""
        return self.total / self.count if self.count else 0.0

    def take(self, value: float) -> bool:
        """One value in [0, 1]; whether the window was cut, because the mean has changed."""
        if self.count:
            self._squares += self.count * (value - self.mean) ** 2 / (self.count + 1)
        self.count += 1
        self.total += value
        self._rows[0].insert(0, (value, 0.0))
        self._compress()
        self._since += 1
        if self._since < _EVERY or self.count < 2 * _ROWS_MIN:
            return False
        self._since = 0
        changed = False
        while self._cut():
            changed = True
        return changed

    def _compress(self) -> None:
        for level, row in enumerate(self._rows):
            if len(row) <= BUCKETS_MAX:
                return
            (one, spread), (other, apart) = row.pop(), row.pop()
            size = 2**level
            merged = (one + other, spread + apart + (one - other) ** 2 / (2 * size))
            if level + 1 == len(self._rows):
                self._rows.append([])
            self._rows[level + 1].insert(0, merged)

    def _cut(self) -> bool:
        """Drop the oldest bucket if some cut of the window has means that differ by more than the bound."""
        oldest, total = 0, 0.0
        variance = self._squares / self.count
        likely = math.log(2.0 * math.log(self.count) / self._delta)
        for level in range(len(self._rows) - 1, -1, -1):
            for held, _ in reversed(self._rows[level]):
                oldest += 2**level
                total += held
                newest = self.count - oldest
                if newest < _ROWS_MIN:
                    return False
                if oldest < _ROWS_MIN:
                    continue
                m = 1.0 / (1.0 / oldest + 1.0 / newest)
                bound = math.sqrt(2.0 / m * variance * likely) + 2.0 / (3.0 * m) * likely
                if abs(total / oldest - (self.total - total) / newest) > bound:
                    self._drop()
                    return True
        return False

    def _drop(self) -> None:
        level = len(self._rows) - 1
        held, spread = self._rows[level].pop()
        size = 2**level
        rest = self.count - size
        if rest:
            apart = held / size - (self.total - held) / rest
            self._squares = max(self._squares - spread - size * rest / self.count * apart**2, 0.0)
        self.count, self.total = rest, self.total - held
        while len(self._rows) > 1 and not self._rows[-1]:
            self._rows.pop()


def changes(values: Iterable[float], delta: float = 0.002) -> list[int]:
    """Places at which the window was cut."""
    window = Adwin(delta)
    return [place for place, value in enumerate(values) if window.take(value)]
