"""What is an event of OpenLineage, and what is not."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.kernel.errors import Refused
from andon.security.lineage import reading
from andon.security.lineage.reading import EventsRefused, read_events
from tests.security.lineage.events import NOW, dataset, facet, read, refused, run_event


def test_the_three_kinds_of_events_are_told_apart():
    run = run_event(1)
    job = {name: value for name, value in run.items() if name not in ("run", "eventType")}
    data = {name: run[name] for name in ("eventTime", "producer", "schemaURL")} | {"dataset": dataset("d")}
    assert [event.kind for event in read(run, job, data)] == ["run", "job", "dataset"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"eventTime": "yesterday"}, "eventTime"),
        ({"eventTime": "2026-01-01"}, "eventTime"),
        ({"eventTime": "9999-12-31T23:59:59Z"}, "eventTime"),
        ({"eventTime": "1970-01-01T00:00:00Z"}, "eventTime"),
        ({"eventTime": 7}, "eventTime"),
        ({"eventType": "DONE"}, "eventType"),
        ({"producer": ""}, "producer"),
        ({"producer": "no uri"}, "producer"),
        ({"schemaURL": "nothing"}, "schemaURL"),
        ({"run": {"runId": "seven"}}, "run.runId"),
        ({"run": {}}, "run.runId"),
        ({"run": None}, "run"),
        ({"job": None}, "job"),
        ({"job": {"namespace": "", "name": "x"}}, "job.namespace"),
        ({"job": {"namespace": "a", "name": "x" * 2000}}, "job.name"),
        ({"job": {"namespace": "a", "name": "\x1b[31mred"}}, "job.name"),
        ({"inputs": [dataset("a"), {"namespace": "b"}]}, "inputs[1].name"),
        ({"outputs": [dataset("a")] * 2001}, "outputs"),
        ({"inputs": [dataset("a") | {"facets": {"x": 1}}]}, "inputs[0].facets.x"),
        ({"inputs": [dataset("a") | {"facets": {"x": {}}}]}, "inputs[0].facets.x._producer"),
        (
            {"inputs": [dataset("a") | {"inputFacets": {"x": {"_producer": "a:b"}}}]},
            "inputs[0].inputFacets.x._schemaURL",
        ),
        ({"dataset": dataset("a")}, "dataset"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(change: dict[str, Any], path: str):
    told, message = refused(run_event(1) | change)
    assert told == path
    assert message


def test_a_batch_keeps_its_good_events():
    body = [run_event(1), {"nothing": 1}, run_event(2)]
    events, unfit = read_events(msgspec.json.encode(body), "tester", NOW)
    assert len(events) == 2
    assert [(one.index, one.path) for one in unfit] == [(1, "eventTime")]
    assert EventsRefused(unfit).faults[0].path == "[1].eventTime"


@pytest.mark.parametrize(
    "body", [b"[", b"[]", b"[1,", b"[" * 50_000, b"\xff", b"", b"null", b'"x"', b"{}", b"7"]
)
def test_what_is_no_json_is_refused(body: bytes):
    try:
        events, unfit = read_events(body, "tester", NOW)
    except Refused:
        return
    assert events == []
    assert unfit


def test_too_many_events_are_refused_at_once():
    with pytest.raises(Refused, match="more than"):
        read_events(b"[" + b"{}," * 2000 + b"{}]", "tester", NOW)


def test_facets_that_nobody_knows_are_kept_as_they_came():
    own = facet(deep={"a": [1, {"b": None}]}, text="größer")
    (event,) = read(
        run_event(1) | {"run": {"runId": "00000000-0000-4000-8000-000000000001", "facets": {"own": own}}}
    )
    assert event.run_facets == {"own": own}
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=reading.LineageEvent) == event


def test_a_huge_facet_is_kept_as_its_address():
    huge = facet(text="x" * 100_000)
    (event,) = read(run_event(1, reads=[dataset("a") | {"facets": {"huge": huge}}]))
    assert event.trimmed == 1
    kept = event.inputs[0].facets["huge"]
    assert kept["_producer"] == huge["_producer"]
    assert kept["andon_leftOutBytes"] > 100_000
    assert len(msgspec.json.encode(event)) < 2000


def test_an_event_has_the_same_id_whenever_and_however_it_is_written():
    said = run_event(1, reads=[dataset("a", "1")])
    other = json.dumps(dict(reversed(said.items())), indent=3).encode()
    first = read_events(msgspec.json.encode(said), "one", NOW)[0][0]
    second = read_events(other, "two", NOW + 5)[0][0]
    assert first.id == second.id
    assert read(run_event(1))[0].id != first.id


def test_a_time_without_an_offset_is_utc():
    (without,), (with_one,) = (
        read(run_event(1, at="2026-01-01T00:00:00.5")),
        read(run_event(1, at="2026-01-01T01:00:00.5+01:00")),
    )
    assert without.event_ns == with_one.event_ns


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_FIELDS = st.sampled_from(
    ["eventTime", "producer", "schemaURL", "eventType", "run", "job", "inputs", "outputs", "dataset"]
)


@given(st.dictionaries(_FIELDS, _JSON, max_size=5))
def test_no_body_is_more_than_refused(change: dict[str, Any]):
    body = msgspec.json.encode(run_event(1) | change)
    events, unfit = read_events(body, "tester", NOW)
    assert len(events) + len(unfit) == 1


@given(st.binary(max_size=200))
def test_no_bytes_are_more_than_refused(body: bytes):
    try:
        read_events(body, "tester", NOW)
    except Refused:
        return
