"""How good the answers are before any label has come: confidence-based performance estimation (CBPE).

Pure numpy. If scores are probabilities, each prediction is right with a known chance, so the expected confusion of a
chunk follows from its scores alone (Kivimäki et al. 2023, "Confidence-based Estimators for Predictive Performance").
It holds while the meaning of the inputs stays what it was in the reference: it cannot see concept drift, which is why
each estimate is held against the labels when they come.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Confusion(msgspec.Struct, frozen=True):
    """Expected or counted numbers of outcomes."""

    true_positive: float
    false_positive: float
    true_negative: float
    false_negative: float

    @property
    def rows(self) -> float:
        """All of them."""
        return self.true_positive + self.false_positive + self.true_negative + self.false_negative


def expect_confusion(probabilities: Floats, predicted: Flags) -> Confusion:
    """The expected confusion of predictions whose chance of a positive truth is `probabilities`; both (n,)."""
    positive, total = float(probabilities[predicted].sum()), int(predicted.sum())
    missed = float(probabilities[~predicted].sum())
    return Confusion(positive, total - positive, len(probabilities) - total - missed, missed)


def count_confusion(outcomes: Floats, predicted: Flags) -> Confusion:
    """The confusion that labels show: the same sums, with certain probabilities."""
    return expect_confusion(outcomes, predicted)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def measures(confusion: Confusion) -> dict[str, float]:
    """Accuracy, precision, recall, F1 and specificity; a ratio of nothing is 0."""
    c = confusion
    return {
        "accuracy": _ratio(c.true_positive + c.true_negative, c.rows),
        "precision": _ratio(c.true_positive, c.true_positive + c.false_positive),
        "recall": _ratio(c.true_positive, c.true_positive + c.false_negative),
        "f1": _ratio(c.true_positive, c.true_positive + 0.5 * (c.false_positive + c.false_negative)),
        "specificity": _ratio(c.true_negative, c.true_negative + c.false_positive),
    }


def expect_roc_auc(scores: Floats, probabilities: Floats) -> float:
    """The expected area under the ROC curve of `scores`, where `probabilities` are the chances of a positive truth.

    Every threshold of the scores gives an expected true and false positive rate; the area is by trapezoids. Equal
    scores are one threshold. nan where no positive or no negative is expected.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0.0, True))
    true = np.concatenate(([0.0], np.cumsum(probabilities[order])[last]))
    false = np.concatenate(([0.0], (last + 1) - true[1:]))
    if not true[-1] or not false[-1]:
        return float("nan")
    return float(np.trapezoid(true / true[-1], false / false[-1]))


def expect_average_precision(scores: Floats, probabilities: Floats) -> float:
    """The expected average precision: precision at each threshold by the gain in recall; nan of no positive."""
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0.0, True))
    true = np.cumsum(probabilities[order])[last]
    if not true[-1]:
        return float("nan")
    return float(np.sum(np.diff(np.concatenate(([0.0], true))) / true[-1] * true / (last + 1)))


def estimate(scores: Floats, probabilities: Floats, predicted: Flags) -> dict[str, float]:
    """Every measure of a chunk before labels. Shapes (n,); raises ValueError for an empty chunk."""
    if not len(scores):
        raise ValueError("a chunk without rows has no quality to estimate")
    found = measures(expect_confusion(probabilities, predicted))
    found["roc_auc"] = expect_roc_auc(scores, probabilities)
    found["average_precision"] = expect_average_precision(scores, probabilities)
    return found


def realise(scores: Floats, outcomes: Floats, predicted: Flags) -> dict[str, float]:
    """The same measures from labels: an estimate with certain probabilities."""
    return estimate(scores, outcomes, predicted)
