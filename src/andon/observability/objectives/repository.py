"""Counts of an objective by query: exact and weighed by events, on any slice, over any [from, to).

The only file of this room with SQL. Every function blocks: the event loop hands it to a runner. Values travel as
parameters; columns come from the closed list of the schema.
"""

# ruff: noqa: S608  # what is put together are columns of a closed list; values are parameters

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from andon.ledger.queries import Bounds, Engine
from andon.observability.objectives.counting import NUMBER, Counting
from andon.observability.objectives.model import QualitySpec, Slice
from andon.observability.objectives.predicates import All, sql_of
from andon.observability.objectives.tallies import Slot
from andon.observability.objectives.verdicts import Tallied

ROWS_MAX = 1_000_000  # 200 slices by 4,320 fine slots, or by the 2,016 coarse slots of a week
PIECE_NS = 7 * 86_400 * 1_000_000_000
BOUNDS = Bounds(seconds=60.0, rows=ROWS_MAX, memory_bytes=2 << 30)
CONTRIBUTORS = ("release", "team", "error_code", "model", "target", "key")
TOP = 5

# Per source of facts: view, column of the name, value and text. The views know which request a fact is about.
_FACTS = {
    "label": ("labels", "name", "value", "text"),
    "feedback": ("feedback", "kind", "value", "CAST(NULL AS VARCHAR)"),
    "evaluation": ("evaluations", "name", "score", "label"),
}


class JudgedRow(NamedTuple):
    """One request with its latest fact."""

    id: str
    at_ns: int
    prediction: str | None
    key: Slice
    known_ns: int
    fact: str
    value: float | None
    text: str | None


class Contribution(msgspec.Struct, frozen=True, kw_only=True):
    """How much one value of a column has taken of the budget."""

    column: str
    value: str | None
    bad: int
    total: int
    share: float  # of all bad events of the window


def count(engine: Engine, counting: Counting, from_ns: int, to_ns: int) -> dict[Slice, Tallied]:
    """Events per slice in [from, to). Raises `Refused` when the query takes too much."""
    columns = ", ".join((*counting.by, "count(*)", "count(*) FILTER (bad)"))
    parameters: list[Any] = []
    events = _events(counting, (from_ns, to_ns), counting.by, parameters)
    group = f" GROUP BY {', '.join(counting.by)}" if counting.by else ""
    found = _rows(engine, f"SELECT {columns} FROM ({events}){group}", parameters)
    return {tuple(row[:-2]): Tallied(row[-2], row[-1]) for row in found}


