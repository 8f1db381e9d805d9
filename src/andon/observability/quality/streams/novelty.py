"""Scores each row of a metric series by how new it is: its value, and the shape of the last rows.

Nearest-neighbour novelty, as in conformal k-NN anomaly detection (Burnaev & Ishimtsev, arXiv 1608.04585) and left
discords (Yeh et al., Matrix Profile I, ICDM 2016): seasons need no period, because what came before is not new. Each
distance is judged against the running mean and deviation of its own history, and an episode scores once: a row counts
only where it exceeds everything in the quiet span before it. No labels, no settings per series.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

import msgspec
import numpy as np

_FLAT_Z = 20.0  # what a first departure from a constant is worth; also the most that one part can say
_FLOOR_Z = -1.0  # being unremarkable in one way takes little from being new in another
_TINY = 1e-9  # of the series' scale: distances below are rounding


class NoveltySettings(msgspec.Struct, frozen=True, kw_only=True):
    """The same for every series."""

    shape_rows: int = 48  # how many rows make a shape: four hours of five-minute rows
    memory_rows: int = 4096  # how much past is remembered; older shapes are new again
    warmup_rows: int = 50  # nothing is said before
    quiet_rows: int = 100  # an incident scores once in so many rows, unless it gets worse
    threshold: float = (
        3.0  # a sum of deviations; near the best single threshold of the NAB series of development
    )


class _Deviation:
    """How many standard deviations a value is from the mean of all before it (Welford 1962)."""

    def __init__(self) -> None:
        self._count, self._mean, self._squares = 0, 0.0, 0.0

    def take(self, value: float, tiny: float) -> float:
        """The deviation, then the value becomes part of the past."""
        spread = math.sqrt(self._squares / self._count) if self._count else 0.0
        away = value - self._mean
        if spread > tiny:
            said = away / spread
        else:
            said = _FLAT_Z if self._count and abs(away) > tiny else 0.0
        self._count += 1
        self._mean += away / self._count
        self._squares += away * (value - self._mean)
        return min(max(said, _FLOOR_Z), _FLAT_Z)


class NoveltyDetector:
    """One metric series. O(`memory_rows`) time and memory per row: about 30 µs at the default."""

    def __init__(self, settings: NoveltySettings | None = None) -> None:
        self._settings = settings or NoveltySettings()
        size = self._settings.memory_rows + self._settings.shape_rows
        self._values = np.zeros(size)
        self._apart = np.zeros(size)  # sum of squared distances of the current shape to the one ending there
        self._rows = 0
        self._scale = 0.0
        self._first = 0.0
        self._value = _Deviation()
        self._shape = _Deviation()
        self._recent: deque[tuple[int, float]] = deque()  # falling scores of the quiet span

    def take(self, value: float) -> float:
        """The score of the next row, 0 for anything usual; a row that is not a number is passed over with 0."""
        if not math.isfinite(value):
            return 0.0
        if self._rows == 0:
            self._first = value
        value -= self._first  # keeps the running sums small where the level is high
        nearest, shape = self._distances(value)
        self._scale = max(self._scale, abs(value))
        tiny = _TINY * self._scale
        said = self._value.take(nearest, tiny) + self._shape.take(shape, tiny)
        self._rows += 1
        return self._once(said if self._rows > self._settings.warmup_rows else 0.0)

    def _distances(self, value: float) -> tuple[float, float]:
        """Distance to the nearest earlier value, and of the last shape to the nearest earlier one apart from it."""
        length, size = self._settings.shape_rows, len(self._values)
        known = min(self._rows, size)
        place = self._rows % size
        if known == 0:
            self._values[place] = value
            return 0.0, 0.0
        away = (self._values[:known] - value) ** 2
        nearest = math.sqrt(float(away.min()))
        # The sum for shapes ending one row later is the former sum, plus the new pair, minus the oldest pair.
        former = np.roll(self._apart, 1)[:known]
        if self._rows >= length:
            leaving = self._values[(self._rows - length) % size]
            before = np.roll(self._values, length)[:known]
            self._apart[:known] = (
                former + away - np.where(self._aged(known, length), (before - leaving) ** 2, 0.0)
            )
        else:
            self._apart[:known] = former + away
        apart = self._apart[:known][self._comparable(known, length)]
        shape = math.sqrt(max(float(apart.min()), 0.0) / length) if len(apart) else 0.0
        self._values[place] = value
        self._apart[place] = 0.0
        return nearest, shape

    def _ages(self, known: int) -> np.ndarray:
        """Rows since each slot was written: 1 for the row before this one."""
        return (self._rows - 1 - np.arange(known)) % len(self._values) + 1

    def _aged(self, known: int, length: int) -> np.ndarray:
        """Slots that have a row `length` before them."""
        return np.asarray(self._rows - self._ages(known) >= length)

    def _comparable(self, known: int, length: int) -> np.ndarray:
        """Slots where a whole shape ends that shares no row with the current one, all of it still remembered."""
        ages = self._ages(known)
        return np.asarray(
            (ages >= length) & (self._rows - ages >= length - 1) & (ages <= len(self._values) - length)
        )

    def _once(self, said: float) -> float:
        """The score, or 0 where the quiet span has seen as much."""
        recent, row = self._recent, self._rows
        while recent and recent[0][0] < row - self._settings.quiet_rows:
            recent.popleft()
        new = not recent or said > recent[0][1]
        while recent and recent[-1][1] <= said:
            recent.pop()
        recent.append((row, said))
        return said if new and said > 0 else 0.0


def score_series(values: Iterable[float], settings: NoveltySettings | None = None) -> np.ndarray:
    """The score of every row, each from the rows before it only."""
    detector = NoveltyDetector(settings)
    return np.array([detector.take(float(value)) for value in values])
