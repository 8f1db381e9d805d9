"""Reads what quality needs from the ledger: answers of a period with the labels known of them.

Blocking, so the event loop hands it to a runner. Of a chunk with more rows than are wanted, a fair part is read: those
whose request id hashes into it.
"""

# ruff: noqa: S608  # what is put together are constants, columns that the schema knows and whole numbers

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from andon.ledger.queries import Bounds, Engine
from andon.observability.quality.figures import Sample
from andon.observability.quality.model import MonitorSpec

SECONDS_MAX = 60.0
MEMORY_BYTES_MAX = 512 * 2**20
CHUNKS_MAX = 10_000
_YES = frozenset({"1", "1.0", "true", "yes", "True", "TRUE", "Yes"})

_SERVED = (
    "SELECT * FROM requests WHERE endpoint = $endpoint AND at_ns >= $from_ns AND at_ns < $until_ns "
    "AND status BETWEEN 200 AND 399 AND release IS NOT NULL AND (prediction IS NOT NULL OR score IS NOT NULL)"
)
_COUNT = f"SELECT count(*) AS rows FROM ({_SERVED})"
_TRUTH = (
    'SELECT request_id, value AS label, "text" AS label_text, at_ns AS known_ns FROM {labels} '
    'WHERE name = $label AND request_id IS NOT NULL AND (value IS NOT NULL OR "text" IS NOT NULL)'
)
_ROWS = (
    f"WITH served AS ({_SERVED} AND hash(id) % $part = 0), truth AS ({_TRUTH}) "
    "SELECT served.release, served.at_ns, served.prediction, served.score, truth.label, truth.label_text, "
    "truth.known_ns{slices} FROM served {join} JOIN truth ON truth.request_id = served.id ORDER BY served.at_ns"
)
_FORMULA = (
    f"WITH served AS ({_SERVED}), truth AS ({_TRUTH}), labelled AS ("
    "SELECT served.*, truth.label, truth.label_text FROM served JOIN truth ON truth.request_id = served.id) "
    "SELECT release, CAST(({formula}) AS DOUBLE) AS figure FROM labelled GROUP BY release"
)
_PERIODS = (
    f"SELECT DISTINCT at_ns // $period_ns AS number FROM ({_SERVED}) ORDER BY number LIMIT {CHUNKS_MAX}"
)
_TOUCHED = (
    f"SELECT DISTINCT served.at_ns // $period_ns AS number FROM ({_SERVED}) served SEMI JOIN "
    "(SELECT request_id FROM labels_history WHERE name = $label AND at_ns >= $since_ns) known "
    f"ON known.request_id = served.id ORDER BY number LIMIT {CHUNKS_MAX}"
)
_LABELLED = (
    f"WITH served AS ({_SERVED}), truth AS ({_TRUTH}) "
    "SELECT served.release, count(*) AS labelled FROM served JOIN truth ON truth.request_id = served.id "
    "GROUP BY served.release"
)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Answers of one release in order of time; arrays of shape (n,). `lags_s` is nan without a label."""

    sample: Sample  # truth is nan where no label is known
    at_ns: NDArray[np.int64]
    lags_s: NDArray[np.float64]
    slices: dict[str, NDArray[np.object_]]
    share: float = 1.0  # of the rows that was read

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Which answers have a label."""
        return np.isfinite(self.sample.truth)


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A span of wall time, the end not included, and the moment whose knowledge is asked for; 0 is now."""

    from_ns: int
    until_ns: int
    as_of_ns: int = 0


def _bounds(rows: int) -> Bounds:
    return Bounds(seconds=SECONDS_MAX, memory_bytes=MEMORY_BYTES_MAX, rows=rows)


def _given(spec: MonitorSpec, span: Span) -> dict[str, Any]:
    return {"endpoint": spec.endpoint, "from_ns": span.from_ns, "until_ns": span.until_ns}


def _labels(as_of_ns: int) -> str:
    return f"labels_as_of(make_timestamp({as_of_ns // 1000}))" if as_of_ns else "labels"


def read_answers(
    engine: Engine, spec: MonitorSpec, span: Span, *, labelled_only: bool = False
) -> dict[str, Answers]:
    """The answers of a span by release. Raises `Refused` for a query that takes too much."""
    given = _given(spec, span)
    total = engine.query(_COUNT, given, _bounds(1)).column("rows")[0].as_py()
    part = max(1, -(-total // spec.max_rows))
    slices = "".join(f', CAST(served."{name}" AS VARCHAR) AS "slice_{name}"' for name in spec.slices)
    sql = _ROWS.format(slices=slices, join="" if labelled_only else "LEFT", labels=_labels(span.as_of_ns))
    table = engine.query(sql, {**given, "label": spec.label, "part": part}, _bounds(2 * spec.max_rows))
    releases = np.asarray(table.column("release").to_pylist(), dtype=object)
    whole = _answers(spec, table, 1.0 / part)
    return {str(name): _of(whole, releases == name) for name in sorted(set(releases.tolist()))}


def _of(whole: Answers, rows: NDArray[np.bool_]) -> Answers:
    sample = whole.sample
    return Answers(
        sample=Sample(scores=sample.scores[rows], truth=sample.truth[rows], predicted=sample.predicted[rows]),
        at_ns=whole.at_ns[rows],
        lags_s=whole.lags_s[rows],
        slices={name: values[rows] for name, values in whole.slices.items()},
        share=whole.share,
    )


def _numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    return np.asarray(table.column(name).to_numpy(zero_copy_only=False), dtype=float)


def _answers(spec: MonitorSpec, table: pa.Table, share: float) -> Answers:
    scores, values = _numbers(table, "score"), _numbers(table, "label")
    predictions = table.column("prediction").to_pylist()
    texts = table.column("label_text").to_pylist()
    truth, predicted = encode(spec, scores, predictions, values, texts)
    at_ns = np.asarray(table.column("at_ns").to_numpy(zero_copy_only=False), dtype=np.int64)
    lags_s = (_numbers(table, "known_ns") - at_ns) / 1e9
    return Answers(
        sample=Sample(scores=scores, truth=truth, predicted=predicted),
        at_ns=at_ns,
        lags_s=lags_s,
        slices={
            name: np.asarray(table.column(f"slice_{name}").to_pylist(), dtype=object) for name in spec.slices
        },
        share=share,
    )


def encode(
    spec: MonitorSpec,
    scores: NDArray[np.float64],
    predictions: Sequence[str | None],
    values: NDArray[np.float64],
    texts: Sequence[str | None],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(truth, answer) as numbers: 0 or 1, the value, or a code of the class; nan where it is not known."""
    if spec.problem == "regression":
        said = [_number(text) for text in predictions]
        return values, np.where(np.isfinite(scores), scores, np.asarray(said, dtype=float))
    if spec.problem == "multiclass":
        told = [
            text if text is not None else _plain(value) for text, value in zip(texts, values, strict=True)
        ]
        codes = {name: float(code) for code, name in enumerate(sorted({*told, *predictions} - {None}))}  # type: ignore[type-var]  # None is taken out
        return (
            np.asarray([codes.get(name, np.nan) for name in told]),
            # An answer without a class is wrong whatever the truth.
            np.asarray([codes.get(name, -1.0) for name in predictions]),
        )
    truth = np.where(np.isfinite(values), (values >= 0.5).astype(float), np.nan)
    for place, text in enumerate(texts):
        if text is not None:
            truth[place] = float(text == spec.positive if spec.positive else text in _YES)
    if spec.threshold is not None or not spec.positive:
        predicted = np.asarray(scores >= (0.5 if spec.threshold is None else spec.threshold), dtype=float)
        for row in np.flatnonzero(~np.isfinite(scores)).tolist():
            predicted[row] = float((predictions[row] or "") in ({spec.positive} if spec.positive else _YES))
    else:
        predicted = np.asarray([float(name == spec.positive) for name in predictions])
    return truth, predicted


