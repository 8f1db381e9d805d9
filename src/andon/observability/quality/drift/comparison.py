"""One chunk against a profile: readings, one budget over all of them, verdicts, order by impact.

Significance says that something moved, limits say whether it matters; both are needed for drift, and only impact
pages. See `budget.py` for what false alarms are promised.
"""

from __future__ import annotations

from collections.abc import Mapping

from andon.observability.quality.drift.budget import Budget, holm, together
from andon.observability.quality.drift.columns import Columns
from andon.observability.quality.drift.distances import compare
from andon.observability.quality.drift.impact import weigh_shift
from andon.observability.quality.drift.profile import Column, Profile, count
from andon.observability.quality.drift.report import ColumnDrift, DriftReport, Limits, Reading, Verdict
from andon.observability.quality.drift.sketch import Counts

_IMPACT_DEVIATIONS = 3.0  # an impact within so many standard errors is noise


def compare_table(
    profile: Profile, columns: Columns, budget: Budget | None = None, limits: Limits | None = None
) -> DriftReport:
    """A table against a profile. Raises Refused for a column of another kind than the reference's."""
    counted, absent, extra = count(profile, columns)
    return compare_counts(profile, counted, budget, limits, absent=absent, extra=extra)


def compare_counts(
    profile: Profile,
    counted: Mapping[str, Counts],
    budget: Budget | None = None,
    limits: Limits | None = None,
    *,
    absent: list[str] | None = None,
    extra: list[str] | None = None,
) -> DriftReport:
    """Counts of a chunk (or of several, added up) against a profile."""
    limits, alpha = limits or Limits(), (budget or Budget()).alpha
    known = [column for column in profile.columns if column.shape.name in counted]
    readings = [
        compare(column.shape, column.counts, counted[column.shape.name], column.design) for column in known
    ]
    values = [together([reading.p for reading in group]) for group in readings]
    fallen = holm(values, alpha)
    found = [
        _column(column, counted[column.shape.name], group, value, bool(proved), limits)
        for column, group, value, proved in zip(known, readings, values, fallen, strict=True)
    ]
    found.sort(key=lambda one: (-abs(one.impact or 0.0), one.p, one.column))
    return DriftReport(
        rows=max((one.rows for one in found), default=0),
        reference_rows=profile.rows,
        alpha=alpha,
        columns=tuple(found),
        drifted=tuple(one.column for one in found if one.verdict == "drift"),
        paging=tuple(one.column for one in found if _pages(one, limits)),
        absent=tuple(absent or ()),
        extra=tuple(extra or ()),
    )


def _column(
    column: Column, now: Counts, readings: list[Reading], p: float, proved: bool, limits: Limits
) -> ColumnDrift:
    verdict: Verdict = "no-data"
    if readings:
        verdict = (
            "stable" if not proved else "drift" if any(_large(one, limits) for one in readings) else "shift"
        )
    impact = weigh_shift(column.shape, column.counts, now)
    return ColumnDrift(
        column=column.shape.name,
        kind=column.shape.kind,
        verdict=verdict,
        p=p,
        rows=now.rows,
        readings=tuple(readings),
        impact=impact[0] if impact else None,
        impact_noise=impact[1] if impact else None,
        new=tuple(now.new),
    )


def _large(reading: Reading, limits: Limits) -> bool:
    """Whether what is left of a reading above its noise floor is beyond its limit."""
    by_name = {
        "psi": limits.psi,
        "js": limits.js,
        "ks": limits.ks,
        "w1": limits.w1,
        "missing": limits.share,
        "unseen": limits.share,
    }
    return abs(reading.value) - reading.floor >= by_name[reading.statistic]


def _pages(one: ColumnDrift, limits: Limits) -> bool:
    if one.verdict not in ("drift", "shift") or one.impact is None or one.impact_noise is None:
        return False
    return one.impact >= limits.impact and one.impact > _IMPACT_DEVIATIONS * one.impact_noise
