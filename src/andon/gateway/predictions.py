"""What a model predicted, read from an Open Inference Protocol answer of one row: a class and a score, or a value.

Used by `gateway/dispatch` for endpoints that record predictions; it takes the place of the check that other answers
get, so that no answer is read twice. Pure. An answer of several rows, or of another shape, has no prediction here.
"""

from __future__ import annotations

import math
import struct
from typing import Any, Final

import msgspec

from andon.gateway.dialects import oip
from andon.kernel.snapshot import PredictionEntry

VALUES_MAX: Final = 1024  # of one row; a larger one is no vector of classes
TEXT_MAX: Final = 200

Prediction = tuple[str, float | None]  # class name or number as text; probability or value

_FORMS: Final = {
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q",
    "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip


class _Parameters(msgspec.Struct):
    binary_data_size: int | None = None


class _Output(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: _Parameters | None = None
    data: msgspec.Raw = msgspec.Raw(b"")


class _Answer(msgspec.Struct):
    outputs: list[_Output] = []


_decode = msgspec.json.Decoder(_Answer).decode
_values = msgspec.json.Decoder(list[Any]).decode


def read(body: bytes, header_length: int | None, entry: PredictionEntry) -> Prediction | None:
    """The prediction in an answer; raises msgspec.MsgspecError when the answer is not the JSON it should be."""
    end = len(body) if header_length is None else header_length
    try:
        if not 0 < end <= len(body):
            raise msgspec.DecodeError("the header length lies outside the answer")
        outputs = _decode(body[:end] if header_length is not None else body).outputs
    except msgspec.ValidationError:
        oip.check_answer(body, header_length)  # JSON of a shape that we do not know is the client's to judge
        return None
    at = end
    for output in outputs:
        size = output.parameters.binary_data_size if output.parameters is not None else None
        if output.name == entry.output:
            binary = None if size is None else body[at : at + size]
            return _judge(output, binary, entry)
        at += size or 0
    return None


def _judge(output: _Output, binary: bytes | None, entry: PredictionEntry) -> Prediction | None:
    shape = output.shape
    count = shape[1] if len(shape) == 2 else 1
    if len(shape) > 2 or (shape and shape[0] != 1) or not 0 < count <= VALUES_MAX:
        return None
    try:
        values = _json_values(output.data) if binary is None else _binary_values(output.datatype, binary)
    except (msgspec.MsgspecError, UnicodeDecodeError, struct.error, RecursionError):
        return None
    if len(values) != count:
        return None
    if isinstance(values[0], str):
        return (values[0][:TEXT_MAX], None) if count == 1 else None
    if not all(isinstance(value, int | float) for value in values):
        return None
    is_label = output.datatype == "BOOL" or "INT" in output.datatype
    return decide([float(value) for value in values], entry, is_label=is_label)


def decide(values: list[float], entry: PredictionEntry, *, is_label: bool = False) -> Prediction | None:
    """Class and score from the numbers of one row; None where they do not fit the entry or are not finite.

    One number is a class's place if it is a whole number and classes are named, the positive class's probability if
    a threshold or two classes are given, else a value. Several numbers are one score per class.
    """
    if not all(map(math.isfinite, values)):
        return None
    if len(values) > 1:
        return _of_several(values, entry)
    value, classes = values[0], entry.classes
    if is_label:
        place = int(value)
        if classes:
            return (classes[place], None) if 0 <= place < len(classes) else None
        return str(place), value
    if entry.threshold is None and len(classes) != 2:
        return f"{value:.9g}", value
    positive = value >= (0.5 if entry.threshold is None else entry.threshold)
    return (classes[positive] if len(classes) == 2 else str(int(positive))), value


def _of_several(values: list[float], entry: PredictionEntry) -> Prediction | None:
    classes = entry.classes or tuple(map(str, range(len(values))))
    index = 1 if entry.index < 0 and len(values) == 2 else entry.index
    if len(classes) != len(values) or index >= len(values):
        return None
    best = max(range(len(values)), key=values.__getitem__)
    if index < 0:
        return classes[best], values[best]
    score = values[index]
    if entry.threshold is not None:
        rest = max((place for place in range(len(values)) if place != index), key=values.__getitem__)
        best = index if score >= entry.threshold else rest
    return classes[best], score


def _json_values(data: msgspec.Raw) -> list[Any]:
    """Numbers or texts, flat or nested by row, as the protocol allows."""
    values = _values(data)
    return values[0] if len(values) == 1 and isinstance(values[0], list) else values


def _binary_values(datatype: str, data: bytes) -> list[Any]:
    if datatype == "BYTES":
        (length,) = struct.unpack_from("<I", data)
        return [data[4 : 4 + length].decode()] if len(data) == 4 + length else []
    if datatype == "BF16":
        # The upper half of a 32-bit float.
        halves = struct.unpack(f"<{len(data) // 2}H", data)
        return [struct.unpack("<f", struct.pack("<I", half << 16))[0] for half in halves]
    form = _FORMS.get(datatype, "")
    if not form or len(data) > 8 * VALUES_MAX:
        return []
    return list(struct.unpack(f"<{len(data) // struct.calcsize(form)}{form}", data))