def _number(text: str | None) -> float:
    try:
        return float(text) if text is not None else float("nan")
    except ValueError:
        return float("nan")


def _plain(value: float) -> str | None:
    if not np.isfinite(value):
        return None
    return str(int(value)) if value == int(value) else str(value)


def read_formula(engine: Engine, spec: MonitorSpec, span: Span, formula: str) -> dict[str, float | None]:
    """A figure of one's own by release. Raises `Refused` for a formula that is wrong or takes too much."""
    sql = _FORMULA.format(formula=formula, labels=_labels(span.as_of_ns))
    table = engine.query(sql, {**_given(spec, span), "label": spec.label}, _bounds(1000))
    return {row["release"]: row["figure"] for row in table.to_pylist()}


def read_periods(engine: Engine, spec: MonitorSpec, span: Span, period_ns: int) -> list[int]:
    """Numbers of the periods that have answers."""
    table = engine.query(_PERIODS, {**_given(spec, span), "period_ns": period_ns}, _bounds(CHUNKS_MAX))
    return [int(number) for number in table.column("number").to_pylist()]


def read_touched(engine: Engine, spec: MonitorSpec, span: Span, period_ns: int, since_ns: int) -> list[int]:
    """Numbers of the periods of whose answers a label was learnt since: new ones and corrections."""
    given = {**_given(spec, span), "period_ns": period_ns, "label": spec.label, "since_ns": since_ns}
    table = engine.query(_TOUCHED, given, _bounds(CHUNKS_MAX))
    return [int(number) for number in table.column("number").to_pylist()]


def read_labelled(engine: Engine, spec: MonitorSpec, span: Span) -> dict[str, int]:
    """How many labelled answers each release has."""
    sql = _LABELLED.format(labels=_labels(span.as_of_ns))
    table = engine.query(sql, {**_given(spec, span), "label": spec.label}, _bounds(1000))
    return {row["release"]: int(row["labelled"]) for row in table.to_pylist()}
