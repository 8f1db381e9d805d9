"""Distances between two sketches of one column, each with its sampling-noise floor and, where there is one, its p.

With n reference and m current rows, N = nm/(n+m), B bins and design effect d:
PSI Σ(p-q)ln(p/q) on the reference's deciles, zeros as 1e-4 (Evidently 0.7); without drift PSI·N/d ~ χ²(B-1).
JS √JSD with base 2 on Doane's bins and one for what is outside (NannyML); JSD·8ln2·N/d ~ χ²(B-1) (Lin 1991).
KS max|F-G| at the fine bins; √(N/d)·D ~ Kolmogorov. W1 ∫|F-G| over max(deviation, 1e-3) of the reference.
The χ² p is of the homogeneity of the bins: the larger of Pearson's and the likelihood ratio's.
"""

from __future__ import annotations

import numpy as np
from scipy import special, stats

from andon.observability.quality.drift.report import Reading
from andon.observability.quality.drift.sketch import Counts, Shape, coarse_counts

_ZERO = 1e-4
_EXPECTED_MIN = 10.0  # rows that a bin of the smaller sample must be expected to hold, for χ² to hold far out
_KOLMOGOROV_MEAN = float(np.sqrt(np.pi / 2) * np.log(2))


def compare(shape: Shape, reference: Counts, current: Counts, design: float = 1.0) -> list[Reading]:
    """Every reading of one column; empty if either side has no rows."""
    if not reference.rows or not current.rows:
        return []
    readings = []
    if reference.present and current.present:
        readings += _bins(shape, reference, current, design)
        if shape.kind == "number":
            readings += _numbers(shape, reference, current, design)
        elif not shape.open:
            readings.append(_unseen(shape, reference, current))
    readings.append(_missing(reference, current, design))
    return readings


def _bins(shape: Shape, reference: Counts, current: Counts, design: float) -> list[Reading]:
    n, m = reference.present, current.present
    noise = design * (1.0 / n + 1.0 / m)
    old, now = coarse_counts(shape, reference), coarse_counts(shape, current)
    bins = int(((old + now) > 0).sum())
    p, used = homogeneity(old, now, design)
    fine_old, fine_now = (
        (old, now) if shape.kind == "category" else (_even(shape, reference), _even(shape, current))
    )
    fine = int(((fine_old + fine_now) > 0).sum())
    return [
        Reading(
            statistic="psi", value=psi(old / n, now / m), floor=(bins - 1) * noise, p=p if used > 1 else None
        ),
        Reading(
            statistic="js",
            value=jensen_shannon(fine_old / n, fine_now / m),
            floor=float(np.sqrt((fine - 1) * noise / (8.0 * np.log(2.0)))),
            p=homogeneity(fine_old, fine_now, design)[0] if shape.kind == "number" else None,
        ),
    ]


def _even(shape: Shape, counts: Counts) -> np.ndarray:
    """Counts by even bin, and what is outside of the reference's range."""
    inside = np.add.reduceat(counts.slots[:-1], shape.even)
    return np.append(inside, counts.slots[0] + counts.slots[-1])


def psi(p: np.ndarray, q: np.ndarray) -> float:
    """Population stability index of two sets of shares; bins empty in both are left out."""
    used = (p > 0) | (q > 0)
    p, q = np.maximum(p[used], _ZERO), np.maximum(q[used], _ZERO)
    return float(((p - q) * np.log(p / q)).sum())


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """√JSD, base 2: 0 for equal shares, 1 for disjoint ones."""
    middle = (p + q) / 2.0
    bits = (special.rel_entr(p, middle).sum() + special.rel_entr(q, middle).sum()) / (2.0 * np.log(2.0))
    return float(np.sqrt(min(max(bits, 0.0), 1.0)))


