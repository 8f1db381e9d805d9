"""Reads what drift needs from the ledger: columns of rows, or recorded inputs as columns, of one window.

Blocking, so the event loop hands it to a runner. Of a window with more rows than are wanted, a fair part is read:
those whose request id hashes into it, the same for rows and bodies.
"""

# ruff: noqa: S608  # what is put together are constants and columns that the schema knows; values are parameters

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from andon.kernel.errors import AndonError
from andon.ledger.queries import Bounds, Engine
from andon.observability.quality.drift.decoding import decode_bodies
from andon.observability.quality.drift.model import ROW_COLUMNS, DriftMonitorSpec
from andon.observability.quality.drift.performance import predicted_errors
from andon.observability.quality.drift.sketch import numbers

Unseal = Callable[[str, int, str, bytes], bytes]  # id, attempt, part, data; raises AndonError, OSError

SECONDS_MAX = 60.0
MEMORY_BYTES_MAX = 512 * 2**20
_WHERE = (
    "endpoint = ? AND at_ns >= ? AND at_ns < ? AND (? = '' OR release = ?) AND status BETWEEN 200 AND 399"
)
_COUNT = "SELECT count(*) AS rows FROM requests WHERE " + _WHERE
_ROWS = "SELECT {columns} FROM requests WHERE " + _WHERE + " AND hash(id) % ? = 0 ORDER BY at_ns"
_BODIES = (
    "SELECT b.id, b.attempt, b.part, b.key, b.data, b.header_length, r.score FROM bodies b JOIN "
    f"(SELECT id, score, at_ns FROM requests WHERE {_WHERE} AND hash(id) % ? = 0) r ON b.id = r.id "
    "WHERE b.part = 'input' AND b.attempt = 0 AND NOT b.truncated ORDER BY r.at_ns"
)


@dataclass(frozen=True, kw_only=True)
class Window:
    """A span of wall time, the end not included."""

    from_ns: int
    until_ns: int


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Columns of one window, in order of time, and the predicted error of each row where one is known."""

    columns: Mapping[str, Any]
    rows: int
    errors: np.ndarray | None = None
    unreadable: int = 0


def read_chunk(
    engine: Engine,
    spec: DriftMonitorSpec,
    window: Window,
    release: str = "",
    unseal: Unseal | None = None,
) -> Chunk:
    """The window's chunk. Raises `Refused` for a query that takes too much."""
    given = [spec.endpoint, window.from_ns, window.until_ns, release or spec.release, release or spec.release]
    bounds = Bounds(seconds=SECONDS_MAX, memory_bytes=MEMORY_BYTES_MAX, rows=2 * spec.max_rows)
    total = engine.query(_COUNT, given, bounds).column("rows")[0].as_py()
    part = max(1, -(-total // spec.max_rows))
    if spec.source == "rows":
        return _rows(engine, spec, [*given, part], bounds)
    table = engine.query(_BODIES, [*given, part], bounds)
    pairs = zip(_plain(table, unseal), table.column("header_length").to_pylist(), strict=True)
    found = decode_bodies(pairs, spec.max_rows, frozenset(spec.columns))
    score = table.column("score").take(pa.array(found.bodies, pa.int64()))
    return Chunk(
        columns=found.table(),
        rows=found.rows,
        errors=_errors(score, alone=len(set(found.bodies)) == len(found.bodies)),
        unreadable=found.unreadable,
    )


def _plain(table: pa.Table, unseal: Unseal | None) -> Iterator[bytes]:
    """Bodies as they were sent; one whose key was destroyed reads as nothing, and is counted as unreadable."""
    names = ("id", "attempt", "part", "key", "data")
    for id_, attempt, part, key, data in zip(
        *(table.column(name).to_pylist() for name in names), strict=True
    ):
        if key is None:
            yield data
            continue
        try:
            yield b"" if unseal is None else unseal(id_, attempt, part, data)
        except (AndonError, OSError):
            yield b""


def _rows(engine: Engine, spec: DriftMonitorSpec, given: Sequence[Any], bounds: Bounds) -> Chunk:
    names = spec.columns or ROW_COLUMNS
    wanted = dict.fromkeys([*names, "score"])
    table = engine.query(_ROWS.format(columns=", ".join(f'"{name}"' for name in wanted)), given, bounds)
    columns = {name: table.column(name) for name in names if table.column(name).null_count < len(table)}
    return Chunk(columns=columns, rows=len(table), errors=_errors(table.column("score"), alone=True))


def _errors(score: pa.ChunkedArray, *, alone: bool) -> np.ndarray | None:
    """1 - confidence where the score is a probability; unknown where a body held several predictions."""
    if not alone or score.null_count == len(score):
        return None
    known, _ = numbers(score)
    if len(known) == 0 or known.min() < 0.0 or known.max() > 1.0:
        return None
    filled, _ = numbers(pc.fill_null(pc.cast(score, pa.float64()), -1.0))
    errors = predicted_errors(filled)
    errors[filled < 0] = np.nan
    return errors
