"""One form of a value: RFC 8785, and the fast form of rows is the same."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.kernel.errors import Refused
from andon.ledger.row import Outcome
from andon.security.audit.canonical import canonicalise, encode_row, number_text, plain_row
from andon.security.audit.leaves import read_header, row_leaf

# RFC 8785, appendix B.
NUMBERS = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]


@pytest.mark.parametrize(("bits", "text"), NUMBERS)
def test_numbers_as_the_standard_lists_them(bits: str, text: str) -> None:
    assert number_text(struct.unpack(">d", bytes.fromhex(bits))[0]) == text


def test_the_example_of_the_standard() -> None:
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    assert canonicalise(value).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_names_are_in_the_order_of_utf_16() -> None:
    names = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}
    assert list(json.loads(canonicalise(names))) == [
        "\r",
        "1",
        "\u0080",
        "\u00f6",
        "\u20ac",
        "\U0001f600",
        "\ufb33",
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**53, -(2**53), "\ud800", object()])
def test_what_json_cannot_carry_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        canonicalise(value)


_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=20),
    st.dictionaries(st.text(max_size=5), st.integers(0, 2**40), max_size=3),
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(alphabet="abcdefghijklmnop_", min_size=1, max_size=8), _values, max_size=8))
def test_rows_are_encoded_fast_to_the_same_bytes(row: dict[str, Any]) -> None:
    assert encode_row(row) == canonicalise(plain_row(row))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_come_back(value: float) -> None:
    assert float(json.loads(number_text(value))) == value


def test_a_row_without_a_later_column_has_the_same_form() -> None:
    row = msgspec.structs.asdict(Outcome(id="a", at_ns=1))
    assert encode_row(row) == encode_row({**row, "added_in_schema_9": None})


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"{}",
        b'{"v":1}',
        b'{"at":"1","kind":"row","position":1,"source":"a","v":1} ',
        b'{"kind":"row","at":"1","position":1,"source":"a","v":1}',
        b'{"at":"1","kind":"other","position":1,"source":"a","v":1}',
        b'{"at":"1","kind":"row","more":1,"position":1,"source":"a","v":1}',
    ],
)
def test_an_entry_of_another_form_is_refused(entry: bytes) -> None:
    with pytest.raises(Refused):
        read_header(entry)
    assert read_header(row_leaf({"id": "a", "at_ns": 1}, "rows/a", 1).entry).id == "a"
