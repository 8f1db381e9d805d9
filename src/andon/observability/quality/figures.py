"""Figures of quality from labels, each with a 95 % interval and its sampling error. Pure numpy.

Every figure knows its spread: the standard error of n rows is `spread / sqrt(n)`, so that what a reference shows says
how far a chunk of another size may stray by chance alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from andon.observability.engagement.rules import estimate_ratio
from andon.observability.quality.calibration import calibration_error, roc_auc
from andon.observability.quality.estimate import (
    Confusion,
    count_confusion,
    expect_average_precision,
    measures,
)
from andon.observability.quality.model import CostSpec

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

Z = 1.959963984540054  # quantile of the normal distribution at 0.975
_FLOOR = 1e-15  # of a probability, where its logarithm is taken
RATIOS = ("accuracy", "precision", "recall", "specificity")


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A figure, its 95 % interval and its spread; null where it is not known."""

    value: float
    low: float | None = None
    high: float | None = None
    spread: float | None = None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Labelled answers, each array of shape (n,). `scores` may hold nan where none was recorded."""

    scores: Floats
    truth: Floats  # binary: 0 or 1; regression: the value; multiclass: code of the class
    predicted: Floats  # the same, as answered

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.truth)

    @property
    def correct(self) -> Flags:
        """Which answers were right."""
        return np.asarray(self.truth == self.predicted)


def _mean(values: Floats) -> Figure:
    """A mean with its normal interval."""
    value, spread = float(values.mean()), float(values.std())
    reach = Z * spread / float(np.sqrt(len(values)))
    return Figure(value=value, low=value - reach, high=value + reach, spread=spread)


def _share(flags: Flags, among: Flags) -> Figure | None:
    """A share with the interval of Wilson; its spread is for rows of which only some are `among`."""
    trials, hits = int(among.sum()), int((flags & among).sum())
    if not trials:
        return None
    told = estimate_ratio(hits, trials)
    value = hits / trials
    spread = float(np.sqrt(value * (1.0 - value) / (trials / len(among))))
    return Figure(value=value, low=told.low, high=told.high, spread=spread)


def _f1(truth: Flags, predicted: Flags) -> Figure | None:
    """F1 as the share of hits, each counted twice, among hits and both kinds of misses."""
    hits, misses = int((truth & predicted).sum()), int((truth != predicted).sum())
    if not hits + misses:
        return None
    weight = 2 * hits + misses
    value = 2 * hits / weight
    # By the delta method on the rates of hits and misses: d f1 = (2·misses·dh - 2·hits·dm) / weight².
    rows = len(truth)
    rate_h, rate_m = hits / rows, misses / rows
    slope_h, slope_m = 2 * rate_m / (weight / rows) ** 2, -2 * rate_h / (weight / rows) ** 2
    variance = (
        slope_h**2 * rate_h * (1 - rate_h)
        + slope_m**2 * rate_m * (1 - rate_m)
        - 2 * slope_h * slope_m * rate_h * rate_m
    )
    return _normal(value, float(np.sqrt(max(variance, 0.0))), rows)


def _normal(value: float, spread: float, rows: int) -> Figure:
    reach = Z * spread / float(np.sqrt(rows))
    return Figure(value=value, low=max(0.0, value - reach), high=min(1.0, value + reach), spread=spread)


def auc_with_error(scores: Floats, truth: Flags) -> Figure | None:
    """The area under the ROC curve with the variance of DeLong, DeLong & Clarke-Pearson (Biometrics 44, 1988).

    By midranks (Sun & Xu, IEEE SPL 21, 2014): n log n. None where a class has fewer than two rows.
    """
    positives, negatives = scores[truth], scores[~truth]
    m, n = len(positives), len(negatives)
    if min(m, n) < 2:
        return None
    over = (midranks(scores)[truth] - midranks(positives)) / n
    under = 1.0 - (midranks(scores)[~truth] - midranks(negatives)) / m
    value = roc_auc(scores, truth.astype(float))
    share = m / len(scores)
    spread = float(np.sqrt(over.var(ddof=1) / share + under.var(ddof=1) / (1.0 - share)))
    return _normal(value, spread, len(scores))


def midranks(values: Floats) -> Floats:
    """Ranks from 1, equal values at their middle."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2.0
    return np.asarray(ranks[place], dtype=float)


