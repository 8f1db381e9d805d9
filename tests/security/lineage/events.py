"""Events of OpenLineage as their senders write them."""

from __future__ import annotations

from typing import Any

import msgspec

from andon.security.lineage.reading import LineageEvent, read_events

SECOND = 10**9
NOW = 1_800_000_000 * SECOND
START = "2026-01-01T00:00:00Z"
PRODUCER = "https://example.com/etl"


def facet(**fields: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": "https://example.com/facet.json", **fields}


def dataset(name: str, version: str = "", label: str = "", namespace: str = "lake") -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if version:
        facets["version"] = facet(datasetVersion=version)
    if label:
        facets["tags"] = facet(tags=[{"key": "andon_label", "value": label}])
    return {"namespace": namespace, "name": name, "facets": facets}


def model(name: str, version: str = "") -> dict[str, Any]:
    return dataset(f"model/{name}", version, namespace="andon://registry")


def run_event(
    run: int, state: str = "COMPLETE", reads: Any = (), writes: Any = (), at: str = START, **more: Any
) -> dict[str, Any]:
    return {
        "eventTime": at,
        "producer": PRODUCER,
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "eventType": state,
        "run": {"runId": f"00000000-0000-4000-8000-{run:012d}", "facets": {}},
        "job": {"namespace": "jobs", "name": f"job-{run}"},
        "inputs": list(reads),
        "outputs": list(writes),
        **more,
    }


def run_node(run: int) -> str:
    return f"run:00000000-0000-4000-8000-{run:012d}"


def read(*said: Any) -> list[LineageEvent]:
    """Events that must all be good."""
    events, unfit = read_events(msgspec.json.encode(list(said)), "tester", NOW)
    assert unfit == []
    return events


def refused(said: Any) -> tuple[str, str]:
    """Where and why the one event is refused."""
    events, unfit = read_events(said if isinstance(said, bytes) else msgspec.json.encode(said), "tester", NOW)
    assert events == []
    (one,) = unfit
    return one.path, one.message
