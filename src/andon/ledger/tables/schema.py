"""The schema of the tables, derived from the schema of rows, facts and bodies; and frames turned into columns.

A table has the fields of its rows in stored order, then bookkeeping: which log, segment and position a row came from,
with which schema it was written, and the day (UTC, of `at_ns`) that it is kept under. Nothing here touches a disk.
Shorter rows from older writers are filled with the defaults, longer ones from newer writers are cut, as when decoding.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, get_args, get_type_hints

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from andon.ledger import bodies, row
from andon.ledger.facts import model

DAY_NS = 86_400_000_000_000
DAY = "day"
CHUNK_ROWS = 16_384  # rows turned into columns at a time: bounds the memory that decoded rows take

# What a row came from. `log` and `position` together are unique within a table.
BOOKKEEPING = (
    pa.field("log", pa.string()),  # such as rows/9f2c…: which log, of which folder
    pa.field("segment", pa.int64()),
    pa.field("position", pa.int64()),  # number of the row in its log
    pa.field("schema_version", pa.int64()),  # of the writer
    pa.field(DAY, pa.date32()),
)

_TYPES: dict[object, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    dict[str, int]: pa.map_(pa.string(), pa.int64()),
}


class Table(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One table: whose rows it holds, and its columns."""

    name: str
    log: str  # rows, facts or bodies
    kind: type[msgspec.Struct]
    tag: object  # first element of a stored row
    fields: tuple[str, ...]  # in stored order
    defaults: tuple[Any, ...]
    schema: pa.Schema  # fields, then bookkeeping

    @property
    def temporal(self) -> bool:
        """Whether rows know when they became true, besides when they were learnt."""
        return "event_ns" in self.fields


class Origin(msgspec.Struct, frozen=True):
    """Where rows come from: what the bookkeeping columns say."""

    log: str
    segment: int
    schema_version: int


class Spoiled(msgspec.Struct, frozen=True):
    """A row, or a whole frame, that does not read as what it should be."""

    position: int
    rows: int
    reason: str


def _table(name: str, log: str, kind: type[msgspec.Struct]) -> Table:
    hints = get_type_hints(kind)
    infos = msgspec.structs.fields(kind)
    stored = [pa.field(info.encode_name, _arrow_type(hints[info.name])) for info in infos]
    return Table(
        name=name,
        log=log,
        kind=kind,
        tag=kind.__struct_config__.tag,
        fields=tuple(info.encode_name for info in infos),
        defaults=tuple(None if info.default is msgspec.NODEFAULT else info.default for info in infos),
        schema=pa.schema([*stored, *BOOKKEEPING]),
    )


def _arrow_type(hint: object) -> pa.DataType:
    """The type of a field; Annotated is gone already, and `| None` only says what every column may be: null."""
    choices = (hint,) if hint in _TYPES else get_args(hint)
    return next(_TYPES[choice] for choice in choices if choice in _TYPES)


ATTEMPTS = _table("attempts", "rows", row.Outcome)
OPEN_INTENTS = _table("open_intents", "rows", row.Intent)  # those without an outcome in the same segment
BODIES = _table("bodies", "bodies", bodies.Body)
TABLES: tuple[Table, ...] = (
    ATTEMPTS,
    OPEN_INTENTS,
    _table("labels", "facts", model.Label),
    _table("feedback", "facts", model.Feedback),
    _table("kpi_events", "facts", model.KpiEvent),
    _table("evaluations", "facts", model.Evaluation),
    _table("spans", "facts", model.Span),
    _table("prices", "facts", model.Price),
    BODIES,
)
LOGS = ("rows", "facts", "bodies")


def find_table(name: str) -> Table | None:
    """The table of that name, if there is one."""
    return next((table for table in TABLES if table.name == name), None)


def tables_of(log: str) -> tuple[Table, ...]:
    """The tables that one log's segments go into."""
    return tuple(table for table in TABLES if table.log == log)


def ignore(spoiled: Spoiled) -> None:
    """For callers that only look; the sealer reports."""


