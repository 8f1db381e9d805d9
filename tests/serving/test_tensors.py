"""Tensors on the wire: what goes in comes out, and what does not fit is refused with its name."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.kernel.errors import Refused
from andon.serving.models.formats.port import DTYPES
from andon.serving.replica.tensors import binary_tensor, decode_request, json_tensor

JSON_TYPES = sorted(set(DTYPES) - {"FP16", "BF16"})


def body(**tensor: Any) -> bytes:
    return json.dumps({"inputs": [{"name": "x", **tensor}]}).encode()


def values_of(datatype: str) -> st.SearchStrategy[Any]:
    if datatype == "BOOL":
        return st.booleans()
    if datatype == "BYTES":
        return st.text(max_size=8)
    if datatype == "FP32":
        return st.floats(width=32, allow_nan=False, allow_infinity=False)
    if datatype == "FP64":
        return st.floats(allow_nan=False, allow_infinity=False)
    limits = np.iinfo(DTYPES[datatype])
    return st.integers(int(limits.min), int(limits.max))


@settings(deadline=None)
@given(
    data=st.data(), datatype=st.sampled_from(JSON_TYPES), rows=st.integers(0, 4), columns=st.integers(1, 3)
)
def test_nested_flat_and_binary_mean_the_same(
    data: st.DataObject, datatype: str, rows: int, columns: int
) -> None:
    flat = data.draw(st.lists(values_of(datatype), min_size=rows * columns, max_size=rows * columns))
    shape = [rows, columns]
    _, one = decode_request(body(datatype=datatype, shape=shape, data=flat), None)
    if rows:
        nested = [flat[row * columns : (row + 1) * columns] for row in range(rows)]
        _, two = decode_request(body(datatype=datatype, shape=shape, data=nested), None)
        assert one["x"].tolist() == two["x"].tolist()
    tensor, raw = binary_tensor("x", one["x"])
    head = body(datatype=datatype, shape=shape, parameters=tensor.parameters)
    _, three = decode_request(head + raw, len(head))
    assert three["x"].tolist() == one["x"].tolist() == np.array(flat, object).reshape(shape).tolist()
    assert tensor.datatype == datatype
    back = json_tensor("x", three["x"])
    assert back.data == flat


@pytest.mark.parametrize(
    ("tensor", "code"),
    [
        ({"datatype": "FP32", "shape": [2], "data": [1.0]}, "tensor_shape"),
        ({"datatype": "FP32", "shape": [-1], "data": [1.0]}, "tensor_shape"),
        ({"datatype": "FP32", "shape": [1] * 9, "data": [1.0]}, "tensor_shape"),
        ({"datatype": "FP32", "shape": [2, 2], "data": [[1.0, 2.0], [3.0]]}, "tensor_data"),
        ({"datatype": "FP32", "shape": [2, 1], "data": [[1.0, 2.0]]}, "tensor_shape"),
        ({"datatype": "FP32", "shape": [1], "data": ["1.0"]}, "tensor_data"),
        ({"datatype": "INT64", "shape": [1], "data": [1.5]}, "tensor_data"),
        ({"datatype": "INT8", "shape": [1], "data": [300]}, "tensor_data"),
        ({"datatype": "UINT8", "shape": [1], "data": [-1]}, "tensor_data"),
        ({"datatype": "BOOL", "shape": [1], "data": [1]}, "tensor_data"),
        ({"datatype": "FP16", "shape": [1], "data": [1.0]}, "tensor_datatype"),
        ({"datatype": "FP128", "shape": [1], "data": [1.0]}, "tensor_datatype"),
        ({"datatype": "FP32", "shape": [1]}, "tensor_data"),
        ({"datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}, "tensor_binary_size"),
        ({"datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": -4}}, "tensor_binary_size"),
        ({"datatype": "FP32", "shape": ["1"], "data": [1.0]}, "invalid_json"),
    ],
)
def test_what_does_not_fit_is_refused(tensor: dict[str, Any], code: str) -> None:
    with pytest.raises(Refused) as refused:
        decode_request(body(**tensor), None)
    assert refused.value.code == code


def test_null_is_nan_for_numbers() -> None:
    _, arrays = decode_request(body(datatype="FP64", shape=[1, 2], data=[None, 1.0]), None)
    assert np.isnan(arrays["x"][0, 0])
    assert json_tensor("x", arrays["x"]).data[1] == 1.0  # type: ignore[index]  # it has data


def test_bfloat16_is_the_upper_half_of_a_float() -> None:
    wide = np.array([[1.5, -2.0]], "<f4")
    tensor, raw = binary_tensor("x", wide, "BF16")
    assert len(raw) == 4
    head = body(datatype="BF16", shape=[1, 2], parameters=tensor.parameters)
    _, arrays = decode_request(head + raw, len(head))
    assert arrays["x"].tolist() == wide.tolist()


def test_bytes_that_are_no_text_stay_bytes() -> None:
    tensor, raw = binary_tensor("x", np.array([b"\xff\x00", b"a"], object))
    head = body(datatype="BYTES", shape=[2], parameters=tensor.parameters)
    _, arrays = decode_request(head + raw, len(head))
    assert arrays["x"].tolist() == [b"\xff\x00", b"a"]
    with pytest.raises(Refused, match="no text"):
        json_tensor("x", arrays["x"])


@settings(deadline=None)
@given(st.binary(max_size=200), st.one_of(st.none(), st.integers(0, 250)))
def test_any_bytes_are_answered_or_refused(raw: bytes, header_length: int | None) -> None:
    try:
        decode_request(raw, header_length)
    except Refused as error:
        assert error.message  # either outcome is right, another exception is not


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(0, 5))
def test_any_bytes_tensor_is_read_whole_or_refused(raw: bytes, elements: int) -> None:
    head = body(datatype="BYTES", shape=[elements], parameters={"binary_data_size": len(raw)})
    try:
        _, arrays = decode_request(head + raw, len(head))
    except Refused as error:
        assert error.code == "tensor_binary_size"  # as above
    else:
        assert arrays["x"].shape == (elements,)
