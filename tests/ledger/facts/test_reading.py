"""Bodies into items, and bodies that are compressed."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.kernel.errors import Refused
from andon.ledger.facts.inflate import inflate
from andon.ledger.facts.items import LabelItem
from andon.ledger.facts.reading import CSV, ITEMS_MAX, JSON, NDJSON, read_items
from andon.ledger.facts.times import Unfit

GOOD = {"request": "r1", "value": 1}


def labels(data: bytes | str, media_type: str = JSON) -> list[Any]:
    raw = data.encode() if isinstance(data, str) else data
    return [
        (item.code, item.field) if isinstance(item, Unfit) else item
        for item in read_items("label", raw, media_type)
    ]


def code(data: bytes | str, media_type: str = JSON) -> str:
    with pytest.raises(Refused) as refused:
        labels(data, media_type)
    return refused.value.code


def test_one_a_batch_an_array_and_lines_are_the_same() -> None:
    item = LabelItem(request="r1", value=1.0)
    one = json.dumps(GOOD)
    assert labels(one) == [item]
    assert labels(json.dumps({"items": [GOOD, GOOD]})) == [item, item]
    assert labels(json.dumps([GOOD, GOOD])) == [item, item]
    assert labels(f"{one}\n\n{one}\r\n", NDJSON) == [item, item]
    assert labels("request,value\nr1,1\nr1,1.0\n", CSV) == [item, item]


def test_csv_has_quotes_empty_cells_and_a_mark_of_utf_8() -> None:
    text = '\ufeffreference,text,value,weight,time\n"a,b","he said ""no""",,2,2026-03-01T09:30:00Z\n'
    assert labels(text, CSV) == [
        LabelItem(reference="a,b", text='he said "no"', weight=2.0, time="2026-03-01T09:30:00Z")
    ]


def test_a_bad_item_keeps_its_place_and_costs_the_others_nothing() -> None:
    good = LabelItem(request="r1", value=1.0)
    batch = [GOOD, {"request": "r", "value": "x"}, 5, {**GOOD, "colour": "red"}, {"request": ""}, GOOD]
    assert labels(json.dumps({"items": batch})) == [
        good, ("invalid_field", "value"), ("invalid_field", ""), ("invalid_field", ""),
        ("invalid_field", "request"), good,
    ]  # fmt: skip
    assert labels('{"request":"r1","value":1}\n{"request":\n[]\n', NDJSON) == [
        good, ("malformed_json", ""), ("invalid_field", ""),
    ]  # fmt: skip
    assert labels("request,value\nr1,1\nr1,yes\nr1\n", CSV) == [
        good, ("invalid_field", "value"), ("malformed_csv", ""),
    ]  # fmt: skip


def test_a_class_in_the_place_of_a_number_is_told_where_it_goes() -> None:
    (unfit,) = read_items("label", b"request,value\nr1,yes\n", CSV)
    assert isinstance(unfit, Unfit)
    assert "goes into text" in unfit.message


def test_what_is_wrong_as_a_whole_is_refused_as_a_whole() -> None:
    assert code("") == "malformed_json"
    assert code("{") == "malformed_json"
    assert code(b"\xff\xfe") == "malformed_json"
    assert code("[" * 100_000) == "malformed_json"
    assert code('{"items": 5}') == "malformed_json"
    assert code('{"items": [], "more": 1}') == "invalid_field"
    assert code('{"items": []}') == "empty_array"
    assert code("\n\n", NDJSON) == "empty_array"
    assert code("", CSV) == "csv_heading_invalid"
    assert code("request,value,colour\nr,1,red\n", CSV) == "csv_heading_invalid"
    assert code("request,request\nr,r\n", CSV) == "csv_heading_invalid"
    assert code(b"request,value\n\xff,1\n", CSV) == "malformed_csv"
    assert code('request,value\n"r,1\n', CSV) == "malformed_csv"
    assert code(json.dumps([GOOD] * (ITEMS_MAX + 1))) == "batch_too_large"
    assert code("request,value\n" + "r,1\n" * (ITEMS_MAX + 1), CSV) == "batch_too_large"


@given(st.binary(max_size=200), st.sampled_from([JSON, NDJSON, CSV]))
def test_no_bytes_make_anything_but_items_or_a_refusal(data: bytes, media_type: str) -> None:
    try:
        for item in read_items("label", data, media_type):
            assert isinstance(item, LabelItem | Unfit)
    except Refused as error:
        assert error.hint


@given(st.lists(st.builds(LabelItem, request=st.text(min_size=1, max_size=20), value=st.floats(-9, 9))))
def test_what_was_written_is_read(items: list[LabelItem]) -> None:
    if items:
        assert labels(msgspec.json.encode({"items": items})) == items
        assert labels(b"\n".join(map(msgspec.json.encode, items)), NDJSON) == items


@given(st.binary(max_size=5000))
def test_compressed_bodies_are_the_same_bodies(data: bytes) -> None:
    for encoding, packed in (
        ("identity", data),
        ("gzip", gzip.compress(data, mtime=0)),
        ("gzip", gzip.compress(data[:7], mtime=0) + gzip.compress(data[7:], mtime=0)),
        ("deflate", zlib.compress(data)),
    ):
        assert inflate(packed, encoding, len(data)) == data


def test_a_bomb_is_stopped_while_it_grows() -> None:
    bomb = gzip.compress(bytes(50 * 2**20))
    assert len(bomb) < 60_000
    for packed, encoding in ((bomb, "gzip"), (b"x" * 1025, "identity")):
        with pytest.raises(Refused) as refused:
            inflate(packed, encoding, 1024)
        assert (refused.value.status, refused.value.code) == (413, "body_too_large")


@pytest.mark.parametrize(
    "data", [b"not gzip", gzip.compress(b"a" * 100, mtime=0)[:-9], gzip.compress(b"a", mtime=0) * 100]
)
def test_what_does_not_inflate_is_refused(data: bytes) -> None:
    with pytest.raises(Refused) as refused:
        inflate(data, "gzip", 10**6)
    assert refused.value.status == 400


def test_an_encoding_nobody_offered_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        inflate(b"", "br", 10)
    assert refused.value.status == 415
