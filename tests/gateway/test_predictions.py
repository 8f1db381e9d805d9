"""The prediction in an answer: classes, scores and values of one row, in JSON and in binary; null for anything else."""

from __future__ import annotations

import json
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.gateway import predictions
from andon.kernel.snapshot import PredictionEntry

TWO = PredictionEntry(output="p", classes=("no", "yes"))


def answer(*outputs: dict[str, Any]) -> bytes:
    return json.dumps({"model_name": "m", "outputs": outputs}).encode()


def tensor(data: Any, shape: list[int], datatype: str = "FP32", name: str = "p") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


@pytest.mark.parametrize(
    ("output", "entry", "found"),
    [
        (tensor([0.25, 0.75], [1, 2]), TWO, ("yes", 0.75)),
        (tensor([[0.75, 0.25]], [1, 2]), TWO, ("no", 0.25)),
        (tensor([0.75, 0.25], [1, 2]), PredictionEntry(output="p"), ("0", 0.25)),
        (tensor([0.75, 0.25], [1, 2]), PredictionEntry(output="p", index=0, threshold=0.8), ("1", 0.75)),
        (tensor([0.75, 0.25], [1, 2]), PredictionEntry(output="p", index=1, threshold=0.2), ("1", 0.25)),
        (
            tensor([0.25, 0.5, 0.25], [1, 3]),
            PredictionEntry(output="p", classes=("a", "b", "c")),
            ("b", 0.5),
        ),
        (
            tensor([0.25, 0.5, 0.25], [1, 3]),
            PredictionEntry(output="p", classes=("a", "b", "c"), index=2),
            ("b", 0.25),
        ),
        (tensor([0.5], [1, 1]), TWO, ("yes", 0.5)),
        (tensor([0.5], [1]), PredictionEntry(output="p", threshold=0.6), ("0", 0.5)),
        (tensor([12.5], [1, 1]), PredictionEntry(output="p"), ("12.5", 12.5)),
        (tensor([1], [1], "INT64"), TWO, ("yes", None)),
        (tensor([7], [1], "INT64"), PredictionEntry(output="p"), ("7", 7.0)),
        (tensor([7], [1], "INT64"), TWO, None),
        (tensor([True], [1], "BOOL"), TWO, ("yes", None)),
        (tensor(["spam"], [1, 1], "BYTES"), PredictionEntry(output="p"), ("spam", None)),
        (tensor([0.1, 0.2], [2, 1]), TWO, None),  # two rows
        (tensor([0.1, 0.2], [2]), TWO, None),
        (tensor([0.1, 0.2], [1, 2]), PredictionEntry(output="p", index=2), None),
        (tensor([0.1, 0.2], [1, 2]), PredictionEntry(output="p", classes=("a", "b", "c")), None),
        (tensor([0.1], [1, 2]), TWO, None),
        (tensor([0.1, 0.9], [1, 2], name="q"), TWO, None),
        (tensor([{}, []], [1, 2]), TWO, None),
        (tensor({"a": 1}, [1]), TWO, None),
    ],
)
def test_one_row_in_json(output: dict[str, Any], entry: PredictionEntry, found: object):
    assert predictions.read(answer(output), None, entry) == found


@pytest.mark.parametrize(
    ("datatype", "data", "shape", "found"),
    [
        ("FP32", struct.pack("<2f", 0.25, 0.75), [1, 2], ("yes", 0.75)),
        ("FP64", struct.pack("<2d", 0.75, 0.25), [1, 2], ("no", 0.25)),
        ("FP16", struct.pack("<e", 0.5), [1, 1], ("yes", 0.5)),
        ("BF16", struct.pack("<H", 0x3F00), [1], ("yes", 0.5)),
        ("INT64", struct.pack("<q", 0), [1], ("no", None)),
        ("BYTES", struct.pack("<I", 2) + b"ok", [1], ("ok", None)),
        ("FP32", b"\x00", [1, 2], None),
        ("FP32", struct.pack("<2f", float("nan"), 0.75), [1, 2], None),
    ],
)
def test_one_row_in_binary_behind_another_tensor(datatype: str, data: bytes, shape: list[int], found: object):
    head = answer(
        {"name": "q", "shape": [3], "datatype": "UINT8", "parameters": {"binary_data_size": 3}},
        {"name": "p", "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": len(data)}},
    )
    assert predictions.read(head + b"abc" + data, len(head), TWO) == found


def test_what_is_no_answer_is_refused_as_without_recording():
    for body, length in ((b"{", None), (b'{"outputs":[]}', 99), (b"", 1)):
        with pytest.raises(msgspec.MsgspecError):
            predictions.read(body, length, TWO)
    assert predictions.read(b'{"outputs":3}', None, TWO) is None


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), st.lists, max_leaves=8))
def test_no_answer_that_is_json_is_ever_raised_over(data: Any):
    body = msgspec.json.encode({"outputs": [tensor(data, [1, 2])]})
    predictions.read(body, None, TWO)
