"""Columns are the fields of the rows, in any schema version, and nothing is lost on the way into them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.ledger.facts.log import decode_facts
from andon.ledger.facts.model import Label, Price
from andon.ledger.reader import decode_rows
from andon.ledger.row import Intent, Outcome, describe
from andon.ledger.tables.schema import (
    BOOKKEEPING,
    TABLES,
    Origin,
    Spoiled,
    find_table,
    to_batches,
)

ORIGIN = Origin("rows/x", 7, 2)

TEXTS = st.none() | st.text(max_size=8)
COUNTS = st.none() | st.integers(-(2**63), 2**63 - 1)
OUTCOMES = st.builds(
    Outcome,
    id=st.text(max_size=8),
    at_ns=st.integers(0, 2**62),
    final=st.booleans(),
    propensity=st.none() | st.floats(0, 1),
    unit=COUNTS,
    reference=TEXTS,
    features=st.none() | st.dictionaries(st.text(max_size=5), st.integers(0, 2**40), max_size=3),
)


def encoded(rows: list[Any]) -> bytes:
    return msgspec.msgpack.encode(rows)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_has_the_fields_of_its_rows_and_where_they_came_from(table: Any) -> None:
    names = [field.encode_name for field in msgspec.structs.fields(table.kind)]
    assert table.schema.names == [*names, *(field.name for field in BOOKKEEPING)]


def test_types_are_those_that_the_reference_tells() -> None:
    told = {"text": "string", "integer": "int64", "number": "double", "boolean": "bool"}
    for column in describe():
        table = find_table("attempts" if column.row == "outcome" else "open_intents")
        assert table is not None
        kind = str(table.schema.field(column.name).type)
        assert kind == told.get(column.type, "map<string, int64>")


@settings(max_examples=60, deadline=None)
@given(st.lists(OUTCOMES, max_size=20), st.integers(1, 5))
def test_what_comes_out_is_what_went_in(rows: list[Outcome], size: int) -> None:
    frames = [(1 + at, encoded(rows[at : at + size])) for at in range(0, len(rows), size)]
    batch = to_batches("rows", frames, ORIGIN)["attempts"]
    again = [
        Outcome(
            **{
                **{name: row[name] for name in Outcome.__struct_fields__},
                "features": None if row["features"] is None else dict(row["features"]),
            }
        )
        for row in batch.to_pylist()
    ]
    assert again == rows
    assert batch.column("position").to_pylist() == list(range(1, len(rows) + 1))


@settings(max_examples=40, deadline=None)
@given(OUTCOMES, st.integers(1, 60))
def test_a_shorter_row_reads_as_its_reader_would_read_it(row: Outcome, length: int) -> None:
    stored = msgspec.msgpack.decode(encoded([row]))[0][: 1 + length]
    payload = encoded([stored])
    [expected] = decode_rows(payload)
    [found] = to_batches("rows", [(1, payload)], ORIGIN)["attempts"].to_pylist()
    expected_features = None if expected.features is None else list(expected.features.items())
    assert {name: found[name] for name in Outcome.__struct_fields__} == {
        **msgspec.structs.asdict(expected),
        "features": expected_features,
    }


def test_a_longer_row_of_a_newer_writer_is_cut() -> None:
    stored = msgspec.msgpack.decode(encoded([Label(id="l", value=1.0)]))[0]
    payload = encoded([[*stored, "new", 5]])
    assert decode_facts(payload)[0].id == "l"
    [found] = to_batches("facts", [(1, payload)], ORIGIN)["labels"].to_pylist()
    assert (found["id"], found["value"], found["weight"]) == ("l", 1.0, 1.0)


def test_each_fact_goes_to_its_own_table() -> None:
    batches = to_batches("facts", [(3, encoded([Label(id="l"), Price(id="p")]))], ORIGIN)
    assert batches["labels"].column("position").to_pylist() == [3]
    assert batches["prices"].column("position").to_pylist() == [4]
    assert batches["spans"].num_rows == 0


def test_open_intents_are_those_without_an_outcome_of_the_same_attempt() -> None:
    rows = [Intent("a"), Intent("a", 1), Outcome("a", 1), Intent("b")]
    batches = to_batches("rows", [(1, encoded(rows))], ORIGIN)
    found = batches["open_intents"]
    assert list(zip(found["id"].to_pylist(), found["attempt"].to_pylist(), strict=True)) == [
        ("a", 0),
        ("b", 0),
    ]


def test_what_cannot_be_read_is_told_with_its_place_and_costs_only_itself() -> None:
    told: list[Spoiled] = []
    rows = [[2, "a"], [2, "b", "not a number"], ["label", "x"], [2, "c", 2**64 - 1], [2, "d"]]
    frames = [(1, encoded(rows)), (6, b"\xc1"), (7, encoded(["no row"])), (8, encoded([[2, "e"]]))]
    batch = to_batches("rows", frames, ORIGIN, told.append)["attempts"]
    assert batch.column("id").to_pylist() == ["a", "d", "e"]
    assert sorted(one.position for one in told) == [2, 3, 4, 6, 7]