def count_slots(engine: Engine, counting: Counting, from_ns: int, to_ns: int, size_ns: int) -> Sequence[Slot]:
    """Events per slice and slot of `size_ns` in [from, to), the slices with most events first."""
    columns = "".join(f"{name}, " for name in counting.by)
    slots: list[Slot] = []
    while from_ns < to_ns:
        until_ns = min(to_ns, (from_ns // PIECE_NS + 1) * PIECE_NS)
        parameters: list[Any] = []
        events = _events(counting, (from_ns, until_ns), counting.by, parameters)
        sql = (
            f"SELECT {columns}t // {int(size_ns)} AS slot, count(*), count(*) FILTER (bad) FROM ({events}) "
            f"GROUP BY {columns}slot"
        )
        slots += [Slot(tuple(row[:-3]), row[-3], row[-2], row[-1]) for row in _rows(engine, sql, parameters)]
        from_ns = until_ns
    weights: dict[Slice, int] = {}
    for one in slots:
        weights[one.key] = weights.get(one.key, 0) + one.total
    order = {key: place for place, key in enumerate(sorted(weights, key=lambda k: (-weights[k], str(k))))}
    return sorted(slots, key=lambda one: order[one.key])


def judged(engine: Engine, counting: Counting, from_ns: int, limit: int) -> Sequence[JudgedRow]:
    """Requests with their latest fact, from `from_ns` on (of the time that counts); `limit` + 1 tells of more."""
    assert counting.quality is not None
    parameters: list[Any] = []
    facts = _latest_facts(counting, counting.quality, from_ns, counting.by, parameters)
    by = "".join(f", {name}" for name in counting.by)
    sql = f"SELECT id, at_ns, prediction, known_ns, fact, value, text{by} FROM ({facts})"
    sql += f" LIMIT {limit + 1}"
    return [
        JudgedRow(row[0], row[1], row[2], tuple(row[7:]), row[3], row[4], row[5], row[6])
        for row in _rows(engine, sql, parameters)
    ]


def contributors(engine: Engine, counting: Counting, from_ns: int, to_ns: int) -> Sequence[Contribution]:
    """Which values of which columns have most bad events in [from, to), most first per column."""
    found: list[Contribution] = []
    for column in CONTRIBUTORS:
        parameters: list[Any] = []
        events = _events(counting, (from_ns, to_ns), (column,), parameters)
        sql = (
            f"SELECT {column}, count(*) FILTER (bad) AS bads, count(*), "
            "CAST(sum(count(*) FILTER (bad)) OVER () AS BIGINT) "
            f"FROM ({events}) GROUP BY {column} ORDER BY bads DESC, {column} LIMIT {TOP}"
        )
        found += [
            Contribution(column=column, value=row[0], bad=row[1], total=row[2], share=row[1] / row[3])
            for row in _rows(engine, sql, parameters)
            if row[1]
        ]
    return found


def _rows(engine: Engine, sql: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
    table = engine.query(sql, parameters, BOUNDS)
    columns = [column.to_pylist() for column in table.columns]
    return list(zip(*columns, strict=True))


def _events(
    counting: Counting, window: tuple[int, int], columns: Sequence[str], parameters: list[Any]
) -> str:
    """A relation with one line per event: its time `t`, whether it is `bad`, and the columns asked for."""
    named = "".join(f", {name}" for name in columns)
    if counting.quality is None:
        bad = sql_of(counting.bad, parameters)
        where = sql_of(All((counting.over, counting.event)), parameters)
        parameters += window
        return (
            f"SELECT at_ns AS t, {bad} AS bad{named} FROM requests WHERE {where} AND at_ns >= ? AND at_ns < ?"
        )
    inner: list[Any] = []
    facts = _latest_facts(counting, counting.quality, window[0], columns, inner)
    time = "known_ns" if counting.quality.counted_at == "known" else "at_ns"
    verdict = _verdict(counting.quality, parameters)
    parameters += [*inner, *window]
    return (
        f"SELECT * FROM (SELECT {time} AS t, {verdict} AS bad{named} FROM ({facts})) "
        "WHERE bad IS NOT NULL AND t >= ? AND t < ?"
    )


def _latest_facts(
    counting: Counting, quality: QualitySpec, from_ns: int, columns: Sequence[str], parameters: list[Any]
) -> str:
    """Requests with the latest fact about each. Nothing is cut at the end: a later fact takes an event away."""
    view, name, value, text = _FACTS[quality.source]
    named = "".join(f", r.{column}" for column in columns)
    parameters.append(quality.name)
    where = sql_of(All((counting.over, counting.event)), parameters, "r.")
    parameters.append(from_ns)
    time = "f.at_ns" if quality.counted_at == "known" else "r.at_ns"
    return (
        f"SELECT r.id, r.at_ns, r.prediction{named}, f.at_ns AS known_ns, f.fact, f.value, f.text FROM requests r "
        f"JOIN (SELECT id AS fact, at_ns, request_id, {value} AS value, {text} AS text FROM {view} "
        f"WHERE {name} = ? AND request_id IS NOT NULL) f ON r.id = f.request_id WHERE {where} AND {time} >= ?"
    )


def _verdict(spec: QualitySpec, parameters: list[Any]) -> str:
    """`counting.judge` as SQL."""
    unknown = {"ignore": "NULL", "good": "false", "bad": "true"}[spec.unknown]
    if spec.below is not None:
        parameters.append(spec.below)
        return f"CASE WHEN value IS NULL THEN {unknown} ELSE value < ? END"
    parameters.append(NUMBER.pattern)
    return (
        f"CASE WHEN prediction IS NULL THEN {unknown} WHEN text IS NOT NULL THEN text <> prediction "
        "WHEN value IS NOT NULL THEN NOT regexp_full_match(prediction, ?) "
        f"OR coalesce(try_cast(prediction AS DOUBLE) <> value, true) ELSE {unknown} END"
    )
