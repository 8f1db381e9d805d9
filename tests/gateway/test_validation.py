"""What is refused before any model sees it, with the field that is at fault; and that nothing else is ever raised."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.gateway.dialects import oip, openai
from andon.gateway.validation import ValidateStage
from andon.gateway.validation_rules import check_tensors
from andon.kernel.errors import Refused
from andon.kernel.exchange import Dialect, Exchange
from andon.kernel.snapshot import Signature, TensorSpec
from tests.gateway.world import SIGNATURE, chat_endpoint, oip_endpoint, snapshot


def stage() -> ValidateStage:
    made = ValidateStage()
    made.adopt(snapshot(chat_endpoint(), oip_endpoint()))()
    return made


def infer(
    body: bytes, header_length: int | None = None, signature: Signature | None = SIGNATURE
) -> Refused | None:
    x = Exchange()
    x.body, x.header_length, x.dialect = body, header_length, Dialect.OIP
    refused = oip.read_infer(x)
    return refused or check_tensors(x.request, signature, x.body, x.header_length)


def tensor(**changes: Any) -> bytes:
    fields = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2.5], **changes}
    return msgspec.json.encode(
        {"inputs": [{key: value for key, value in fields.items() if value is not None}]}
    )


@pytest.mark.parametrize("data", [[1, 2.5], [[1, 2.5]], [-10, 10]])
def test_flat_and_nested_data_within_the_range_pass(data: Any):
    assert infer(tensor(data=data)) is None


@pytest.mark.parametrize(
    ("changes", "param", "word"),
    [
        ({"name": "y"}, "inputs[0].name", "no input 'y'"),
        ({"datatype": "INT64"}, "inputs[0].datatype", "must be FP32"),
        ({"datatype": "FLOAT"}, "inputs[0].datatype", "unknown datatype"),
        ({"shape": [1, 3]}, "inputs[0].shape", "[-1, 2]"),
        ({"shape": [2]}, "inputs[0].shape", "[-1, 2]"),
        ({"shape": [-1, 2]}, "inputs[0].shape", "negative"),
        ({"shape": [2, 2]}, "inputs[0].data", "2 elements"),
        ({"data": [[1], [2]]}, "inputs[0].data", "nesting"),
        ({"data": [[1, [2]]]}, "inputs[0].data", "nested"),
        ({"data": [1, "a"]}, "inputs[0].data", "FP32"),
        ({"data": [1, None]}, "inputs[0].data", "FP32"),
        ({"data": [1, 11]}, "inputs[0].data", "at most 10"),
        ({"data": [-11, 1]}, "inputs[0].data", "at least -10"),
        ({"data": None}, "inputs[0].data", "no data"),
        ({"parameters": {"shared_memory_region": "r"}}, "inputs[0].parameters", "shared memory"),
    ],
)
def test_a_wrong_tensor_is_named(changes: dict[str, Any], param: str, word: str):
    refused = infer(tensor(**changes))
    assert refused is not None
    assert (refused.param, refused.status) == (param, 400)
    assert word in refused.message


def test_missing_double_and_empty_inputs():
    one = tensor()[11:-2]
    assert "twice" in infer(b'{"inputs":[%b,%b]}' % (one, one)).message
    assert "empty" in infer(b'{"inputs":[]}').message
    two = Signature(inputs=(*SIGNATURE.inputs, TensorSpec(name="z", datatype="FP32", shape=(1,))))
    assert infer(tensor(), signature=two).message == "Input 'z' is missing."


@pytest.mark.parametrize(
    ("datatype", "data", "fits"),
    [
        ("UINT8", [255], True), ("UINT8", [256], False), ("INT8", [-129], False), ("INT64", [2**63 - 1], True),
        ("INT64", [1.5], False), ("BOOL", [True], True), ("BOOL", ["x"], False), ("BYTES", ["a"], True),
        ("BYTES", [1], False), ("FP16", [1.0], False), ("UINT64", [2**64 - 1], True), ("FP64", [1e308], True),
    ],
)  # fmt: skip
def test_datatypes_without_a_signature(datatype: str, data: list[Any], fits: bool):
    assert (infer(tensor(shape=[1], datatype=datatype, data=data), signature=None) is None) is fits


def binary(datatype: str, shape: list[int], raw: bytes, size: int | None = None) -> tuple[bytes, int]:
    head = tensor(
        datatype=datatype, shape=shape, data=None,
        parameters={"binary_data_size": len(raw) if size is None else size},
    )  # fmt: skip
    return head + raw, len(head)


def test_binary_tensors_are_measured_and_looked_into():
    assert infer(*binary("FP32", [1, 2], struct.pack("<2f", 1, 2))) is None
    assert "3 bytes" in infer(*binary("FP32", [1, 2], b"abc")).message
    assert "ends before" in infer(*binary("FP32", [1, 2], b"abc", 8)).message
    body, length = binary("FP32", [1, 2], struct.pack("<2f", 1, 2))
    assert "the body has" in infer(body + b"x", length).message
    assert "NaN" in infer(*binary("FP32", [1, 2], struct.pack("<2f", 1, float("nan")))).message
    assert "infinite" in infer(*binary("FP32", [1, 2], struct.pack("<2f", 1, float("inf")))).message
    assert "at most" in infer(*binary("FP32", [1, 2], struct.pack("<2f", 1, 11))).message
    text = b"\3\0\0\0abc\0\0\0\0"
    assert infer(*binary("BYTES", [2], text), None) is None
    for bad in (text[:-1], text + b"\0", b"\xff\xff\xff\xff"):
        assert infer(*binary("BYTES", [2], bad), None) is not None
    assert infer(b"{}", 5).code == "invalid_header_length"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": "a\0b"}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a\0b"}]}]},
            "messages[0].content",
        ),
        ({"messages": [{"role": "user", "content": "x", "name": "a\x1bb"}]}, "messages[0].name"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 1000}, "n"),
        ({"max_tokens": "many"}, "max_tokens"),
    ],
)
def test_a_wrong_chat_is_named(change: dict[str, Any], param: str):
    x = Exchange()
    x.body = msgspec.json.encode({"model": "chat", "messages": [{"role": "user", "content": "x"}], **change})
    refused = openai.read_chat(x) or stage().admit(x)
    assert isinstance(refused, Refused)
    assert refused.param == param


def test_the_highest_of_all_caps_counts_times_the_copies():
    x = Exchange()
    x.body = b'{"model":"m","messages":[],"max_tokens":1,"max_completion_tokens":10000,"n":3}'
    assert openai.read_chat(x) is None
    assert x.max_output_tokens == 30000


def test_an_edit_keeps_every_other_byte_of_meaning():
    body = b'{"a":1.50,"model":"x","big":123456789012345678901234567890,"stream_options":{"k":[1,2]},"u":"\\u00e9"}'
    edited = openai.edit(body, model='na"me', include_usage=True)
    assert edited == (
        b'{"a":1.50,"model":"na\\"me","big":123456789012345678901234567890,'
        b'"stream_options":{"k":[1,2],"include_usage":true},"u":"\\u00e9"}'
    )
    assert b'"include_usage":true' in openai.edit(b'{"stream_options":null}', model=None, include_usage=True)


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["model", "messages", "role", "content", "inputs", "name", "shape", "datatype", "data", "parameters",
         "binary_data_size", "n", "prompt", "input", "stream", "stream_options", "FP32", "BYTES"]), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip
tensors = st.fixed_dictionaries(
    {
        "name": st.just("x"), "shape": st.lists(st.integers(-1, 3), max_size=3),
        "datatype": st.sampled_from([name for name, _ in oip.ITEM_BYTES] + ["BYTES"]),
    },
    optional={"data": anything, "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-5, 20)})},
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        anything.map(msgspec.json.encode),
        st.lists(tensors, max_size=2).map(lambda given: msgspec.json.encode({"inputs": given})),
        st.binary(max_size=60),
    ),
    st.binary(max_size=20),
    st.one_of(st.none(), st.integers(-1, 100)),
)
def test_decoders_and_rules_return_refusals_and_raise_nothing(body: bytes, tail: bytes, header: int | None):
    made = stage()
    for read in (openai.read_chat, openai.read_completion, openai.read_embedding, oip.read_infer):
        x = Exchange()
        x.endpoint = oip_endpoint()
        x.body = body + (tail if header is not None else b"")
        x.header_length = len(body) if header == 0 else header
        refused = read(x)
        if refused is None:
            refused = made.admit(x)
        assert refused is None or isinstance(refused, Refused)


def test_what_is_made_and_not_given_back_counts_as_well() -> None:
    """`best_of` choices are made for the `n` that are given back (OpenAI, completions)."""
    assert openai.highest_cap((100,), (2, 20)) == 2000
    assert openai.highest_cap((100,), (None, 20)) == 2000
    assert openai.highest_cap((100,), (3, None)) == 300
    assert openai.highest_cap((None, 7), (None, 0)) == 7
    assert openai.highest_cap((10**300,), (10**300,)) == openai.CAP_MAX
    assert openai.highest_cap((-(10**30),), (5,)) == 0
