"""Trace contexts: what is read, what is ignored, and that every id of the gateway follows from the request's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.kernel import trace
from andon.kernel.clock import SystemClock
from andon.kernel.ids import Ids, time_ms
from andon.kernel.random import SeededRandom

HEX = "0123456789abcdef"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
ID = "0192f3a4-5b6c-7d8e-9f01-23456789abcd"


def test_a_begun_trace_has_its_time_in_front_and_is_valid_everywhere():
    context = trace.parse_traceparent(trace.begin(ID).encode())
    assert context is not None
    assert int(context.trace_id[:8], 16) == time_ms(ID) // 1000
    assert context.flags == 1
    assert trace.parse_xray(f"Root={trace.to_xray(context.trace_id)}".encode()) is not None


def test_the_page_on_tracing_tells_the_ids_of_its_example():
    page = (Path(__file__).resolve().parents[2] / "docs" / "tracing.md").read_text()
    assert ID in page
    for id_ in (
        trace.trace_id_of(ID),
        trace.server_span_of(ID),
        trace.attempt_span_of(ID, 0),
        trace.copy_span_of(ID),
    ):
        assert f"`{id_}`" in page


def test_ids_of_a_gateway_differ_among_requests_and_within_one():
    ids = Ids(SystemClock(), SeededRandom(1))
    made = [ids.next() for _ in range(2000)]
    begun = trace.Beginnings()
    assert all(begun.traceparent(id_) == trace.begin(id_) for id_ in made)
    assert len({trace.trace_id_of(id_) for id_ in made}) == 2000
    for id_ in made[:100]:
        spans = [
            trace.server_span_of(id_),
            *(trace.attempt_span_of(id_, attempt) for attempt in range(8)),
            trace.copy_span_of(id_),
            *(trace.part_span_of(id_, attempt, part) for attempt in range(3) for part in ("queue", "tls")),
        ]
        assert len(set(spans)) == len(spans)
        assert all(len(span) == 16 and set(span) <= set(HEX) and span != "0" * 16 for span in spans)


def test_what_is_passed_on_is_the_trace_with_the_attempt_as_parent():
    passed = trace.parse_traceparent(trace.pass_on(ID, 2, f"00-{TRACE}-{SPAN}-00"))
    assert passed == trace.Trace(TRACE, trace.attempt_span_of(ID, 2), 0)
    begun = trace.parse_traceparent(trace.pass_on(ID, 0, trace.begin(ID)))
    assert begun == trace.Trace(trace.trace_id_of(ID), trace.attempt_span_of(ID, 0))


def test_a_row_gives_the_context_back():
    assert trace.recall(ID, trace.begin(ID)) == trace.Trace(trace.trace_id_of(ID), "")
    assert trace.recall(ID, None) == trace.Trace(trace.trace_id_of(ID), "")
    given_ = trace.Trace(TRACE, SPAN, 0)
    assert trace.recall(ID, trace.render(ID, given_)) == given_
    assert trace.recall(ID, trace.render(ID, trace.Trace(TRACE, ""))) == trace.Trace(TRACE, "")


@pytest.mark.parametrize(
    "value",
    [
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.more",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        "",
    ],
)
def test_a_malformed_traceparent_is_ignored(value: str):
    assert trace.parse_traceparent(value.encode()) is None


def test_a_later_version_is_read_as_far_as_it_is_known():
    later = trace.parse_traceparent(f"cc-{TRACE}-{SPAN}-ff-what-is-next".encode())
    assert later == trace.Trace(TRACE, SPAN, 3)
    assert trace.parse_traceparent(f"cc-{TRACE}-{SPAN}-00".encode()) == trace.Trace(TRACE, SPAN, 0)


@pytest.mark.parametrize(
    ("value", "parent", "flags"),
    [
        ("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1", "53995c3f42cd8ad8", 1),
        ("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0", "53995c3f42cd8ad8", 0),
        ("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=?", "", 1),
        ("Self=1-67891234-12456789abcdef012345678; Root=1-5759e988-bd862e3fe1be46a994272793", "", 1),
    ],
)
def test_the_header_of_xray_is_read(value: str, parent: str, flags: int):
    expected = trace.Trace("5759e988bd862e3fe1be46a994272793", parent, flags, True)
    assert trace.parse_xray(value.encode()) == expected
    onward = trace.parse_xray(trace.pass_on_xray(ID, 0, expected))
    assert onward == expected._replace(parent_id=trace.attempt_span_of(ID, 0))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Root=2-5759e988-bd862e3fe1be46a994272793",
        "Root=1-5759e988-bd862e3fe1be46a99427279",
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad",
        "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=yes",
        "Root=1-5759e988-bd862e3fe1be46a994272793;Root=1-5759e988-bd862e3fe1be46a994272793",
        "Parent=53995c3f42cd8ad8;Sampled=1",
        "Root=1-5759e988-bd862e3fe1be46a994272793;" + "x" * 600,
    ],
)
def test_a_malformed_header_of_xray_is_ignored(value: str):
    assert trace.parse_xray(value.encode()) is None


@given(st.binary(max_size=120))
def test_nothing_that_arrives_is_ever_raised_over(value: bytes):
    trace.parse_traceparent(value)
    trace.parse_xray(value)
