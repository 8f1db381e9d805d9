"""What an assessment is asked for and what it counts. Pure; the interval is Wilson's.

Source: E. B. Wilson, JASA 22 (1927), the score interval of a share; z = 1.959964 for 95 %.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any, Literal

import msgspec

Attack = Literal["hopskipjump", "zoo"]
Norm = Literal["linf", "l2"]
Predict = Callable[[Any], Any]  # rows [n, features] to scores [n, classes]
_Z = 1.959964


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The conditions of an assessment."""

    attack: Attack = "hopskipjump"
    norm: Norm = "linf"
    epsilon: float = 0.1
    budget: int = 1000
    rows: int = 50
    seed: int = 0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted."""

    rows: int
    right: int  # answered rightly before the attack
    stood: int  # answered rightly, and no answer within epsilon was found to be another
    queries: int


def interval(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share; (0, 1) of nothing."""
    if total == 0:
        return 0.0, 1.0
    share, square = count / total, _Z * _Z
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = _Z * sqrt(share * (1 - share) / total + square / (4 * total * total)) / (1 + square / total)
    return max(0.0, middle - half), min(1.0, middle + half)
