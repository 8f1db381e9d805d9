"""Series from elsewhere, and incidents that people marked: what a back-test reads from CSV. Pure.

Moments are ISO 8601 (UTC where no zone is said) or seconds since the epoch. Raises ValueError naming the line.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np

from andon.kernel.units import duration_s
from andon.observability.alerts.backtest import History, Marked, Track
from andon.observability.alerts.rules import NS, Rule

POINTS_MAX = 5_000_000


def moment_ns(text: str) -> int:
    """Nanoseconds of a moment."""
    try:
        return round(float(text) * 1e6) * 1000
    except ValueError:
        moment = datetime.fromisoformat(text.strip())
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6) * 1000


def read_series(lines: Iterable[str]) -> tuple[list[int], list[float]]:
    """Moments and values of a CSV `timestamp,value`; a first line that is no data is a heading."""
    times, values = [], []
    for number, row in enumerate(csv.reader(lines), 1):
        if not row or (number == 1 and not _is_number(row[-1])):
            continue
        try:
            at_ns, value = moment_ns(row[0]), float(row[1])
        except (ValueError, IndexError) as error:
            raise ValueError(f"line {number}: {error}") from error
        times.append(at_ns)
        values.append(value)
        if len(times) > POINTS_MAX:
            raise ValueError(f"line {number}: more than {POINTS_MAX} points")
    return times, values


def read_incidents(lines: Iterable[str]) -> tuple[Marked, ...]:
    """Incidents of a CSV `start,end[,name]`."""
    found = []
    for number, row in enumerate(csv.reader(lines), 1):
        if not row or row[0].strip().lower() in ("start", "starts", "begin"):
            continue
        try:
            one = Marked(starts_ns=moment_ns(row[0]), ends_ns=moment_ns(row[1]), name="".join(row[2:3]))
        except (ValueError, IndexError) as error:
            raise ValueError(f"line {number}: {error}") from error
        if one.ends_ns < one.starts_ns:
            raise ValueError(f"line {number}: it ends before it starts")
        found.append(one)
    return tuple(found)


def history_of(rule: Rule, times: list[int], values: list[float]) -> History:
    """A series under the threshold of a rule; values are means over `over`, where it has one."""
    when = rule.spec.when.window or rule.spec.when.metric
    if when is None:
        raise ValueError(
            "only rules with `window` or `metric` have a threshold that a series can be compared with"
        )
    order = np.argsort(np.asarray(times, dtype=np.int64), kind="stable")
    at = np.asarray(times, dtype=np.int64)[order]
    found = np.asarray(values, dtype=np.float64)[order]
    step_s = float(np.median(np.diff(at))) / NS if len(at) > 1 else 0.0
    if rule.spec.when.window is not None and len(at):
        found = _means(at, found, round(duration_s(rule.spec.when.window.over) * NS))
    name = when.metric if rule.spec.when.window is not None else when.name  # type: ignore[union-attr]  # of its kind
    return History(
        times_ns=at,
        tracks=(Track(labels={}, values=found),),
        step_s=step_s,
        metric=str(name),
        above=when.above,
        below=when.below,
    )


def _means(at: np.ndarray, values: np.ndarray, over_ns: int) -> np.ndarray:
    """The mean of (at - over, at], shape (moments,)."""
    sums = np.concatenate(([0.0], np.cumsum(values)))
    begin = np.searchsorted(at, at - over_ns, side="right")
    end = np.arange(1, len(at) + 1)
    means: np.ndarray = (sums[end] - sums[begin]) / np.maximum(1, end - begin)
    return means


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
