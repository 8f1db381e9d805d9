"""Items into facts: times, checks, ids."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.ledger.facts.facting import Sender, to_fact
from andon.ledger.facts.items import (
    KINDS,
    EvaluationItem,
    FeedbackItem,
    KpiItem,
    LabelItem,
    PriceItem,
)
from andon.ledger.facts.model import Label
from andon.ledger.facts.times import EARLIEST_NS, LEEWAY_NS, Unfit, check_time, parse_time

NOW_NS = 1_780_000_000 * 10**9
SENDER = Sender("key:k1", NOW_NS, len)


def fault(item: Any) -> tuple[str, str]:
    with pytest.raises(Unfit) as refused:
        to_fact(item, SENDER)
    return refused.value.code, refused.value.field


@given(
    st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2200, 1, 1)),  # noqa: DTZ001 - the zone is drawn apart
    st.integers(-14 * 60, 14 * 60),
)
def test_rfc_3339_is_read_as_the_standard_library_reads_it(moment: datetime, minutes: int) -> None:
    moment = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    past = moment - datetime(1970, 1, 1, tzinfo=UTC)
    assert parse_time(moment.isoformat()) == (past // timedelta(microseconds=1)) * 1000


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2026-03-01T09:30:00Z", 1_772_357_400_000_000_000),
        ("2026-03-01t09:30:00z", 1_772_357_400_000_000_000),
        ("2026-03-01 09:30:00+00:00", 1_772_357_400_000_000_000),
        ("2026-03-01T09:30:00.123456789Z", 1_772_357_400_123_456_789),
        ("2026-03-01T09:30:00.5-05:30", 1_772_377_200_500_000_000),
        ("1772357400000000000", 1_772_357_400_000_000_000),
        (7, 7),
    ],
)
def test_times_as_people_write_them(text: str | int, ns: int) -> None:
    assert parse_time(text) == ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-03-01",
        "2026-03-01T09:30:00",
        "2026-02-30T00:00:00Z",
        "2026-03-01T25:00:00Z",
        "2026-03-01T09:30:00+99:00",
        "1" * 30,
        "²",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Unfit) as refused:
        parse_time(text)
    assert refused.value.code == "time_invalid"


@given(st.integers(-(2**70), 2**70))
def test_a_time_counts_between_2000_and_five_minutes_from_now(at_ns: int) -> None:
    try:
        assert check_time(at_ns, NOW_NS) == at_ns
        assert EARLIEST_NS <= at_ns <= NOW_NS + LEEWAY_NS
    except Unfit as error:
        assert error.code == ("time_in_future" if at_ns > NOW_NS else "time_too_early")
        assert not EARLIEST_NS <= at_ns <= NOW_NS + LEEWAY_NS


def test_seconds_in_place_of_nanoseconds_are_recognised() -> None:
    with pytest.raises(Unfit, match="looks like seconds"):
        check_time(1_770_000_000, NOW_NS)


def test_a_label_says_when_it_became_true_and_when_it_was_learnt() -> None:
    item = LabelItem(request="r1", value=1, time="2026-03-01T09:30:00Z")
    label = to_fact(item, SENDER)
    assert isinstance(label, Label)
    assert (label.event_ns, label.at_ns, label.source) == (1_772_357_400_000_000_000, NOW_NS, "key:k1")
    assert to_fact(LabelItem(request="r1", value=1), SENDER).event_ns == NOW_NS


@given(st.integers(0, 10**9))
def test_the_same_item_is_the_same_fact_whenever_it_comes(later_s: int) -> None:
    items = [
        LabelItem(request="r", value=1.0),
        LabelItem(request="r", value=0.0),
        LabelItem(request="r", text="1.0"),
        LabelItem(reference="r", value=1.0),
        LabelItem(response="r", value=1.0),
        LabelItem(request="r", value=1.0, name="other"),
        LabelItem(request="r", value=1.0, time=NOW_NS),
        FeedbackItem(request="r", value=1.0),
        KpiItem(request="r", name="label", value=1.0),
        EvaluationItem(request="r", name="label", score=1.0),
    ]
    later = Sender("another", NOW_NS + later_s, len)
    first = [to_fact(item, SENDER).id for item in items]
    assert [to_fact(item, later).id for item in items] == first
    assert len(set(first)) == len(items)


def test_an_id_of_ones_own_is_kept() -> None:
    assert to_fact(LabelItem(id="mine", request="r", value=1), SENDER).id == "mine"


def test_each_impossible_item_is_refused_with_its_reason() -> None:
    assert fault(LabelItem(value=1)) == ("subject_missing", "request")
    assert fault(LabelItem(request="r")) == ("value_missing", "value")
    assert fault(LabelItem(request="r", value=math.nan)) == ("value_not_finite", "value")
    assert fault(LabelItem(request="r", value=1, weight=math.inf)) == ("value_not_finite", "weight")
    assert fault(LabelItem(request="r", value=1, time=NOW_NS + 10**12)) == ("time_in_future", "time")
    assert fault(FeedbackItem(request="r", kind="applause")) == ("kind_unknown", "kind")
    assert fault(FeedbackItem(request="r", kind="thumb", value=0.5)) == ("value_out_of_range", "value")
    assert fault(FeedbackItem(request="r", kind="rating")) == ("value_out_of_range", "value")
    assert fault(FeedbackItem(request="r", kind="rating", value=6)) == ("value_out_of_range", "value")
    assert fault(KpiItem(name="sale")) == ("subject_missing", "request")
    assert fault(EvaluationItem(request="r", name="tone")) == ("value_missing", "score")


def test_a_kpi_may_be_about_a_unit_alone_and_keeps_no_text_of_it() -> None:
    event = to_fact(KpiItem(name="sale", unit="customer-7"), SENDER)
    assert event.unit == len("customer-7")
    assert b"customer-7" not in msgspec.msgpack.encode(event)


def test_a_price_may_be_announced_and_nothing_else_may() -> None:
    year_ns = 365 * 86_400 * 10**9
    price = PriceItem(
        book="list", bucket="input_tokens", amount_micros=250_000, quantity=10**6, currency="EUR",
        time=NOW_NS + year_ns,
    )  # fmt: skip
    assert to_fact(price, SENDER).event_ns == NOW_NS + year_ns
    assert fault(msgspec.structs.replace(price, time=NOW_NS + 20 * year_ns)) == ("time_in_future", "time")


def test_every_kind_makes_facts_whose_fields_are_where_the_model_says() -> None:
    items = {
        "label": {"request": "r", "reference": "b", "response": "c", "name": "n", "value": 2, "text": "t"},
        "feedback": {"request": "r", "kind": "rating", "value": 4, "text": "t"},
        "kpi": {"reference": "b", "name": "n", "value": 2.5, "currency": "EUR"},
        "evaluation": {"response": "c", "name": "n", "score": 0.5, "label": "l", "explanation": "e"},
        "price": {
            "book": "n", "version": "v", "provider": "p", "model": "m", "bucket": "k", "amount_micros": 5,
            "quantity": 7, "currency": "EUR",
        },
    }  # fmt: skip
    for kind, fields in items.items():
        fact = to_fact(msgspec.convert(fields, KINDS[kind]), SENDER)
        assert {name: getattr(fact, name) for name in fields} == fields
        assert (fact.source, fact.at_ns, fact.event_ns) == ("key:k1", NOW_NS, NOW_NS)
        assert type(fact).__struct_config__.tag == kind
