"""Andon's own events: what OpenLineage's specification requires of them, and that its own classes build them."""

from __future__ import annotations

from typing import Any

import msgspec
from openlineage.client import event_v2, facet_v2, serde

from andon.kernel.events import Event
from andon.security.lineage.emission import Emitter, InferenceWindow
from andon.security.lineage.reading import read_events
from tests.security.lineage.events import NOW

DIGEST = "sha256:" + "cd" * 32
READING = {
    "gate": "errors", "metric": "errorRate", "verdict": "breach", "evidence": 40.0, "threshold": 20.0,
    "canary_n": 50, "stable_n": 50, "canary_value": 0.5, "stable_value": 0.0, "minimum": 10, "reason": "worse",
}  # fmt: skip
EMITTER = Emitter("plant", {"credit@3": DIGEST})


def rollout(name: str, **data: Any) -> Event:
    said = {"endpoint": "loans", "source": "credit@2", "target": "credit@3", **data}
    return Event(name=name, subject="Rollout/loans-1", actor="controller", data=said, at_ns=NOW - 10**9)


def check(said: dict[str, Any]) -> None:
    """By our own reading, and by the classes of OpenLineage's client."""
    events, unfit = read_events(msgspec.json.encode(said), "self", NOW)
    assert unfit == []
    assert events[0].trimmed == 0
    if "dataset" in said:
        one = said["dataset"]
        built: Any = event_v2.DatasetEvent(
            eventTime=said["eventTime"],
            producer=said["producer"],
            dataset=event_v2.StaticDataset(one["namespace"], one["name"], facets=one["facets"]),
        )
    else:
        built = event_v2.RunEvent(
            eventTime=said["eventTime"],
            producer=said["producer"],
            eventType=event_v2.RunState(said["eventType"]),
            run=event_v2.Run(**said["run"]),
            job=event_v2.Job(**said["job"]),
            inputs=[event_v2.InputDataset(**one) for one in said["inputs"]],
            outputs=[event_v2.OutputDataset(**one) for one in said["outputs"]],
        )
    assert serde.Serde.to_dict(built)["producer"] == said["producer"]


def test_a_rollout_is_one_run_that_begins_and_ends():
    said = [
        one
        for event in (
            rollout("rollout.started"),
            rollout("rollout.advanced", weight=10),
            rollout("rollout.succeeded"),
        )
        for one in EMITTER.of_journal(event, "7")
    ]
    for one in said:
        check(one)
    assert [one["eventType"] for one in said] == ["START", "RUNNING", "COMPLETE"]
    assert len({one["run"]["runId"] for one in said}) == 1
    assert EMITTER.of_journal(rollout("rollout.started"), "9")[0]["run"] != said[0]["run"]
    assert said[0]["inputs"][0]["facets"]["version"]["datasetVersion"] == DIGEST


def test_gates_of_a_stopped_rollout_are_tests():
    (said,) = EMITTER.of_journal(rollout("rollout.aborted", readings=[READING], reason="errors"), "7")
    check(said)
    assert said["eventType"] == "ABORT"
    facet = said["run"]["facets"]["test"]
    tests = [facet_v2.test_run.TestExecution(**one) for one in facet["tests"]]
    assert (tests[0].name, tests[0].status, tests[0].type) == ("errors", "fail", "errorRate")
    assert facet["_schemaURL"] == facet_v2.test_run.TestRunFacet._get_schema()


def test_an_admission_is_a_version_of_a_data_set():
    event = Event(
        name="model.admitted", subject="ModelVersion/credit-3", actor="c", at_ns=NOW - 1,
        data={"digest": DIGEST, "verdict": "clean", "verified": True, "signer": "release"},
    )  # fmt: skip
    (said,) = EMITTER.of_journal(event, "")
    check(said)
    assert said["dataset"]["name"] == "model/credit"
    assert EMITTER.of_journal(Event(name="key.created", subject="ApiKey/a", actor="b"), "") == []


def test_an_hour_of_answers_is_a_run():
    window = InferenceWindow(
        endpoint="loans", release="credit@3", hour="2026-11-23T01", answers=7, first_ns=NOW - 9, last_ns=NOW - 5,
        label="confidential",
    )  # fmt: skip
    said = EMITTER.of_window(window)
    for one in said:
        check(one)
    assert [one["eventType"] for one in said] == ["START", "COMPLETE"]
    assert said[0]["run"]["facets"]["andon_inferenceWindow"]["answers"] == 7
    assert said == EMITTER.of_window(window)


def test_schemas_are_those_of_the_client():
    said = EMITTER.of_window(
        InferenceWindow(endpoint="e", release="p/m", hour="2026-11-23T01", answers=1, first_ns=1, last_ns=1)
    )[0]
    facets = facet_v2
    assert (
        said["run"]["facets"]["nominalTime"]["_schemaURL"]
        == facets.nominal_time_run.NominalTimeRunFacet._get_schema()
    )
    assert said["job"]["facets"]["jobType"]["_schemaURL"] == facets.job_type_job.JobTypeJobFacet._get_schema()
    version = said["outputs"][0]["facets"]["version"]
    assert version["_schemaURL"] == facets.dataset_version_dataset.DatasetVersionDatasetFacet._get_schema()
