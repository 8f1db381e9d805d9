"""Scores into probabilities: isotonic regression on the reference, and how far scores are from being probabilities.

Pure numpy. Used by the estimate before labels and by the calibration gate; it must never look at anything but scores
and outcomes of the reference.
"""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

Floats = NDArray[np.float64]

BINS = 10
FOLDS = 10
HELD_OUT = 0.1  # share of each fold that is judged
SEPARABLE = 0.999  # beyond this ROC AUC there is nothing for a calibrator to learn


class Calibration(msgspec.Struct, frozen=True):
    """A non-decreasing map from scores to probabilities, linear between its knots and flat outside them."""

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    def apply(self, scores: Floats) -> Floats:
        """Probabilities, shape (n,)."""
        return np.interp(scores, self.scores, self.probabilities)


def fit_isotonic(scores: Floats, outcomes: Floats) -> Calibration:
    """Isotonic regression (Zadrozny & Elkan, KDD 2002) by pool-adjacent-violators; equal scores count as one knot.

    `scores` (n,) any real; `outcomes` (n,) 0 or 1. Raises ValueError for fewer than two rows or values not finite.
    """
    if len(scores) < 2 or len(scores) != len(outcomes):
        raise ValueError(f"{len(scores)} scores and {len(outcomes)} outcomes cannot be calibrated")
    if not (np.isfinite(scores).all() and np.isfinite(outcomes).all()):
        raise ValueError("scores and outcomes of a reference must be finite numbers")
    knots, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    means = np.bincount(place, weights=outcomes) / counts
    levels = np.clip(isotonic_regression(means, weights=counts).x, 0.0, 1.0)
    # Inside a flat stretch only its two ends say anything.
    keep = np.ones(len(knots), dtype=bool)
    keep[1:-1] = (levels[1:-1] != levels[:-2]) | (levels[1:-1] != levels[2:])
    return Calibration(tuple(knots[keep].tolist()), tuple(levels[keep].tolist()))


def calibration_error(scores: Floats, outcomes: Floats, bins: int = BINS) -> float:
    """Expected calibration error over bins of equal count (Naeini et al., AAAI 2015), in [0, 1]; nan of nothing."""
    if not len(scores):
        return float("nan")
    order = np.argsort(scores, kind="stable")
    edges = np.linspace(0, len(order), max(1, min(bins, len(order) // 2)) + 1).astype(int)
    error = 0.0
    for left, right in itertools.pairwise(edges):
        part = order[left:right]
        error += len(part) / len(order) * abs(float(scores[part].mean()) - float(outcomes[part].mean()))
    return error


def reliability(scores: Floats, outcomes: Floats, bins: int = BINS) -> list[tuple[float, float, int]]:
    """(mean score, share of positives, rows) of bins of equal count: the calibration curve."""
    order = np.argsort(scores, kind="stable")
    return [
        (float(scores[part].mean()), float(outcomes[part].mean()), len(part))
        for part in np.array_split(order, max(1, min(bins, len(order))))
        if len(part)
    ]


def improves(scores: Floats, outcomes: Floats, generator: Any, folds: int = FOLDS) -> bool:
    """Whether calibrating lowers the calibration error out of sample: stratified shuffled splits, errors pooled.

    `generator` is a numpy Generator made from the caller's own seed. False where a class is missing or where the
    scores separate the classes already.
    """
    positive, negative = np.flatnonzero(outcomes == 1), np.flatnonzero(outcomes == 0)
    if min(len(positive), len(negative)) < 2 or roc_auc(scores, outcomes) > SEPARABLE:
        return False
    held: list[tuple[Floats, Floats, Floats]] = []
    for _ in range(folds):
        test = np.concatenate(
            [
                generator.permutation(part)[: max(1, round(len(part) * HELD_OUT))]
                for part in (positive, negative)
            ]
        )
        train = np.ones(len(scores), dtype=bool)
        train[test] = False
        fitted = fit_isotonic(scores[train], outcomes[train])
        held.append((scores[test], fitted.apply(scores[test]), outcomes[test]))
    raw, calibrated, truth = (np.concatenate(parts) for parts in zip(*held, strict=True))
    return calibration_error(raw, truth) > calibration_error(calibrated, truth)


def roc_auc(scores: Floats, outcomes: Floats) -> float:
    """Area under the ROC curve, ties at half (Mann & Whitney 1947); nan where a class is missing."""
    positives = float(outcomes.sum())
    negatives = len(outcomes) - positives
    if not positives or not negatives:
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2.0
    return float(
        (ranks[place][outcomes == 1].sum() - positives * (positives + 1) / 2.0) / (positives * negatives)
    )
