"""Recorded bodies as columns: both encodings of tensors, prompts, and anything at all."""

from __future__ import annotations

import json
import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from andon.observability.quality.drift.decoding import decode_bodies


def infer(*tensors: dict[str, object]) -> bytes:
    return json.dumps({"inputs": list(tensors)}).encode()


def test_tensors_are_columns_by_their_names_and_rows_by_their_first_extent() -> None:
    body = infer(
        {"name": "age", "shape": [2, 1], "datatype": "FP32", "data": [[30.5], [41.0]]},
        {"name": "plan", "shape": [2], "datatype": "BYTES", "data": ["gold", "free"]},
        {"name": "x", "shape": [2, 3], "datatype": "INT64", "data": [1, 2, 3, 4, 5, 6]},
    )
    found = decode_bodies([(body, None)], 100)
    assert found.columns == {
        "age": [30.5, 41.0],
        "plan": ["gold", "free"],
        "x[0]": [1, 4],
        "x[1]": [2, 5],
        "x[2]": [3, 6],
    }
    assert found.bodies == [0, 0]


def test_binary_tensors_are_the_same_columns() -> None:
    numbers, texts = (
        np.array([1.5, 2.5], "<f4").tobytes(),
        b"".join(struct.pack("<I", len(text)) + text for text in (b"gold", b"free")),
    )
    head = infer(
        {"name": "age", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": len(numbers)}},
        {"name": "plan", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(texts)}},
    )
    found = decode_bodies([(head + numbers + texts, len(head))], 100)
    assert found.columns == {"age": [1.5, 2.5], "plan": ["gold", "free"]}
    cut = decode_bodies([(head + numbers + texts[:-1], len(head))], 100)
    assert (cut.rows, cut.unreadable) == (0, 1)


def test_prompts_are_their_lengths_and_never_their_text() -> None:
    chat = json.dumps(
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "hello big world"}]},
            ],
            "max_tokens": 10,
        }
    ).encode()
    found = decode_bodies([(chat, None), (b'{"prompt": "one two"}', None)], 100)
    assert found.columns == {
        "prompt.chars": [15, 7],
        "prompt.words": [3, 2],
        "messages": [2, None],
        "max_tokens": [10.0, None],
    }
    assert "hello" not in str(found.table())


def test_a_wide_tensor_is_an_embedding() -> None:
    body = infer({"name": "v", "shape": [1, 100], "datatype": "FP32", "data": [0.5] * 100})
    found = decode_bodies([(body, None)], 100)
    assert found.columns == {"v": [[0.5] * 100]}


def test_columns_of_several_kinds_become_text_and_only_some_may_be_wanted() -> None:
    bodies = [
        infer({"name": "a", "shape": [1], "datatype": "INT64", "data": [1]}),
        infer({"name": "a", "shape": [1], "datatype": "BYTES", "data": ["x"]}),
        infer({"name": "b", "shape": [1], "datatype": "INT64", "data": [1]}),
    ]
    table = decode_bodies([(body, None) for body in bodies], 2, frozenset(["a"])).table()
    assert {name: column.to_pylist() for name, column in table.items()} == {"a": ["1", "x"]}


@given(
    data=st.one_of(
        st.binary(max_size=100),
        st.builds(
            lambda shape, values, kind: infer(
                {"name": "a", "shape": shape, "datatype": kind, "data": values}
            ),
            st.lists(st.integers(-2, 4), max_size=3),
            st.lists(st.one_of(st.integers(), st.floats(), st.text(max_size=3), st.none()), max_size=6),
            st.sampled_from(["FP32", "BYTES", "BOOL", "NOISE"]),
        ),
    ),
    length=st.one_of(st.none(), st.integers(0, 120)),
)
def test_anything_at_all_is_read_or_counted(data: bytes, length: int | None) -> None:
    found = decode_bodies([(data, length)], 100)
    assert found.unreadable == 1 or found.rows >= 1
    assert all(len(column) == found.rows for column in found.columns.values())
    found.table()
