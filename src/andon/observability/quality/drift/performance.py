"""Whether a model got worse: errors told by labels, and errors that its own confidence expects, against the reference.

Kept apart from drift on purpose: inputs move all the time and most of it costs nothing (NannyML's 580 data sets), so
only this pages. An alarm needs a fall beyond a tolerance that people choose, proved within a chance that they choose.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from scipy import special

from andon.observability.quality.streams.run_length import usual_rate


class Errors(msgspec.Struct, frozen=True, kw_only=True):
    """Errors of a set of predictions. Adds up over chunks."""

    rows: int = 0
    expected: float = 0.0  # sum of predicted errors: 1 - the confidence in the class that was predicted
    squares: float = 0.0  # of the same
    labelled: int = 0
    wrong: int = 0  # of the labelled

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            rows=self.rows + other.rows,
            expected=self.expected + other.expected,
            squares=self.squares + other.squares,
            labelled=self.labelled + other.labelled,
            wrong=self.wrong + other.wrong,
        )


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """One chunk. Rates are errors per prediction; null where nothing is known."""

    verdict: Literal["steady", "worse", "no-data"]
    by: tuple[str, ...]  # "labels", "estimate"
    realised: float | None
    estimated: float | None
    bound: float  # the highest realised error rate in this chunk that is no alarm


def predicted_errors(score: np.ndarray, predicted: np.ndarray | None = None) -> np.ndarray:
    """1 - the confidence in the predicted class, for scores (n,) of the positive of two classes."""
    if predicted is None:
        return np.asarray(np.minimum(score, 1.0 - score))
    return np.where(predicted > 0, 1.0 - score, score)


def tally(errors: np.ndarray, wrong: np.ndarray | None = None) -> Errors:
    """Predicted errors (n,) and, for rows with labels, whether the prediction was wrong (k,)."""
    return Errors(
        rows=len(errors),
        expected=float(errors.sum()),
        squares=float((errors**2).sum()),
        labelled=0 if wrong is None else len(wrong),
        wrong=0 if wrong is None else int(np.count_nonzero(wrong)),
    )


def judge(reference: Errors, chunk: Errors, *, alpha: float, tolerance: float = 0.01) -> Judgement:
    """A chunk against the reference; each of both rules has half of alpha.

    Labels: exact binomial test against the reference's rate (its upper 95 % bound) plus the tolerance. Estimate: mean
    predicted error against the reference's plus the tolerance, normal approximation.
    """
    by = []
    rate = (
        min(usual_rate(reference.wrong, reference.labelled) + tolerance, 1.0) if reference.labelled else 1.0
    )
    bound = 1.0
    if chunk.labelled and reference.labelled:
        bound = float(special.bdtrik(1.0 - alpha / 2.0, chunk.labelled, rate)) / chunk.labelled
        if chunk.wrong and float(special.bdtrc(chunk.wrong - 1, chunk.labelled, rate)) <= alpha / 2.0:
            by.append("labels")
    if chunk.rows and reference.rows:
        before, now = reference.expected / reference.rows, chunk.expected / chunk.rows
        spread = np.sqrt(_variance(reference) / reference.rows + _variance(chunk) / chunk.rows)
        if now - before - tolerance > float(special.ndtri(1.0 - alpha / 2.0)) * spread:
            by.append("estimate")
    known = bool(chunk.rows or chunk.labelled) and bool(reference.rows or reference.labelled)
    return Judgement(
        verdict="no-data" if not known else "worse" if by else "steady",
        by=tuple(by),
        realised=chunk.wrong / chunk.labelled if chunk.labelled else None,
        estimated=chunk.expected / chunk.rows if chunk.rows else None,
        bound=bound,
    )


def _variance(errors: Errors) -> float:
    return max(errors.squares / errors.rows - (errors.expected / errors.rows) ** 2, 0.0)
