"""References: what good times were. Made once from labelled rows; calibrates scores, and says what a fall is.

Pure numpy; the watch keeps what is made here.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, ndtri, stdtrit

from andon.observability.quality.calibration import Calibration, fit_isotonic, improves
from andon.observability.quality.estimate import estimate, expect_confusion
from andon.observability.quality.figures import Sample, cost_of, figures_of, part_of
from andon.observability.quality.model import ESTIMATED, LESS_IS_BETTER, CostSpec

Floats = NDArray[np.float64]

SPLITS = (
    10,
    20,
    40,
    80,
    160,
)  # into so many parts, in order of time, a reference is cut to see how figures stray
PART_ROWS_MIN = 50
WANDER_DOUBT = 0.05  # chance that independent rows seem to stray
SIGMAS = 3.0  # half the width of an estimate's band, in sampling errors
MONTH_S = 30 * 86_400.0
SETTLED_LOOKED_AT = 20
MISS_CHANCE = 0.0027  # of a normal value to lie outside of three standard deviations
MISS_DOUBT = 0.01  # chance of switching an honest estimate off, at each look


class Wander(msgspec.Struct, frozen=True, array_like=True):
    """How a figure strays over equal parts of a reference."""

    parts: int
    rows: int  # of one part
    deviation: float


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of good times, how they stray, and the calibration of the scores."""

    origin: str
    made_ns: int
    rows: int
    values: dict[str, float]
    spreads: dict[str, float]  # standard error of n rows is spread / sqrt(n)
    wanders: dict[str, tuple[Wander, ...]]  # by figure, largest parts first
    until_ns: int = 0  # of its last row; chunks from before are not judged by it
    calibration: Calibration | None = None  # null where the scores are probabilities as they are
    scored: bool = False  # has scores to estimate from


def make_reference(
    problem: str, sample: Sample, costs: CostSpec | None, *, origin: str, made_ns: int, until_ns: int = 0
) -> Reference:
    """A reference from labelled rows in order of time. Raises ValueError for none."""
    if not sample.rows:
        raise ValueError("a reference needs labelled rows")
    found = figures_of(problem, sample, costs)
    scored = problem != "regression" and bool(np.isfinite(sample.scores).all())
    calibration = None
    if scored:
        outcomes = sample.truth if problem == "binary" else sample.correct.astype(float)
        # The draw of the splits belongs to the reference itself, so that it can be made again.
        if improves(sample.scores, outcomes, np.random.default_rng(sample.rows)):
            calibration = fit_isotonic(sample.scores, outcomes)
        scored = calibration is not None or bool(sample.scores.min() >= 0.0 and sample.scores.max() <= 1.0)
    return Reference(
        origin=origin,
        made_ns=made_ns,
        rows=sample.rows,
        values={name: figure.value for name, figure in found.items()},
        spreads={name: figure.spread for name, figure in found.items() if figure.spread is not None},
        wanders=_wanders(problem, sample, costs),
        until_ns=until_ns,
        calibration=calibration,
        scored=scored,
    )


def _wanders(problem: str, sample: Sample, costs: CostSpec | None) -> dict[str, tuple[Wander, ...]]:
    found: dict[str, list[Wander]] = {}
    for count in SPLITS:
        rows = sample.rows // count
        if rows < PART_ROWS_MIN:
            break
        told = [
            figures_of(problem, part_of(sample, slice(place * rows, (place + 1) * rows)), costs)
            for place in range(count)
        ]
        for name in told[0]:
            values = [figures[name].value for figures in told if name in figures]
            if len(values) > 1:
                found.setdefault(name, []).append(Wander(len(values), rows, float(np.std(values, ddof=1))))
    return {name: tuple(wanders) for name, wanders in found.items()}


def estimate_figures(
    reference: Reference, problem: str, scores: Floats, predicted: Floats, costs: CostSpec | None
) -> dict[str, float]:
    """Figures before labels, from scores (n,) alone; empty where the reference had none.

    Binary: CBPE. Several classes: only accuracy, from the confidence in the class that was answered.
    """
    known = np.isfinite(scores)
    if not reference.scored or not known.any():
        return {}
    scores, predicted = scores[known], predicted[known]
    probabilities = np.clip(
        reference.calibration.apply(scores) if reference.calibration else scores, 0.0, 1.0
    )
    if problem == "multiclass":
        return {"accuracy": float(probabilities.mean())}
    found = estimate(scores, probabilities, predicted == 1.0)
    if costs is not None:
        found["cost"] = cost_of(expect_confusion(probabilities, predicted == 1.0), costs)
    return {name: value for name, value in found.items() if name in ESTIMATED and math.isfinite(value)}


def band(reference: Reference, metric: str, rows: int) -> float | None:
    """Half the width of an estimate's band for a chunk of so many rows: three sampling errors (NannyML).

    The finite reference, from which the calibration comes, adds its own sampling error.
    """
    spread = reference.spreads.get(metric)
    if spread is None or rows <= 0:
        return None
    return SIGMAS * spread * math.sqrt(1.0 / rows + 1.0 / reference.rows)


def chance_of_chunk(false_alarms_per_month: float, chunk_s: float, ways: int) -> float:
    """What one look at one chunk, in one of so many ways, may spend on false alarms."""
    return min(0.05, false_alarms_per_month * chunk_s / MONTH_S / ways)


def alarm_threshold(
    reference: Reference, metric: str, rows: int, tolerance: float, chance: float
) -> float | None:
    """The value of the figure in a chunk of so many rows beyond which it has fallen; null if unknown.

    The reference's value, less the tolerance, less what chance explains: the sampling error of both. Where the
    reference's own parts of about that size stray more than independent rows would (rows that are near in time are
    alike), the chunk's error is that much larger, and because parts are few the quantile is Student's: with ten,
    three standard deviations would be crossed 1.2 % of the time.
    """
    value, spread = reference.values.get(metric), reference.spreads.get(metric, 0.0)
    if value is None or rows <= 0:
        return None
    quantile, effect = float(ndtri(1.0 - chance)), 1.0
    wanders = reference.wanders.get(metric, ())
    if wanders and spread:
        near = min(wanders, key=lambda one: abs(math.log(one.rows / rows)))
        ratio = near.deviation**2 * near.rows / spread**2
        if float(chdtrc(near.parts - 1, ratio * (near.parts - 1))) < WANDER_DOUBT:
            quantile, effect = float(stdtrit(near.parts - 1, 1.0 - chance)), ratio
    reach = quantile * spread * math.sqrt(effect / rows + 1.0 / reference.rows)
    less = tolerance + reach
    return value + less if metric in LESS_IS_BETTER else value - less


def is_fallen(metric: str, value: float, threshold: float) -> bool:
    """Whether a value lies on the wrong side of its threshold."""
    return value > threshold if metric in LESS_IS_BETTER else value < threshold


def misses_allowed(settled: int) -> int:
    """How many of so many bands an honest estimate may miss: at least one, and so many that more has a chance of 1 %.

    The binomial distribution with the band's own chance of a miss, 0.27 %.
    """
    allowed, cumulated = 0, (1.0 - MISS_CHANCE) ** settled
    term = cumulated
    while 1.0 - cumulated > MISS_DOUBT and allowed < settled:
        allowed += 1
        term *= (settled - allowed + 1) / allowed * MISS_CHANCE / (1.0 - MISS_CHANCE)
        cumulated += term
    return max(1, allowed)
