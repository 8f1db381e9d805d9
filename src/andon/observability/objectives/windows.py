"""Alerting windows derived from period and objective: multi-window, multi-burn-rate.

A window fires when its long and its short window both burn faster than its factor (Google SRE workbook, chapter 5).
factor = share of the budget * period ÷ long window; short = long ÷ 12. So 30 days give 14.4, 6, 3 and 1, and 28 days
13.44, 5.6, 2.8 and 0.93. A factor f asks for an error ratio of f * (1 - objective), which is above 1, hence never
reached, where objective ≤ 1 - 1/f; ratios are therefore capped at half-way between budget and 1, and that is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from andon.kernel.units import duration_s
from andon.observability.objectives.model import ObjectiveSpec, WindowSpec

FINE_S = 5  # windows end at multiples of this
HOUR_S = 3600
DAY_S = 86_400
SHORT_SHARE = 12
PERIOD_DAYS_MAX = 92
MONTH_DAYS = 30  # a calendar month's factors are those of 30 days, so that they do not change by the month
ABSOLUTE_S_MAX = 6 * HOUR_S

# Severity, share of the budget, long window: the workbook's table 5-8, tickets as in its worked example.
DERIVED = (
    ("page", 0.02, HOUR_S),
    ("page", 0.05, 6 * HOUR_S),
    ("ticket", 0.10, DAY_S),
    ("ticket", 0.10, 3 * DAY_S),
)


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """One pair of windows and what makes it fire."""

    severity: Literal["page", "ticket"]
    long_s: int
    short_s: int
    factor: float  # burn rate from which it fires
    ratio: float  # the same as an error ratio: factor * (1 - objective)
    wanted: float  # the factor before it was capped
    significance: float  # of the evidence that it needs
    after_s: int = 0
    note: str = ""  # why the factor is not the one that was wanted

    @property
    def name(self) -> str:
        """Such as "1h"."""
        return span(self.long_s)

    @property
    def reachable(self) -> bool:
        """Whether the factor that was wanted could ever fire: its error ratio is at most 1."""
        return self.wanted * self.ratio / self.factor <= 1 + 1e-12


def span(seconds: int) -> str:
    """A window's name: 5m, 1h, 3d; as Prometheus writes durations."""
    for unit, size in (("d", DAY_S), ("h", HOUR_S), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def period_s(spec: ObjectiveSpec) -> int:
    """Length of the period; a month counts as 30 days. Raises ValueError for what is no period."""
    if spec.period == "month":
        return MONTH_DAYS * DAY_S
    seconds = round(duration_s(spec.period))
    if not HOUR_S <= seconds <= PERIOD_DAYS_MAX * DAY_S:
        raise ValueError(f"'{spec.period}' is not a period; write 1h to {PERIOD_DAYS_MAX}d, or month")
    return seconds


def period_from_ns(spec: ObjectiveSpec, to_ns: int) -> int:
    """Where the period that ends at `to_ns` begins: a calendar month (UTC) at its first instant."""
    if spec.period != "month":
        return to_ns - period_s(spec) * 1_000_000_000
    # The instant before the end decides: at midnight of the first day the month before is whole.
    last = datetime.fromtimestamp((to_ns - 1) // 1_000_000_000, UTC)
    return int(last.replace(day=1, hour=0, minute=0, second=0).timestamp()) * 1_000_000_000


def month_length_s(to_ns: int) -> int:
    """Seconds of the calendar month (UTC) in which `to_ns` lies."""
    first = datetime.fromtimestamp(to_ns // 1_000_000_000, UTC).replace(day=1, hour=0, minute=0, second=0)
    following = (first + timedelta(days=32)).replace(day=1)
    return int((following - first).total_seconds())


def cap_of(objective: float) -> float:
    """The largest error ratio that a window may ask for: half-way between the budget and 1."""
    return (2.0 - objective) / 2


def windows_of(spec: ObjectiveSpec) -> tuple[Window, ...]:
    """Every window of an objective: the written ones, else the derived ones that fit into half its period."""
    alerting, period = spec.alerting, period_s(spec)
    if alerting.windows:
        return tuple(_written(window, spec) for window in alerting.windows)
    found = []
    for severity, share, long_s in DERIVED:
        if (severity == "page" and not alerting.page) or (severity == "ticket" and not alerting.ticket):
            continue
        if long_s * 2 > period:
            continue  # such a window would hardly differ from the period itself
        wanted = share * period / long_s
        found.append(_window(severity, (long_s, long_s // SHORT_SHARE), wanted, spec))
    return tuple(found)


def _written(window: WindowSpec, spec: ObjectiveSpec) -> Window:
    long_s = round(duration_s(window.long))
    short_s = round(duration_s(window.short)) if window.short else max(1, long_s // SHORT_SHARE)
    after_s = round(duration_s(window.after)) if window.after else 0
    return _window(window.severity, (long_s, short_s), window.burn, spec, after_s)


def _window(
    severity: str, spans_s: tuple[int, int], wanted: float, spec: ObjectiveSpec, after_s: int = 0
) -> Window:
    budget = 1.0 - spec.objective
    ratio, cap, note = wanted * budget, cap_of(spec.objective), ""
    if ratio > cap:
        never = f"objective ≤ {1 - 1 / wanted:.2%}" if wanted > 1 else ""
        why = f"can never fire ({never})" if ratio > 1 else "would fire only when almost everything fails"
        note = f"a burn rate of {wanted:.4g} {why}; fires at an error ratio of {cap:.2%} instead"
        ratio = cap
    page = severity == "page"
    return Window(
        severity="page" if page else "ticket",
        long_s=spans_s[0],
        short_s=spans_s[1],
        factor=ratio / budget,
        ratio=ratio,
        wanted=wanted,
        significance=spec.alerting.page_significance if page else spec.alerting.ticket_significance,
        after_s=after_s,
        note=note,
    )


def spans_of(spec: ObjectiveSpec, windows: Sequence[Window]) -> dict[int, str]:
    """Every length of window that is looked at, in seconds, with its name; 1 h and 6 h always."""
    lengths = {HOUR_S, 6 * HOUR_S}
    for window in windows:
        lengths |= {window.long_s, window.short_s}
    if spec.alerting.absolute is not None:
        lengths.add(round(duration_s(spec.alerting.absolute.window)))
    return {seconds: span(seconds) for seconds in sorted(lengths)}