def cost_of(confusion: Confusion, costs: CostSpec) -> float:
    """The mean cost of an answer."""
    total = (
        confusion.true_positive * costs.true_positive
        + confusion.false_positive * costs.false_positive
        + confusion.true_negative * costs.true_negative
        + confusion.false_negative * costs.false_negative
    )
    return total / confusion.rows if confusion.rows else 0.0


def binary_figures(sample: Sample, costs: CostSpec | None) -> dict[str, Figure]:
    """Every figure of two classes that these rows allow."""
    truth, predicted = sample.truth == 1.0, sample.predicted == 1.0
    everything = np.ones(sample.rows, dtype=bool)
    found: dict[str, Figure | None] = {
        "accuracy": _share(truth == predicted, everything),
        "precision": _share(truth, predicted),
        "recall": _share(predicted, truth),
        "specificity": _share(~predicted, ~truth),
        "f1": _f1(truth, predicted),
    }
    if costs is not None:
        each = np.where(
            truth,
            np.where(predicted, costs.true_positive, costs.false_negative),
            np.where(predicted, costs.false_positive, costs.true_negative),
        )
        found["cost"] = _mean(each)
    scored = np.isfinite(sample.scores)
    if scored.any():
        found |= _scored(sample.scores[scored], truth[scored])
    return {name: figure for name, figure in found.items() if figure is not None}


def _scored(scores: Floats, truth: Flags) -> dict[str, Figure | None]:
    found: dict[str, Figure | None] = {"roc_auc": auc_with_error(scores, truth)}
    if truth.any():
        found["average_precision"] = Figure(value=expect_average_precision(scores, truth.astype(float)))
    if scores.min() >= 0.0 and scores.max() <= 1.0:
        clipped = np.clip(scores, _FLOOR, 1.0 - _FLOOR)
        found["log_loss"] = _mean(-np.log(np.where(truth, clipped, 1.0 - clipped)))
        found["brier"] = _mean((scores - truth) ** 2)
        found["ece"] = Figure(value=calibration_error(scores, truth.astype(float)))
    return found


def class_figures(sample: Sample) -> dict[str, Figure]:
    """Accuracy, and precision, recall and F1 as plain means over the classes that occur (macro)."""
    everything = np.ones(sample.rows, dtype=bool)
    accuracy = _share(sample.correct, everything)
    parts = []
    for code in np.union1d(sample.truth, sample.predicted):
        is_, said = sample.truth == code, sample.predicted == code
        parts.append(measures(count_confusion(is_.astype(float), said)))
    found = {"accuracy": accuracy} if accuracy is not None else {}
    for name in ("precision", "recall", "f1"):
        found[name] = Figure(value=float(np.mean([part[name] for part in parts])))
    return found


def value_figures(sample: Sample) -> dict[str, Figure]:
    """Errors of a regression."""
    error = sample.predicted - sample.truth
    squares = _mean(error**2)
    rmse = float(np.sqrt(squares.value))
    spread = (squares.spread or 0.0) / (2.0 * rmse) if rmse else 0.0  # the delta method
    reach = Z * spread / float(np.sqrt(sample.rows))
    found = {
        "mae": _mean(np.abs(error)),
        "rmse": Figure(value=rmse, low=max(0.0, rmse - reach), high=rmse + reach, spread=spread),
    }
    known = sample.truth != 0.0
    if known.any():
        found["mape"] = _mean(np.abs(error[known] / sample.truth[known]))
    return found


def figures_of(problem: str, sample: Sample, costs: CostSpec | None = None) -> dict[str, Figure]:
    """Every figure of a kind of problem; empty without rows."""
    if not sample.rows:
        return {}
    kinds: dict[str, Callable[[], dict[str, Figure]]] = {
        "binary": lambda: binary_figures(sample, costs),
        "multiclass": lambda: class_figures(sample),
        "regression": lambda: value_figures(sample),
    }
    return kinds[problem]()


def part_of(sample: Sample, rows: Any) -> Sample:
    """The rows that a mask or a slice names."""
    return Sample(scores=sample.scores[rows], truth=sample.truth[rows], predicted=sample.predicted[rows])


def quantiles(values: Floats, shares: Sequence[float]) -> list[float | None]:
    """Order statistics by linear interpolation; null of nothing."""
    if not len(values):
        return [None for _ in shares]
    return [float(value) for value in np.quantile(values, list(shares))]
