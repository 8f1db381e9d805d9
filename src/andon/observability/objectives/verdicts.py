"""What counts say about an objective: budget, burn rates, and whether a window fires, with the reason in words.

A window fires when the error ratio of its long and of its short window both reach its ratio, and the long window is
evidence against the objective: the exact binomial tail P(X ≥ bad | n, 1 - objective) is at most its significance. This
is the same as saying that the one-sided Clopper-Pearson lower bound of the error ratio lies above the budget
(C. Clopper, E. Pearson, Biometrika 26, 1934), so that one error among a few requests pages nobody. Pure.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from scipy.special import betaincinv

from andon.observability.objectives.model import AbsoluteSpec, Unknown
from andon.observability.objectives.tails import binomial_tail
from andon.observability.objectives.windows import Window, span

Word = Literal["fires", "quiet", "no data", "too few"]


class Tallied(msgspec.Struct, frozen=True):
    """Events of one window."""

    total: int
    bad: int

    @property
    def ratio(self) -> float | None:
        """Share of bad events; null without events."""
        return self.bad / self.total if self.total else None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one pair of windows says now."""

    severity: Literal["page", "ticket"]
    window: str  # "1h"
    short: str
    word: Word
    why: str
    burn: float | None  # of the long window; null without events
    short_burn: float | None
    threshold: float  # burn rate from which it fires
    events: int
    bad: int
    chance: float | None  # of so many bad events if the objective were just met
    reachable: bool = True  # whether the factor that period and budget give could fire
    note: str = ""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a period's budget."""

    events: int
    bad: int
    attained: float | None  # share of good events; null without events
    remaining: float  # share of the budget that is left: 1 untouched, 0 spent, negative overspent
    exhaustion_s: float | None  # until nothing is left at the given burn rate; null where it does not fall


def lower_bound(bad: int, total: int, significance: float) -> float:
    """Clopper-Pearson: the error ratio below which so many bad events would have at most this chance."""
    return float(betaincinv(bad, total - bad + 1, significance)) if 0 < bad <= total else 0.0


def judge_window(
    window: Window, objective: float, long: Tallied, short: Tallied, *, missing: Unknown, minimum: int
) -> Verdict:
    """Whether a pair of windows fires. `missing` decides for windows without any event, `minimum` for small ones."""
    budget = 1.0 - objective
    burn, short_burn = _burn(long, budget), _burn(short, budget)
    chance: float | None = None
    word: Word = "quiet"
    if not long.total and missing == "ignore":
        word, why = "no data", "there were no events"
    elif not long.total:
        burn = short_burn = 1.0 / budget if missing == "bad" else 0.0
        word, why = ("fires", "silence counts as bad") if missing == "bad" else ("quiet", "no events: good")
    elif long.total < minimum:
        word, why = "too few", f"{long.total} events are fewer than {minimum}"
    else:
        chance = binomial_tail(long.bad, long.total, budget)
        low = _low(window, long, short)
        if low:
            why = low
        elif chance > window.significance:
            word = "too few"
            why = f"{long.bad} bad of {long.total} may be chance"
            why += f" (p {chance:.2g}; fires at {window.significance:.2g} or less)"
        else:
            word, why = "fires", f"burns {_times(burn or 0.0)} times as fast as the budget allows"
    return Verdict(
        severity=window.severity,
        window=window.name,
        short=span(window.short_s),
        word=word,
        why=why,
        burn=burn,
        short_burn=short_burn,
        threshold=window.factor,
        events=long.total,
        bad=long.bad,
        chance=chance,
        reachable=window.reachable,
        note=window.note,
    )


def _low(window: Window, long: Tallied, short: Tallied) -> str:
    """Why a ratio is not reached; empty if both are."""
    if long.bad < window.ratio * long.total or not long.bad:
        return "the long window burns slower"
    if not short.total or short.bad < window.ratio * short.total:
        return "the short window has recovered"
    return ""


def judge_absolute(spec: AbsoluteSpec, window_s: int, counted: Tallied) -> Verdict:
    """The absolute companion: so many bad events, whatever their share."""
    fires = counted.bad >= spec.bad
    return Verdict(
        severity=spec.severity,
        window=span(window_s),
        short="",
        word="fires" if fires else "quiet",
        why=f"{counted.bad} bad events; {spec.bad} are too many",
        burn=None,
        short_burn=None,
        threshold=float(spec.bad),
        events=counted.total,
        bad=counted.bad,
        chance=None,
        note="absolute",
    )


def budget_of(objective: float, counted: Tallied, burn: float | None, period_s: int) -> Budget:
    """What is left, weighed by events. remaining = 1 - bad ÷ ((1 - objective) * total).

    `burn` (of the last hour) says when it ends: remaining * period ÷ burn, if traffic goes on as it was.
    """
    allowed = (1.0 - objective) * counted.total
    remaining = 1.0 - counted.bad / allowed if counted.total else 1.0
    exhaustion_s = None
    if remaining <= 0:
        exhaustion_s = 0.0
    elif burn is not None and burn > 0:
        exhaustion_s = remaining * period_s / burn
    attained = 1.0 - counted.bad / counted.total if counted.total else None
    return Budget(
        events=counted.total,
        bad=counted.bad,
        attained=attained,
        remaining=remaining,
        exhaustion_s=exhaustion_s,
    )


def _burn(counted: Tallied, budget: float) -> float | None:
    ratio = counted.ratio
    return None if ratio is None else ratio / budget


def _times(burn: float) -> str:
    return f"{burn:.3g}" if burn < 1000 else f"{burn:,.0f}"
