"""Facts: late, corrected, sent twice, about requests by any name; and what was known when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from andon.ledger.facts.model import Evaluation, Feedback, KpiEvent, Label, Price, Span
from tests.ledger.queries.rig import BASE_NS, SECOND_NS, Rig, outcome


def label(id_: str, at_s: int, **fields: Any) -> Label:
    return Label(id_, at_ns=BASE_NS + at_s * SECOND_NS, event_ns=BASE_NS, **fields)


def test_the_same_id_twice_is_one_fact_and_the_first_stands(rig: Rig) -> None:
    rig.write("facts", [label("a", 1, request="r-1", value=1.0), label("a", 2, request="r-1", value=0.0)])
    assert rig.ask("SELECT value FROM labels") == [{"value": 1.0}]
    assert rig.value("SELECT count(*) FROM labels_history") == 2


def test_a_later_fact_corrects_an_earlier_one_and_a_repetition_of_the_earlier_does_not(rig: Rig) -> None:
    first, second = label("a", 1, request="r-1", value=1.0), label("b", 2, request="r-1", value=0.0)
    rig.write("facts", [first, second, label("a", 3, request="r-1", value=1.0)])
    assert rig.ask("SELECT id, value FROM labels") == [{"id": "b", "value": 0.0}]


def test_facts_of_other_names_and_subjects_stand_beside(rig: Rig) -> None:
    rig.write(
        "facts",
        [
            label("a", 1, request="r-1", value=1.0),
            label("b", 2, request="r-1", name="fraud", value=1.0),
            label("c", 3, request="r-2", value=1.0),
            Label("d", at_ns=BASE_NS),
            Label("e", at_ns=BASE_NS),
        ],
    )
    assert rig.value("SELECT count(*) FROM labels") == 5


def test_a_fact_finds_its_request_by_business_key_and_by_the_answers_id(rig: Rig) -> None:
    rig.write("rows", [outcome(n, reference=f"order-{n}", response_id=f"chatcmpl-{n}") for n in range(5)])
    rig.write(
        "facts",
        [
            label("a", 1, request="r-1"),
            label("b", 1, reference="order-2"),
            label("c", 1, response="chatcmpl-3"),
            label("d", 1, reference="order-9"),
            label("e", 1, request="r-9"),
        ],
    )
    expected = [("a", "r-1"), ("b", "r-2"), ("c", "r-3"), ("d", None), ("e", None)]
    for view in ("labels", "labels_history"):
        found = rig.ask(f"SELECT id, request_id FROM {view} ORDER BY id")
        assert [(row["id"], row["request_id"]) for row in found] == expected
    rig.seal()
    assert [row["request_id"] for row in rig.ask("SELECT request_id FROM labels ORDER BY id")] == [
        request for _, request in expected
    ]


def test_facts_by_different_names_of_one_request_correct_each_other(rig: Rig) -> None:
    rig.write("rows", [outcome(1, reference="order-1", response_id="c-1")])
    rig.write(
        "facts",
        [
            label("a", 1, request="r-1", value=1.0),
            label("b", 2, reference="order-1", value=2.0),
            label("c", 3, response="c-1", value=3.0),
        ],
    )
    assert rig.ask("SELECT id, value, request_id FROM labels") == [
        {"id": "c", "value": 3.0, "request_id": "r-1"}
    ]


def test_of_several_requests_with_one_business_key_the_latest_is_meant(rig: Rig) -> None:
    rig.write("rows", [outcome(n, reference="order") for n in range(3)])
    rig.write("facts", [label("a", 1, reference="order")])
    assert rig.ask("SELECT request_id FROM labels") == [{"request_id": "r-2"}]


def test_a_fact_may_come_before_its_request_is_known(rig: Rig) -> None:
    rig.write("facts", [label("a", 1, reference="order-1")])
    assert rig.value("SELECT request_id FROM labels") is None
    rig.write("rows", [outcome(1, reference="order-1")])
    assert rig.value("SELECT request_id FROM labels") == "r-1"


def test_what_was_known_at_a_moment(rig: Rig) -> None:
    rig.write("facts", [label("a", 10, request="r-1", value=1.0), label("b", 20, request="r-1", value=0.0)])
    values = []
    for second in (5, 10, 15, 25):
        moment = datetime.fromtimestamp(BASE_NS / 1e9 + second, UTC).replace(tzinfo=None)
        values.append([row["value"] for row in rig.ask("SELECT value FROM labels_as_of(?)", [moment])])
    assert values == [[], [1.0], [1.0], [0.0]]


def test_every_kind_of_fact_has_its_views(rig: Rig) -> None:
    facts = [
        Feedback("f1", at_ns=1, request="r-1", kind="thumb", value=1.0),
        Feedback("f2", at_ns=2, request="r-1", kind="thumb", value=0.0),
        Feedback("f3", at_ns=3, request="r-1", kind="rating", value=4.0),
        KpiEvent("k1", at_ns=1, name="sale", value=9.5, currency="EUR", unit=7),
        KpiEvent("k2", at_ns=2, name="sale", value=1.5, currency="EUR", unit=7),
        Evaluation("e1", at_ns=1, response="c-1", name="toxicity", score=0.1),
        Span("s1", at_ns=1, trace_id="t", span_id="1", name="agent"),
        Span("s2", at_ns=2, trace_id="t", span_id="1", name="agent"),
        Price("p1", at_ns=1, event_ns=1, book="b", bucket="input_tokens", amount_micros=3),
        Price("p2", at_ns=2, event_ns=1, book="b", bucket="input_tokens", amount_micros=4),
        Price("p3", at_ns=3, event_ns=5, book="b", bucket="input_tokens", amount_micros=5),
    ]
    rig.write("facts", facts)
    for _ in range(2):
        counts = {
            view: (
                rig.value(f"SELECT count(*) FROM {view}"),
                rig.value(f"SELECT count(*) FROM {view}_history"),
            )
            for view in ("feedback", "kpi_events", "evaluations", "spans", "prices")
        }
        assert counts == {
            "feedback": (2, 3),
            "kpi_events": (2, 2),
            "evaluations": (1, 1),
            "spans": (1, 2),
            "prices": (2, 3),
        }
        rig.seal()
    assert rig.value("SELECT sum(amount_micros) FROM prices") == 9


def test_two_sales_of_one_request_are_two_events(rig: Rig) -> None:
    sales = [
        KpiEvent(id_, at_ns=BASE_NS + at, event_ns=BASE_NS, request="r-1", name="sale", value=value)
        for id_, at, value in (("a", 1, 5.0), ("b", 2, 7.0), ("b", 3, 7.0))
    ]
    rig.write("facts", sales)
    assert rig.value("SELECT sum(value) FROM kpi_events") == 12


_FACT = st.tuples(st.sampled_from("abcdef"), st.integers(1, 5), st.sampled_from(["r-1", "r-2", "r-9"]))


@given(st.lists(_FACT, max_size=12), st.integers(0, 6))
@settings(max_examples=25, deadline=None)
def test_the_latest_versions_are_those_of_a_plain_reading(
    tmp_path_factory: Any, sent: list[tuple[str, int, str]], known_s: int
) -> None:
    """In the order they came: an id that was seen counts for nothing, of one subject the last learnt stands."""
    rig = Rig(tmp_path_factory.mktemp("home"))
    rig.write("facts", [label(id_, at_s, request=request, value=float(at_s)) for id_, at_s, request in sent])
    once: dict[str, tuple[int, int, str]] = {}
    for place, (id_, at_s, request) in enumerate(sent):
        if at_s <= known_s and (id_ not in once or (at_s, place) < once[id_][:2]):
            once[id_] = (at_s, place, request)
    latest: dict[str, tuple[int, int, str]] = {}
    for id_, (at_s, place, request) in once.items():
        latest[request] = max(latest.get(request, (0, -1, "")), (at_s, place, id_))
    moment = datetime.fromtimestamp(BASE_NS / 1e9 + known_s, UTC).replace(tzinfo=None)
    found = {row["request"]: row["id"] for row in rig.ask("SELECT * FROM labels_as_of(?)", [moment])}
    rig.engine.close()
    assert found == {request: id_ for request, (_, _, id_) in latest.items()}