def homogeneity(old: np.ndarray, now: np.ndarray, design: float = 1.0) -> tuple[float, int]:
    """The test that two rows of counts come from the same shares: p, and the bins that it used.

    χ² is trusted far in its tail here. Pearson's statistic is too large there for many rows in a bin, the likelihood
    ratio for few, so the smaller of both counts; bins with too few expected rows are put together.
    """
    n, m = old.sum(), now.sum()
    if not n or not m:
        return 1.0, 0
    pooled = old + now
    rare = pooled * (min(n, m) / (n + m)) < _EXPECTED_MIN
    old, now = np.append(old[~rare], old[rare].sum()), np.append(now[~rare], now[rare].sum())
    if old[-1] + now[-1] == 0:
        old, now = old[:-1], now[:-1]
    if len(old) < 2:
        return 1.0, len(old)
    pooled = old + now
    expected = pooled * (m / (n + m))
    squares = float(((now - expected) ** 2 / expected).sum()) * (n + m) / n
    likelihood = 2.0 * float(
        (special.rel_entr(now, expected) + special.rel_entr(old, pooled - expected)).sum()
    )
    return float(special.chdtrc(len(old) - 1, min(squares, likelihood) / design)), len(old)


def _numbers(shape: Shape, reference: Counts, current: Counts, design: float) -> list[Reading]:
    n, m = reference.present, current.present
    rate = n * m / (n + m) / design
    above = np.cumsum(reference.slots)[:-1] / n  # share below each edge: (edges,)
    under = np.cumsum(current.slots)[:-1] / m
    apart = under - above
    furthest = float(np.abs(apart).max())
    p = float(special.kolmogorov(furthest * np.sqrt(rate)))
    spread = max(reference.deviation(), 1e-3)
    if not reference.finite or not current.finite:
        return [Reading(statistic="ks", value=furthest, floor=_KOLMOGOROV_MEAN / np.sqrt(rate), p=p)]
    widths = np.diff(shape.edges)
    pooled = (n * above + m * under) / (n + m)
    bridge = np.sqrt(
        2.0 * pooled * (1.0 - pooled) / (np.pi * rate)
    )  # mean of |F-G| at each edge without drift
    noise = float(((bridge[1:] if shape.atoms else (bridge[1:] + bridge[:-1]) / 2.0) * widths).sum())
    work = _work(shape, apart, widths)
    work += current.short / m + current.far / m + reference.short / n + reference.far / n
    return [
        Reading(statistic="ks", value=furthest, floor=_KOLMOGOROV_MEAN / float(np.sqrt(rate)), p=p),
        Reading(statistic="w1", value=work / spread, floor=noise / spread),
    ]


def _work(shape: Shape, apart: np.ndarray, widths: np.ndarray) -> float:
    """∫|F-G| between the outermost edges: steps where bins are single values, straight lines where they are not."""
    left, right = apart[:-1], apart[1:]
    if shape.atoms:
        # F and G jump at the left edge and stay: what holds within the bin is what is told at its right edge.
        return float((np.abs(right) * widths).sum())
    size = np.abs(left) + np.abs(right)
    crossing = left * right < 0
    mean = np.where(crossing, (left**2 + right**2) / np.where(size > 0, 2.0 * size, 1.0), size / 2.0)
    return float((mean * widths).sum())


def _unseen(shape: Shape, reference: Counts, current: Counts) -> Reading:
    """Share of rows in categories that the reference had not; the chance of a new one is Good-Turing's (1953)."""
    n, m = reference.present, current.present
    new = int(current.slots[-1])
    once = int((reference.slots[:-1] == 1).sum())
    chance = min((once + 1.0) / (n + 1.0), 1.0)
    p = float(special.bdtrc(new - 1, m, chance)) if new else 1.0
    return Reading(statistic="unseen", value=new / m, floor=chance, p=p)


def _missing(reference: Counts, current: Counts, design: float) -> Reading:
    n, m = reference.rows, current.rows
    total = reference.missing + current.missing
    difference = current.missing / m - reference.missing / n
    share = total / (n + m)
    floor = float(np.sqrt(2.0 / np.pi * share * (1.0 - share) * (1.0 / n + 1.0 / m) * design))
    if total in (0, n + m):
        p = 1.0
    elif min(total, n + m - total) * min(n, m) / (n + m) < 5.0 * _EXPECTED_MIN:
        exact = stats.hypergeom(n + m, total, m)
        p = min(1.0, 2.0 * float(min(exact.cdf(current.missing), exact.sf(current.missing - 1))))
    else:
        p = homogeneity(
            np.array([reference.missing, n - reference.missing]),
            np.array([current.missing, m - current.missing]),
            design,
        )[0]
    return Reading(statistic="missing", value=difference, floor=floor, p=p)
