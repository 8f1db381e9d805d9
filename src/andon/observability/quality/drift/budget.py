"""One false-alarm budget over all columns, statistics and chunks.

People say how many false alarms they bear in a month. A chunk's share of it is the chance alpha that anything in it may
alarm without drift; within a chunk the tests of a column are put together by Bonferroni and the columns by Holm
(1979), which holds whatever the dependence among them. Without drift the expected number of alarmed chunks is then at
most the budget.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

MONTH_S = 30 * 86_400.0
ALPHA_MAX = 0.05  # a budget so generous that it means nothing is cut here


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """How many false alarms, over how many chunks."""

    alarms_per_month: float = 1.0
    chunk_s: float = 3600.0

    @property
    def alpha(self) -> float:
        """Chance of any false alarm in one chunk."""
        return min(self.alarms_per_month * self.chunk_s / MONTH_S, ALPHA_MAX)


def together(values: Sequence[float | None]) -> float:
    """One p for several tests of one column (Bonferroni)."""
    tested = [value for value in values if value is not None]
    return min(1.0, len(tested) * min(tested)) if tested else 1.0


def holm(values: Sequence[float], alpha: float) -> np.ndarray:
    """Which hypotheses fall when the chance of any false one is to stay within alpha: (k,) bool."""
    given = np.asarray(values, float)
    order = np.argsort(given, kind="stable")
    bounds = alpha / (len(given) - np.arange(len(given)))
    passed = given[order] <= bounds
    count = len(given) if passed.all() else int(np.argmin(passed))
    fallen = np.zeros(len(given), bool)
    fallen[order[:count]] = True
    return fallen
