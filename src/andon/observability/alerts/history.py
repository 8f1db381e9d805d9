"""The ledger's history as a back-test wants it: aggregated to slots by query, then the figures of the live windows.

The only file of this room that asks the ledger for more than a look does. Every function blocks; values travel as
parameters, columns come from closed tables. What a rule's condition keeps no history of is refused by name.
"""

# ruff: noqa: S608  # what is put together are columns of closed tables; values are parameters

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from andon.kernel.errors import Refused
from andon.kernel.units import duration_s
from andon.ledger.histogram import BUCKETS_MAX, RATIO, SCALE
from andon.ledger.queries import Bounds, Engine
from andon.observability.alerts.backtest import History, Track
from andon.observability.alerts.looking import absent_key, ask_rows, is_named
from andon.observability.alerts.model import AbsentWhen, EventWhen, QueryWhen, WindowWhen
from andon.observability.alerts.rules import NS, Rule
from andon.observability.alerts.sightings import VIEWS
from andon.store.model import Journaled

SLOTS_MAX = 60_000  # moments of one history; the step grows beyond
TRACKS_MAX = 50  # endpoints or label sets, those with most traffic first
QUERIES_MAX = 300  # moments at which a rule's own query is asked
CHUNK = 4_000
PIECE_NS = 7 * 86_400 * NS
BOUNDS = Bounds(seconds=60.0, rows=2_000_000, memory_bytes=2 << 30)

_COUNTS = {
    "requests": "count(*) FILTER (final)",
    "errors": "count(*) FILTER (final AND provider_error)",
    "attempts": "count(*)",
    "attempt_errors": "count(*) FILTER (provider_error)",
    "refused": "count(*) FILTER (final AND status BETWEEN 400 AND 498 AND NOT provider_error)",
    "cancelled": "count(*) FILTER (final AND status = 499)",
    "tokens": "coalesce(sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)), 0)",
    "cost": "coalesce(sum(cost_micros), 0)",
}
_LATENCIES = {
    "duration": ("duration_us", "final"),
    "overhead": ("overhead_us", "final"),
    "queue": ("queue_us", "final"),
    "upstream": ("upstream_us", "final"),
    "firstToken": ("first_byte_us", "final AND stream"),
    "perToken": (
        "greatest(0, (upstream_us - first_byte_us) / (output_tokens - 1))",
        "final AND stream AND output_tokens > 1",
    ),
    "features": ("feature_us", "final"),
    "connect": ("connect_us", "true"),
}
_SUBJECT = "CASE WHEN release IS NULL AND status = 404 THEN 'other' ELSE coalesce(endpoint, '') END"
_FIGURES: dict[str, tuple[str, str]] = {
    "errorRate": ("errors", "requests"),
    "attemptErrorRate": ("attempt_errors", "attempts"),
    "refusedRate": ("refused", "requests"),
    "cancelledRate": ("cancelled", "requests"),
}

Sums = dict[str, NDArray[np.int64]]


