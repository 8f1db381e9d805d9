"""Recorded bodies as columns: tensors of the Open Inference Protocol by their names, prompts as text.

Pure; a body that cannot be read is counted and left out, because bodies may be cut short or be anything at all. Binary
tensors follow the protocol's binary extension: little-endian, row-major, BYTES with four bytes of length in front.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

COLUMNS_MAX = 2000  # of one monitor; more are left out
WIDE = 64  # more values a row than this are an embedding, not columns of their own
_TYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}


class _Parameters(msgspec.Struct):
    binary_data_size: int | None = None


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: Any = None
    parameters: _Parameters | None = None


class _Infer(msgspec.Struct):
    inputs: list[_Tensor]


class _Message(msgspec.Struct):
    role: str = ""
    content: Any = None


class _Chat(msgspec.Struct):
    messages: list[_Message] | None = None
    prompt: Any = None
    input: Any = None
    max_tokens: float | None = None
    temperature: float | None = None


_infer = msgspec.json.Decoder(_Infer)
_chat = msgspec.json.Decoder(_Chat)


@dataclass
class Decoded:
    """Columns so far; every column has a value, or None, for every row."""

    columns: dict[str, list[Any]] = field(default_factory=dict)
    bodies: list[int] = field(default_factory=list)  # number of the body that each row came from
    unreadable: int = 0
    left_out: int = 0  # columns beyond the bound

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.bodies)

    def add(self, values: dict[str, list[Any]], count: int, body: int) -> None:
        """Append `count` rows; columns that are new or did not come are filled with None."""
        for name, given in values.items():
            column = self.columns.get(name)
            if column is None:
                if len(self.columns) >= COLUMNS_MAX:
                    self.left_out += 1
                    continue
                column = self.columns[name] = [None] * self.rows
            column.extend(given)
        self.bodies.extend([body] * count)
        for column in self.columns.values():
            if len(column) < self.rows:
                column.extend([None] * (self.rows - len(column)))

    def table(self) -> dict[str, Any]:
        """Arrow columns; one whose values are of several kinds becomes text."""
        return {name: _column(values) for name, values in self.columns.items()}


def _column(values: list[Any]) -> Any:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if value is None else str(value) for value in values])


def decode_bodies(
    bodies: Iterable[tuple[bytes, int | None]], rows_max: int, only: frozenset[str] = frozenset()
) -> Decoded:
    """Bodies as (data, bytes of JSON before binary tensors or None), in order; stops at `rows_max` rows."""
    found = Decoded()
    for number, (data, header_length) in enumerate(bodies):
        if found.rows >= rows_max:
            break
        try:
            values, count = _read(data, header_length)
        except (msgspec.MsgspecError, ValueError, TypeError, KeyError, OverflowError):
            # Anything at all may have been sent, or cut: it says nothing about drift and is counted.
            found.unreadable += 1
            continue
        if only:
            values = {name: given for name, given in values.items() if name in only}
        found.add(values, count, number)
    return found


def _read(data: bytes, header_length: int | None) -> tuple[dict[str, list[Any]], int]:
    head = data if header_length is None else data[:header_length]
    if b'"inputs"' not in head:
        return _prompt(_chat.decode(head)), 1
    tensors, offset = _infer.decode(head).inputs, len(head)
    values: dict[str, list[Any]] = {}
    count = 0
    for tensor in tensors:
        size = tensor.parameters.binary_data_size if tensor.parameters else None
        if size is not None:
            raw = data[offset : offset + size]
            if len(raw) != size:
                raise ValueError("a binary tensor is cut")
            offset += size
            array = _binary(raw, tensor.datatype)
        else:
            array = np.asarray(tensor.data, dtype=object if tensor.datatype == "BYTES" else None).ravel()
        rows = tensor.shape[0] if tensor.shape else 1
        if rows <= 0 or any(extent < 0 for extent in tensor.shape) or (count and rows != count):
            raise ValueError("tensors of different numbers of rows")
        count = rows
        values.update(_columns(tensor.name, array.reshape(rows, -1)))
    return values, count


def _binary(raw: bytes, datatype: str) -> np.ndarray:
    if datatype != "BYTES":
        return np.frombuffer(raw, _TYPES[datatype])
    texts, place = [], 0
    while place < len(raw):
        length = int.from_bytes(raw[place : place + 4], "little")
        texts.append(raw[place + 4 : place + 4 + length].decode(errors="replace"))
        place += 4 + length
    return np.array(texts, object)


def _columns(name: str, matrix: np.ndarray) -> dict[str, list[Any]]:
    if matrix.shape[1] == 1:
        return {name: matrix[:, 0].tolist()}
    if matrix.shape[1] > WIDE:
        return {name: [[float(value) for value in row] for row in matrix.tolist()]}
    return {f"{name}[{place}]": matrix[:, place].tolist() for place in range(matrix.shape[1])}


def _prompt(chat: _Chat) -> dict[str, list[Any]]:
    asked = chat.prompt if chat.prompt is not None else chat.input
    if chat.messages is not None:
        said = [message for message in chat.messages if message.role == "user"]
        asked = said[-1].content if said else None
    if asked is None:
        raise ValueError("neither tensors nor a prompt")
    values: dict[str, list[Any]] = {
        "prompt.chars": [len(_text(asked))],
        "prompt.words": [len(_text(asked).split())],
    }
    if chat.messages is not None:
        values["messages"] = [len(chat.messages)]
    if chat.max_tokens is not None:
        values["max_tokens"] = [float(chat.max_tokens)]
    if chat.temperature is not None:
        values["temperature"] = [float(chat.temperature)]
    return values


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(_text(part.get("text", "") if isinstance(part, dict) else part) for part in content)
    return ""
