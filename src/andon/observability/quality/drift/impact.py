"""What a column's shift does to quality: how much the mean predicted error changes if only its bins' shares change.

Kitagawa's decomposition (1955): Σ_b (q_b - p_b)·ē_b, where p and q are the shares of coarse bin b in reference and
current rows and ē_b is the reference's mean predicted error there. The predicted error of a row is 1 - the confidence
of its prediction, or what labels said. It explains; it does not see a changed relation of inputs to truth.
"""

from __future__ import annotations

import numpy as np

from andon.observability.quality.drift.sketch import Counts, Shape, coarse_counts


def weigh_shift(shape: Shape, reference: Counts, current: Counts) -> tuple[float, float] | None:
    """(impact, its standard error from sampling); None where the reference knows no errors."""
    if not len(reference.errors) or not reference.present or not current.present:
        return None
    sums, _, rows = reference.errors
    overall = sums.sum() / rows.sum() if rows.sum() else 0.0
    mean = np.divide(sums, rows, out=np.full(len(rows), overall), where=rows > 0)
    p = coarse_counts(shape, reference) / reference.present
    q = coarse_counts(shape, current) / current.present
    variance = sum(
        max(float(share @ mean**2 - (share @ mean) ** 2), 0.0) / count
        for share, count in ((p, reference.present), (q, current.present))
    )
    return float((q - p) @ mean), float(np.sqrt(variance))
