"""Columns of a table as drift sees them: numbers and categories; texts and embeddings become several numbers.

A text is its length in characters and in words. An embedding is its norm and its projections on a few fixed random
directions: distributions differ if and only if some projection does (Cramér & Wold 1936). Tables come column by
column, so that a wide one is never held twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from andon.kernel.errors import Refused

Values = Any  # an Arrow column, or a numpy array (rows,) or (rows, dimensions)
Columns = Iterable[tuple[str, Values]]

SELF = "self"
PROJECTIONS = 8
GROUP = 16  # columns of a Parquet file read at once
_TEXT_DISTINCT, _TEXT_SHARE = 200, 0.05  # more different strings than both are a text, not a category
_SEED = 20_070_411  # fixes the directions; any will do, but the same for reference and current


def measures(values: Values) -> tuple[str, ...]:
    """What is measured of a column: itself, or parts of a text or embedding; nothing for what cannot drift."""
    if isinstance(values, np.ndarray):
        if values.dtype.kind in "OUS":
            return measures(pa.array(values.tolist()))
        return _embedding() if values.ndim == 2 else (SELF,) if values.dtype.kind in "fiub" else ()
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        distinct = pc.count_distinct(values if values.type == kind else pc.cast(values, kind)).as_py()
        text = distinct > max(_TEXT_DISTINCT, _TEXT_SHARE * len(values))
        return ("chars", "words") if text else (SELF,)
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind):
        inner = kind.value_type
        return _embedding() if pa.types.is_floating(inner) or pa.types.is_integer(inner) else ()
    numeric = pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)
    return (SELF,) if numeric or pa.types.is_boolean(kind) else ()


def _embedding() -> tuple[str, ...]:
    return ("norm", *(f"p{number}" for number in range(1, PROJECTIONS + 1)))


def is_category(values: Values) -> bool:
    """Whether a column measured as itself is one of categories."""
    if isinstance(values, np.ndarray):
        return values.dtype.kind in "OUSb"
    kind = values.type
    return bool(
        pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_boolean(kind)
    ) or bool(pa.types.is_large_string(kind))


def measure(values: Values, how: Iterable[str]) -> dict[str, Values]:
    """The wanted measures of one column."""
    wanted = list(how)
    if wanted == [SELF]:
        return {SELF: pa.array(values.tolist()) if _loose(values) else values}
    if wanted and wanted[0] in ("chars", "words"):
        texts = values if not isinstance(values, np.ndarray) else pa.array(values.tolist())
        texts = pc.cast(texts, pa.string())
        found: Mapping[str, Any] = {
            "chars": lambda: pc.utf8_length(texts),
            "words": lambda: pc.count_substring_regex(texts, r"\S+"),
        }
        return {name: found[name]() for name in wanted}
    return _project(values, wanted)


def _loose(values: Values) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind in "OUSb"


def _project(values: Values, wanted: list[str]) -> dict[str, Values]:
    """Norm and projections of the rows that have a vector of the usual length; the others count as missing."""
    if isinstance(values, np.ndarray):
        matrix, rows, which = values, len(values), np.arange(len(values))
    else:
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
        size = int(np.bincount(lengths[lengths > 0]).argmax()) if (lengths > 0).any() else 0
        rows, which = len(values), np.flatnonzero((lengths == size) & (size > 0))
        flat = pc.list_flatten(values.take(pa.array(which))).to_numpy(zero_copy_only=False)
        matrix = flat.reshape(len(which), max(size, 1)) if len(which) else np.zeros((0, 1))
    directions = np.random.default_rng(_SEED).normal(size=(PROJECTIONS, matrix.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    found: dict[str, Values] = {}
    for name in wanted:
        column = np.full(rows, np.nan)
        column[which] = (
            np.linalg.norm(matrix, axis=1) if name == "norm" else matrix @ directions[int(name[1:]) - 1]
        )
        found[name] = column
    return found


def of_table(table: pa.Table) -> Iterator[tuple[str, Values]]:
    """The columns of an Arrow table."""
    for name in table.column_names:
        yield name, table.column(name)


def of_matrix(matrix: np.ndarray, names: Iterable[str] = ()) -> Iterator[tuple[str, Values]]:
    """The columns of a matrix (rows, columns); without names they are x0, x1, …"""
    given = list(names) or [f"x{number}" for number in range(matrix.shape[1])]
    for number, name in enumerate(given):
        yield name, np.ascontiguousarray(matrix[:, number])


def of_file(path: Path, only: Iterable[str] = ()) -> Iterator[tuple[str, Values]]:
    """The columns of a .parquet, .csv or .npy file, a few at a time. Raises Refused if it cannot be read."""
    wanted = set(only)
    try:
        for name, values in _read(path):
            if not wanted or name in wanted:
                yield name, values
    except (OSError, pa.ArrowInvalid, ValueError) as error:
        raise Refused(
            "table_unreadable",
            f"{path} cannot be read as a table: {error}.",
            hint="Give a .parquet, .csv, .csv.gz or .npy file.",
        ) from error


def _read(path: Path) -> Iterator[tuple[str, Values]]:
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:  # mapped pages would count as memory
            names = file.schema_arrow.names
            for start in range(0, len(names), GROUP):
                yield from of_table(file.read(columns=names[start : start + GROUP], use_threads=False))
    elif path.suffix == ".npy":
        yield from of_matrix(np.load(path, mmap_mode="r", allow_pickle=False))
    elif path.name.endswith((".csv", ".csv.gz")):
        yield from of_table(pyarrow.csv.read_csv(path))
    else:
        raise ValueError("its name ends in none of the known suffixes")