class Transposer:
    """Collects the frames of one segment (or of a tail) and gives them back as columns, table by table.

    Frames go in by `add` in stored order; `take` gives every table's rows since the last `take`. Intents are held
    until `take`, so that those whose outcome follows are dropped: what remains is `open_intents`. Not thread-safe.
    """

    def __init__(self, log: str, origin: Origin, report: Callable[[Spoiled], None] = ignore) -> None:
        self._origin = origin
        self._report = report
        self._tables = tables_of(log)
        self._by_tag = {table.tag: table for table in self._tables}
        self._rows: dict[object, list[tuple[int, list[Any]]]] = {tag: [] for tag in self._by_tag}
        self._ready: dict[str, list[pa.RecordBatch]] = {table.name: [] for table in self._tables}
        self._open: dict[tuple[str, int], tuple[int, list[Any]]] = {}

    def add(self, first_row: int, payload: bytes, after: int = 0) -> None:
        """One frame's payload; rows up to position `after` are passed over, being known already."""
        try:
            rows = msgspec.msgpack.decode(payload)
            pairs = [
                (position, row, row[0]) for position, row in enumerate(rows, first_row) if position > after
            ]
        except (msgspec.MsgspecError, TypeError, IndexError, KeyError) as error:
            self._report(Spoiled(first_row, 0, f"a frame that does not decode: {error}"))
            return
        for position, row_, tag in pairs:
            kept = self._rows.get(tag)
            if kept is None:
                self._report(Spoiled(position, 1, f"a row of unknown kind {tag!r}"))
                continue
            kept.append((position, row_))
        for tag, kept in self._rows.items():
            if len(kept) >= CHUNK_ROWS:
                self._turn(self._by_tag[tag])

    def take(self) -> dict[str, list[pa.RecordBatch]]:
        """The rows of every table of this log, as batches of at most about CHUNK_ROWS and a frame; maybe none."""
        for table in self._tables:
            self._turn(table)
        if self._open:
            held = list(self._open.values())
            self._open = {}
            self._emit(OPEN_INTENTS, held)
        taken, self._ready = self._ready, {table.name: [] for table in self._tables}
        return taken

    def _turn(self, table: Table) -> None:
        pairs, self._rows[table.tag] = self._rows[table.tag], []
        if not pairs:
            return
        if table is OPEN_INTENTS:
            self._open.update(((row_[1], row_[2] if len(row_) > 2 else 0), (at, row_)) for at, row_ in pairs)
            return
        if table is ATTEMPTS:
            self._turn(OPEN_INTENTS)
            if self._open:
                for _, row_ in pairs:
                    self._open.pop((row_[1], row_[2] if len(row_) > 2 else 0), None)
        self._emit(table, pairs)

    def _emit(self, table: Table, pairs: list[tuple[int, list[Any]]]) -> None:
        try:
            batch = _to_batch(table, pairs, self._origin)
        except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError):
            # Some value is not of its type. Find the rows at fault one by one; the others are kept.
            batch = _to_batch(table, self._sound(table, pairs), self._origin)
        if batch.num_rows:
            self._ready[table.name].append(batch)

    def _sound(self, table: Table, pairs: list[tuple[int, list[Any]]]) -> list[tuple[int, list[Any]]]:
        kept = []
        for position, row_ in pairs:
            try:
                _to_batch(table, [(position, row_)], self._origin)
            except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError) as error:
                self._report(Spoiled(position, 1, f"a row that is not of its kind: {error}"))
            else:
                kept.append((position, row_))
        return kept


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the cyclic collector: decoded rows are many lists and no cycles, and it would take half the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def to_batches(
    log: str,
    frames: Iterable[tuple[int, bytes]],
    origin: Origin,
    report: Callable[[Spoiled], None] = ignore,
) -> dict[str, pa.RecordBatch]:
    """Frames, each (number of its first row, payload), as one batch for every table of that log; maybe empty."""
    transposer = Transposer(log, origin, report)
    for first_row, payload in frames:
        transposer.add(first_row, payload)
    return {
        name: join_batches(batches, (find_table(name) or ATTEMPTS).schema)
        for name, batches in transposer.take().items()
    }


def join_batches(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    """Several batches as one."""
    if len(batches) == 1:
        return batches[0]
    merged = pa.Table.from_batches(batches, schema).combine_chunks().to_batches()
    return merged[0] if merged else _empty(schema)


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def _to_batch(table: Table, pairs: list[tuple[int, list[Any]]], origin: Origin) -> pa.RecordBatch:
    if not pairs:
        return _empty(table.schema)
    positions, rows = zip(*pairs, strict=True)
    whole = len(table.fields) + 1  # the tag stands first
    if min(map(len, rows)) < whole:
        rows = tuple(
            row_ if len(row_) >= whole else [*row_, *table.defaults[len(row_) - 1 :]] for row_ in rows
        )
    columns = list(zip(*rows, strict=False))[1:whole]
    arrays = [_column(values, field.type) for values, field in zip(columns, table.schema, strict=False)]
    count = len(rows)
    at_ns = arrays[table.fields.index("at_ns")].fill_null(0)
    day = pc.cast(pc.cast(pc.divide(at_ns, DAY_NS), pa.int32()), pa.date32())
    arrays += [
        pa.repeat(pa.scalar(origin.log), count),
        pa.repeat(pa.scalar(origin.segment, pa.int64()), count),
        pa.array(positions, pa.int64()),
        pa.repeat(pa.scalar(origin.schema_version, pa.int64()), count),
        day,
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=table.schema)


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_map(kind):
        return pa.array([None if value is None else list(value.items()) for value in values], kind)
    return pa.array(values, kind)
