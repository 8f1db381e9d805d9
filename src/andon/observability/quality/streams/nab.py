"""The scorer of the Numenta Anomaly Benchmark, for measuring detectors of metric series on labelled incidents.

Definitions: Lavin & Ahmad, "Evaluating Real-time Anomaly Detection Algorithms", ICMLA 2015, standard profile. One
threshold for all series. The scorer sees labels; a detector never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PROBATION_SHARE = 0.15
PROBATION_ROWS_MAX = 750  # 15 % of the first 5,000 rows
A_TP, A_FP, A_FN = 1.0, 0.11, 1.0  # the standard profile
_FAR = 3.0  # windows past the last one: a false alarm there costs all of A_FP
_OUTSIDE, _PROBATION = -1, -2


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """One series: how many rows, and its labelled windows as (first, last) row, both inclusive, in order."""

    name: str
    rows: int
    windows: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One series at one threshold."""

    score: float
    caught: int  # windows with at least one alarm
    windows: int
    false_alarms: int


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A corpus at its best threshold. `score` is 0 for silence and 100 for the perfect detector."""

    score: float
    threshold: float
    raw: float
    by_series: dict[str, Verdict]


def sigmoid(position: np.ndarray) -> np.ndarray:
    """2/(1+e^(5y)) - 1 for a position y relative to a window: -1 its left edge, 0 its right edge."""
    return 2.0 / (1.0 + np.exp(5.0 * position)) - 1.0


def probation(rows: int) -> int:
    """How many rows at the beginning count for nothing."""
    return int(min(np.floor(PROBATION_SHARE * rows), PROBATION_ROWS_MAX))


def weigh(series: Labelled) -> tuple[np.ndarray, np.ndarray]:
    """What an alarm at each row is worth, and the window that it is in: (n,) float, (n,) int (-1 outside, -2 never)."""
    place = np.arange(series.rows)
    position = np.full(series.rows, _FAR)
    within = np.full(series.rows, _OUTSIDE)
    for number, (first, last) in enumerate(series.windows):
        width = last - first + 1
        inside = slice(first, last + 1)
        after = place > last
        position[after] = np.minimum((place[after] - last) / (width - 1.0), _FAR)
        position[inside] = -(last - place[inside] + 1) / width
        within[inside] = number
    worth = sigmoid(position)
    worth[position >= _FAR] = -1.0
    worth = np.where(within >= 0, A_TP * worth / sigmoid(np.array(-1.0)), A_FP * worth)
    within[: probation(series.rows)] = _PROBATION
    return worth, within


def judge(series: Labelled, scores: np.ndarray, threshold: float) -> Verdict:
    """The score of one series when every row with `scores >= threshold` is an alarm."""
    worth, within = weigh(series)
    alarms = (scores >= threshold) & (within != _PROBATION)
    outside = alarms & (within == _OUTSIDE)
    best = [
        max(float(np.max(worth[alarms & (within == number)], initial=-A_FN)), -A_FN)
        for number in range(len(series.windows))
        if np.any(within == number)
    ]
    return Verdict(
        score=float(worth[outside].sum()) + sum(best),
        caught=sum(1 for number in range(len(series.windows)) if np.any(alarms & (within == number))),
        windows=len(series.windows),
        false_alarms=int(outside.sum()),
    )


def sweep(corpus: Sequence[Labelled], scores: Sequence[np.ndarray]) -> tuple[float, float]:
    """The threshold with the highest raw score over the corpus, and that score."""
    values, worths, windows = [], [], []
    offset = 0
    for series, given in zip(corpus, scores, strict=True):
        worth, within = weigh(series)
        kept = within != _PROBATION
        values.append(given[kept])
        worths.append(worth[kept])
        windows.append(np.where(within >= 0, within + offset, _OUTSIDE)[kept])
        offset += len(series.windows)
    value, worth, window = (np.concatenate(parts) for parts in (values, worths, windows))
    order = np.argsort(-value, kind="stable")
    value, worth, window = value[order], worth[order], window[order]
    gained = _gains(worth, window)
    total = -A_FN * len(set(window[window >= 0].tolist())) + np.cumsum(gained)
    ends = np.flatnonzero(np.append(value[1:] != value[:-1], True))  # a threshold takes all rows of its score
    best = int(ends[np.argmax(total[ends])])
    silence = -A_FN * len(set(window[window >= 0].tolist()))
    if silence >= total[best]:
        return float("inf"), silence
    return float(value[best]), float(total[best])


def _gains(worth: np.ndarray, window: np.ndarray) -> np.ndarray:
    """By how much each alarm in turn changes the raw score: a window is worth its best alarm only."""
    gained = worth.copy()
    best: dict[int, float] = {}
    for place in np.flatnonzero(window >= 0):
        number = int(window[place])
        before = best.get(number, -A_FN)
        best[number] = max(before, float(worth[place]))
        gained[place] = best[number] - before
    return gained


def score_corpus(corpus: Sequence[Labelled], scores: Sequence[np.ndarray]) -> Standing:
    """Standing at the best threshold: 100·(raw - null)/(perfect - null), null and perfect of this corpus."""
    threshold, raw = sweep(corpus, scores)
    count = sum(len(series.windows) for series in corpus)
    return Standing(
        score=100.0 * (raw + A_FN * count) / ((A_TP + A_FN) * count),
        threshold=threshold,
        raw=raw,
        by_series={
            series.name: judge(series, given, threshold) for series, given in zip(corpus, scores, strict=True)
        },
    )
