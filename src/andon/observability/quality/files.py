"""Labelled answers from a file: a reference that was kept elsewhere, such as a test set with a model's predictions.

Blocking. A CSV with a header; the columns are `score`, `prediction` (either may be missing) and `label`.
"""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv

from andon.kernel.errors import Refused
from andon.observability.quality.figures import Sample, part_of
from andon.observability.quality.model import MonitorSpec
from andon.observability.quality.repository import encode

ROWS_MAX = 1_000_000


def read_sample(data: bytes, spec: MonitorSpec) -> Sample:
    """The rows that have a label, in the file's order. Raises `Refused` for what is no such table."""
    try:
        table = csv.read_csv(io.BytesIO(data))
    except pa.ArrowInvalid as error:
        raise Refused("file_unreadable", f"The file is no CSV: {error}.", param="body") from error
    names = set(table.column_names)
    if "label" not in names or not names & {"score", "prediction"}:
        raise Refused(
            "file_unreadable",
            f"The file has the columns {', '.join(table.column_names[:20])}.",
            hint="It needs label, and score or prediction or both.",
            param="body",
        )
    if len(table) > ROWS_MAX:
        raise Refused("file_too_large", f"The file has {len(table)} rows; {ROWS_MAX} are taken at most.")
    try:
        truth, predicted = _encoded(table, spec)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise Refused("file_unreadable", f"A column is of the wrong kind: {error}.", param="body") from error
    sample = Sample(scores=_numbers(table, "score"), truth=truth, predicted=predicted)
    return part_of(sample, np.isfinite(truth) & np.isfinite(predicted))


def _encoded(table: pa.Table, spec: MonitorSpec) -> tuple[np.ndarray, np.ndarray]:
    label = table.column("label")
    written = pa.types.is_string(label.type)
    nothing = [None] * len(table)
    return encode(
        spec,
        _numbers(table, "score"),
        table.column("prediction").cast(pa.string()).to_pylist()
        if "prediction" in table.column_names
        else nothing,
        np.full(len(table), np.nan) if written else _numbers(table, "label"),
        label.to_pylist() if written else nothing,
    )


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    if name not in table.column_names:
        return np.full(len(table), np.nan)
    column = table.column(name).cast(pa.float64())
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=float)