class Span:
    """A grid of slots over [since, until)."""

    def __init__(self, since_ns: int, until_ns: int, step_ns: int) -> None:
        self.step_ns = step_ns
        self.first = since_ns // step_ns
        self.count = max(1, until_ns // step_ns - self.first)

    @property
    def times_ns(self) -> NDArray[np.int64]:
        """Where each slot ends: when a look would have seen it."""
        return (self.first + 1 + np.arange(self.count, dtype=np.int64)) * self.step_ns

    def pieces(self) -> Sequence[tuple[int, int]]:
        """The span in weeks, so that no query returns too much."""
        begin, end = self.first * self.step_ns, (self.first + self.count) * self.step_ns
        return [(at, min(end, at + PIECE_NS)) for at in range(begin, end, PIECE_NS)]


def window_history(engine: Engine, rule: Rule, since_ns: int, until_ns: int) -> History:
    """Figures of a `window` rule, one track for each endpoint."""
    when = rule.spec.when.window
    assert when is not None
    over_ns = round(duration_s(when.over) * NS)
    # A whole number of slots is one window, and slots are no finer than is worth it.
    wanted_ns = max(10 * NS, min(60 * NS, over_ns), (until_ns - since_ns) // SLOTS_MAX)
    slots = max(1, over_ns // wanted_ns)
    span = Span(since_ns, until_ns, over_ns // slots)
    counted = _counts(engine, when, span)
    names = sorted(counted, key=lambda name: (-int(counted[name]["requests"].sum()), name))
    notes = []
    if len(names) > TRACKS_MAX:
        notes.append(f"{len(names) - TRACKS_MAX} endpoints with least traffic are left out.")
    buckets = _buckets(engine, when, span, frozenset(names[:TRACKS_MAX])) if "." in when.metric else {}
    tracks = []
    for name in names[:TRACKS_MAX]:
        sums = {key: _sliding(found, slots) for key, found in counted[name].items()}
        if "." in when.metric:
            share = int(when.metric.rpartition(".p")[2]) / 100
            values = _quantiles(buckets.get(name, {}), span.count, slots, share) / 1000.0
        else:
            values = _figures(when.metric, sums, over_ns / NS)
        values[sums["requests"] < when.minimum_events] = np.nan
        labels = {"endpoint": name} | ({"release": when.release} if when.release else {})
        tracks.append(Track(labels=labels, values=values))
    return History(
        times_ns=span.times_ns,
        tracks=tuple(tracks),
        step_s=span.step_ns / NS,
        metric=when.metric,
        above=when.above,
        below=when.below,
        missing=rule.spec.missing,
        notes=tuple(notes),
    )


def _where(when: WindowWhen, window: tuple[int, int], parameters: list[Any]) -> str:
    parameters += window
    where = "coalesce(arm, '') <> 'shadow' AND at_ns >= ? AND at_ns < ?"
    for column, value in (("endpoint", when.endpoint), ("release", when.release)):
        if value:
            where += f" AND {column} = ?"
            parameters.append(value)
    return where


def _counts(engine: Engine, when: WindowWhen, span: Span) -> dict[str, Sums]:
    found: dict[str, Sums] = {}
    for window in span.pieces():
        parameters: list[Any] = []
        where = _where(when, window, parameters)
        sql = (
            f"SELECT {_SUBJECT} AS subject, at_ns // {span.step_ns} AS slot, {', '.join(_COUNTS.values())} "
            f"FROM attempts WHERE {where} GROUP BY subject, slot"
        )
        for subject, slot, *counts in _rows(engine, sql, parameters):
            sums = found.get(subject)
            if sums is None:
                sums = found[subject] = {name: np.zeros(span.count, dtype=np.int64) for name in _COUNTS}
            for name, count in zip(_COUNTS, counts, strict=True):
                sums[name][slot - span.first] += int(count)
    return found


def _buckets(
    engine: Engine, when: WindowWhen, span: Span, names: frozenset[str]
) -> dict[str, dict[int, NDArray[np.int64]]]:
    """Counts by subject and bucket of `ledger/histogram.py`, each of shape (slots,)."""
    value, condition = _LATENCIES[when.metric.partition(".")[0]]
    bucket = f"CASE WHEN {value} <= 1 THEN 0 ELSE least({BUCKETS_MAX - 1}, ceil(ln({value}) * {SCALE!r})) END"
    found: dict[str, dict[int, NDArray[np.int64]]] = {}
    for window in span.pieces():
        parameters: list[Any] = []
        where = _where(when, window, parameters)
        sql = (
            f"SELECT {_SUBJECT} AS subject, at_ns // {span.step_ns} AS slot, CAST({bucket} AS INTEGER) AS bucket, "
            f"count(*) FROM attempts WHERE {where} AND {condition} AND {value} IS NOT NULL "
            "GROUP BY subject, slot, bucket"
        )
        for subject, slot, number, count in _rows(engine, sql, parameters):
            if subject not in names:
                continue
            mine = found.setdefault(subject, {})
            if number not in mine:
                mine[number] = np.zeros(span.count, dtype=np.int64)
            mine[number][slot - span.first] += count
    return found


def _sliding(found: NDArray[np.int64], slots: int) -> NDArray[np.int64]:
    """Sums of the last `slots` slots at each slot."""
    sums = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(found)))
    end = np.arange(1, len(found) + 1)
    slid: NDArray[np.int64] = sums[end] - sums[np.maximum(0, end - slots)]
    return slid


def _quantiles(
    buckets: dict[int, NDArray[np.int64]], count: int, slots: int, share: float
) -> NDArray[np.float64]:
    """Nearest ranks of the window at each slot, microseconds; NaN of nothing."""
    values = np.full(count, np.nan)
    if not buckets:
        return values
    numbers = np.asarray(sorted(buckets))
    points = 2 * RATIO ** numbers.astype(np.float64) / (RATIO + 1)
    slid = [_sliding(buckets[int(number)], slots) for number in numbers]
    for begin in range(0, count, CHUNK):
        stack = np.cumsum(np.stack([one[begin : begin + CHUNK] for one in slid]), axis=0)
        totals = stack[-1]
        ranks = np.maximum(1, np.ceil(share * totals - 1e-9 * totals))
        places = (stack >= ranks).argmax(axis=0)
        values[begin : begin + CHUNK] = np.where(totals > 0, points[places], np.nan)
    return values


def _figures(metric: str, sums: Sums, seconds: float) -> NDArray[np.float64]:
    plain = {"requests": "requests", "errors": "errors", "costMicros": "cost"}
    if metric in plain:
        return sums[plain[metric]].astype(np.float64)
    if metric in ("requestsPerS", "tokensPerS"):
        return sums["requests" if metric == "requestsPerS" else "tokens"] / seconds
    bad, total = _FIGURES[metric]
    values = np.full(len(sums[total]), np.nan)
    np.divide(sums[bad], sums[total], out=values, where=sums[total] > 0)
    return values


def absent_history(engine: Engine, when: AbsentWhen, since_ns: int, until_ns: int) -> History:
    """How long each moment had been waiting, in seconds."""
    key = absent_key(when)
    view, column = VIEWS[key[0]]
    during_s = duration_s(when.during)
    step_ns = max(10 * NS, round(min(60.0, during_s / 10) * NS), (until_ns - since_ns) // SLOTS_MAX)
    span = Span(since_ns, until_ns, step_ns)
    last = np.zeros(span.count, dtype=np.int64)
    for window in span.pieces():
        parameters: list[Any] = [*window]
        where = "at_ns >= ? AND at_ns < ?"
        if key[1]:
            where += f" AND {column} = ?"
            parameters.append(key[1])
        sql = f"SELECT at_ns // {span.step_ns} AS slot, max(at_ns) FROM {view} WHERE {where} GROUP BY slot"
        for slot, at_ns in _rows(engine, sql, parameters):
            last[slot - span.first] = max(at_ns, last[slot - span.first])
    latest = np.maximum.accumulate(last)
    times = span.times_ns
    ages = (times - np.where(latest > 0, latest, since_ns)) / NS
    labels = {"absent": key[0]} | ({"name": key[1]} if key[1] else {})
    return History(
        times_ns=times,
        tracks=(Track(labels=labels, values=ages),),
        step_s=span.step_ns / NS,
        metric="silence in seconds",
        above=during_s,
        notes=("Silence before the first one in this span is counted from the span's begin.",),
    )


def query_history(
    engine: Engine, rule: Rule, when: QueryWhen, since_ns: int, until_ns: int, heard: Callable[[], bool]
) -> History:
    """The rule's own query, asked at so many moments as is bearable; `heard` says whether to go on."""
    step_ns = max(rule.every_ns, (until_ns - since_ns) // QUERIES_MAX)
    span = Span(since_ns, until_ns, step_ns)
    times, over_ns = span.times_ns, round(duration_s(when.over) * NS)
    found: dict[tuple[tuple[str, str], ...], tuple[NDArray[np.float64], NDArray[np.bool_]]] = {}
    notes = []
    if step_ns > rule.every_ns:
        notes.append(
            f"Asked every {step_ns / NS:.0f} s, not every {rule.every_ns / NS:.0f} s: shorter ones are missed."
        )
    if "$until" not in when.sql:
        notes.append("The query does not use $until: what it says of the past is what it says of now.")
    asked = 0
    for at, until in enumerate(times.tolist()):
        if not heard():
            notes.append(f"It takes too long: {asked} of {len(times)} moments were asked.")
            break
        asked += 1
        for one in ask_rows(engine, when.sql, until - over_ns, until).seen:
            key = tuple(sorted(one.labels.items()))
            if key not in found and len(found) >= TRACKS_MAX:
                continue
            values, truth = found.setdefault(
                key, (np.full(len(times), np.nan), np.zeros(len(times), dtype=bool))
            )
            truth[at] = True
            values[at] = np.nan if one.value is None else one.value
    tracks = tuple(
        Track(labels=dict(key), values=values[:asked], truth=truth[:asked])
        for key, (values, truth) in found.items()
    )
    return History(times_ns=times[:asked], tracks=tracks, step_s=step_ns / NS, notes=tuple(notes))


def event_history(
    rule: Rule, when: EventWhen, events: Sequence[Journaled], window: tuple[int, int]
) -> History:
    """True from an event until its end, or for `keepFiringFor`; to be played without the latter."""
    step_ns = max(10 * NS, (window[1] - window[0]) // SLOTS_MAX)
    span = Span(*window, step_ns)
    times = span.times_ns
    truths: dict[str, NDArray[np.bool_]] = {}
    ordered = sorted(events, key=lambda one: one.sequence)
    for at, one in enumerate(ordered):
        event = one.event
        if not event.subject.startswith(when.subject) or not is_named(event.name, when.names):
            continue
        ends_ns = event.at_ns + max(step_ns, rule.keep_ns)
        for later in ordered[at + 1 :]:
            if later.event.subject == event.subject and is_named(later.event.name, when.until):
                ends_ns = min(ends_ns, later.event.at_ns)
                break
        truth = truths.get(event.subject)
        if truth is None:
            if len(truths) >= TRACKS_MAX:
                continue
            truth = truths[event.subject] = np.zeros(span.count, dtype=bool)
        truth |= (times > event.at_ns) & (times - step_ns < max(ends_ns, event.at_ns + step_ns))
    tracks = tuple(
        Track(labels={"subject": subject}, values=np.full(span.count, np.nan), truth=truth)
        for subject, truth in truths.items()
    )
    return History(times_ns=times, tracks=tracks, step_s=step_ns / NS)


def no_history(rule: Rule) -> Refused:
    """Of what a condition is not kept."""
    kind = rule.spec.when.kind
    return Refused(
        "history_missing",
        f"The ledger keeps no history that a rule with `{kind}` could be tried on.",
        hint="Try it on a series of your own: andon alerts test FILE --series points.csv",
        param="spec.when",
    )


def _rows(engine: Engine, sql: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
    table = engine.query(sql, parameters, BOUNDS)
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))
