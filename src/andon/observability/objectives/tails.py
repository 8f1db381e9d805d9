"""The exact upper tail of a binomial distribution.

Apart from the verdicts because it is the one number that they share with the proofs.
"""

from __future__ import annotations

from scipy.special import betainc


def binomial_tail(bad: int, total: int, chance: float) -> float:
    """P(X ≥ bad) for X ~ Binomial(total, chance), as the regularised incomplete beta function I_p(k, n - k + 1).

    Abramowitz & Stegun, Handbook of Mathematical Functions, 26.5.24.
    """
    if bad <= 0:
        return 1.0
    if bad > total:
        return 0.0
    return float(betainc(bad, total - bad + 1, chance))
