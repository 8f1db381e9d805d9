"""Answers in the forms that leave Andon: values for JSON, CSV, Parquet, and Arrow's own stream.

Pure: a table in, bytes or plain values out. What a form cannot hold is written as JSON inside it, never dropped.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import io
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

Format = Literal["json", "csv", "parquet", "arrow"]

MEDIA_TYPES: dict[str, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}


def columns(table: pa.Table) -> list[tuple[str, str]]:
    """Name and Arrow type of every column."""
    return [(field.name, str(field.type)) for field in table.schema]


def rows(table: pa.Table) -> list[list[Any]]:
    """Every row as values that JSON has: times as ISO 8601 in UTC, bytes in base64, maps as objects."""
    plain = [
        [_plain(value, field.type) for value in _values(table[at])] for at, field in enumerate(table.schema)
    ]
    return [list(row) for row in zip(*plain, strict=True)] if plain else []


def records(table: pa.Table) -> list[dict[str, Any]]:
    """Every row as an object."""
    names = table.schema.names
    return [dict(zip(names, row, strict=True)) for row in rows(table)]


def encode(table: pa.Table, form: str) -> bytes:
    """The table in a form; as JSON a list of objects."""
    if form == "csv":
        sink = io.BytesIO()
        pa.csv.write_csv(_flat(table), sink)
        return sink.getvalue()
    if form == "parquet":
        sink = io.BytesIO()
        pa.parquet.write_table(_without_spans(table), sink, compression="zstd")
        return sink.getvalue()
    if form == "arrow":
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue()
    return msgspec.json.encode(records(table))


def decode(data: bytes) -> pa.Table:
    """A table from Arrow's stream."""
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()


def _flat(table: pa.Table) -> pa.Table:
    """Nested and binary columns as text: CSV has none of these."""
    for at, field in enumerate(table.schema):
        if (
            pa.types.is_nested(field.type)
            or pa.types.is_binary(field.type)
            or pa.types.is_large_binary(field.type)
            or pa.types.is_interval(field.type)
        ):
            values = [_plain(value, field.type) for value in _values(table[at])]
            texts = [
                value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()
                for value in values
            ]
            table = table.set_column(at, field.name, pa.array(texts, pa.string()))
    return table


def _without_spans(table: pa.Table) -> pa.Table:
    """Spans of months, days and nanoseconds as text: Arrow has no Parquet for them."""
    for at, field in enumerate(table.schema):
        if pa.types.is_interval(field.type):
            texts = [_plain(value, field.type) for value in _values(table[at])]
            table = table.set_column(at, field.name, pa.array(texts, pa.string()))
    return table


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Values as Python has them; what Python cannot hold, such as a time before Christ, as text or not at all."""
    try:
        values: list[Any] = column.to_pylist()
    except (OverflowError, ValueError):
        return [_value(one) for one in column]
    return values


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        try:
            return str(scalar.cast(pa.string()).as_py())
        except pa.ArrowException:
            return None  # infinity


def _plain(value: Any, kind: pa.DataType) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dt.datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, pa.MonthDayNano):
        return f"P{value.months}M{value.days}DT{decimal.Decimal(value.nanoseconds) / 10**9:f}S"
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if pa.types.is_map(kind):
        return {str(name): _plain(one, kind.item_type) for name, one in value}
    if isinstance(value, dict):
        return {name: _plain(one, kind.field(name).type) for name, one in value.items()}
    if isinstance(value, Sequence):
        return [_plain(one, kind.value_type) for one in value]
    return str(value)
