"""Andon's own lineage as OpenLineage events: admissions, rollouts with their gates, hours of answers. Pure.

A model is a data set `andon://registry` `model/NAME` whose version is the digest of its files; a rollout and an hour of
answers are runs. Facets of our own begin with `andon_`. Source: OpenLineage 2-0-2; docs/lineage.md says what is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

import msgspec

from andon import __version__
from andon.kernel.events import Event
from andon.security.lineage.model import MODEL_PREFIX, REGISTRY

_HOME: Final = "https://github.com/andon/andon"
PRODUCER: Final = f"{_HOME}/tree/{__version__}"
_SPEC: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/"
_FACETS: Final = "https://openlineage.io/spec/facets/"
_OWN: Final = f"{_HOME}/blob/{__version__}/docs/lineage.md#"
ANSWERS: Final = "andon://answers"  # namespace of what endpoints answered, as data sets
RUNNING: Final = frozenset(
    {"rollout.advanced", "rollout.promoted", "rollout.paused", "rollout.resumed", "rollout.warned"}
)
STATES: Final[Mapping[str, str]] = {
    "rollout.started": "START",
    **dict.fromkeys(RUNNING, "RUNNING"),
    "rollout.succeeded": "COMPLETE",
    "rollout.aborted": "ABORT",
}

Json = dict[str, Any]


class InferenceWindow(msgspec.Struct, frozen=True, kw_only=True):
    """Answers of one release at one endpoint in one hour, UTC."""

    endpoint: str
    release: str
    hour: str  # "2026-11-23T01"
    answers: int
    first_ns: int
    last_ns: int
    label: str = ""  # the highest data class among them


class Emitter:
    """Makes events of one factory. `digests` gives the digest of a release's model, where it is known."""

    def __init__(self, factory: str, digests: Mapping[str, str]) -> None:
        self._factory = factory
        self._digests = digests

    def of_journal(self, event: Event, begun: str) -> list[Json]:
        """What a line of the journal says; `begun` tells this rollout from others of its name."""
        if event.name in STATES:
            return [self._rollout(event, begun)]
        if event.name == "model.admitted":
            return self._admitted(event)
        return []

    def of_window(self, window: InferenceWindow) -> list[Json]:
        """An hour of answers as a run that began and ended."""
        start = datetime.fromisoformat(window.hour).replace(tzinfo=UTC)
        end = start + timedelta(hours=1)
        facets: Json = {
            "nominalTime": _facet(
                "1-0-1/NominalTimeRunFacet.json#/$defs/NominalTimeRunFacet",
                nominalStartTime=start.isoformat(),
                nominalEndTime=end.isoformat(),
            ),
            "andon_inferenceWindow": _own(
                "InferenceWindowRunFacet",
                endpoint=window.endpoint,
                release=window.release,
                answers=window.answers,
                firstAnswer=_time(window.first_ns),
                lastAnswer=_time(window.last_ns),
            ),
        }
        if window.label:
            facets["tags"] = _tags("Run", window.label)
        run = self._run(f"window/{window.endpoint}/{window.release}/{window.hour}")
        inputs = self._models([window.release])
        output = {
            "namespace": ANSWERS,
            "name": window.endpoint,
            "facets": {"version": _version(window.hour)}
            | ({"tags": _tags("Dataset", window.label)} if window.label else {}),
        }
        return [
            {
                **_event("RunEvent", moment.isoformat()),
                "eventType": state,
                "run": {"runId": run, "facets": facets},
                "job": self._job(f"serve/{window.endpoint}", "INFERENCE"),
                "inputs": inputs,
                "outputs": [output],
            }
            for state, moment in (("START", start), ("COMPLETE", end))
        ]

    def _rollout(self, event: Event, begun: str) -> Json:
        data, rollout = event.data, event.subject.partition("/")[2]
        source, target = str(data.get("source", "")), str(data.get("target", ""))
        endpoint = str(data.get("endpoint", ""))
        facets: Json = {
            "andon_modelDeployment": _own(
                "ModelDeploymentRunFacet",
                rollout=rollout,
                endpoint=endpoint,
                source=source,
                target=target,
                phase=str(data.get("phase", "")),
                weight=data.get("weight", 0),
                reason=str(data.get("reason", "")),
            )
        }
        readings = data.get("readings")
        if isinstance(readings, Sequence) and not isinstance(readings, str) and readings:
            facets["test"] = _facet(
                "1-0-1/TestRunFacet.json#/$defs/TestRunFacet", tests=[_test(one) for one in readings]
            )
        if event.name == "rollout.aborted":
            facets["errorMessage"] = _facet(
                "1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet",
                message=str(data.get("reason", "")) or "stopped",
                programmingLanguage="none",
            )
        output = {"namespace": f"andon://{self._factory}", "name": f"endpoint/{endpoint}"}
        return {
            **_event("RunEvent", _time(event.at_ns)),
            "eventType": STATES[event.name],
            "run": {"runId": self._run(f"rollout/{rollout}/{begun}"), "facets": facets},
            "job": self._job(f"release/{endpoint}", "DEPLOYMENT"),
            "inputs": self._models([target]),
            "outputs": [output],
        }

    def _admitted(self, event: Event) -> list[Json]:
        name = event.subject.partition("/")[2]
        release = next((one for one in self._digests if one.replace("@", "-") == name), "")
        digest = str(event.data.get("digest", ""))
        if not release or not digest:
            return []  # the version is gone: nothing can be said of it
        facets = {
            "version": _version(digest),
            "lifecycleStateChange": _facet(
                "1-0-1/LifecycleStateChangeDatasetFacet.json#/$defs/LifecycleStateChangeDatasetFacet",
                lifecycleStateChange="CREATE",
            ),
            "andon_modelAdmission": _own(
                "ModelAdmissionDatasetFacet",
                version=release.rpartition("@")[2],
                verdict=str(event.data.get("verdict", "")),
                verified=bool(event.data.get("verified", False)),
                signer=str(event.data.get("signer", "")),
            ),
        }
        model = release.rpartition("@")[0]
        dataset = {"namespace": REGISTRY, "name": MODEL_PREFIX + model, "facets": facets}
        return [{**_event("DatasetEvent", _time(event.at_ns)), "dataset": dataset}]

    def _models(self, releases: Sequence[str]) -> list[Json]:
        found = []
        for release in releases:
            name, _, version = release.rpartition("@")
            version = self._digests.get(release, version)
            facets = {"version": _version(version)} if version else {}
            found.append({"namespace": REGISTRY, "name": MODEL_PREFIX + (name or release), "facets": facets})
        return found

    def _job(self, name: str, type_: str) -> Json:
        facet = _facet(
            "2-0-4/JobTypeJobFacet.json#/$defs/JobTypeJobFacet",
            processingType="SERVICE",
            integration="ANDON",
            jobType=type_,
        )
        return {"namespace": f"andon://{self._factory}", "name": name, "facets": {"jobType": facet}}

    def _run(self, name: str) -> str:
        """The same for the same thing, whenever it is sent (UUID version 5)."""
        return str(uuid5(NAMESPACE_URL, f"andon://{self._factory}/{name}"))


def _event(kind: str, time: str) -> Json:
    return {"eventTime": time, "producer": PRODUCER, "schemaURL": _SPEC + kind}


def _facet(schema: str, **fields: Any) -> Json:
    return {"_producer": PRODUCER, "_schemaURL": _FACETS + schema, **fields}


def _own(schema: str, **fields: Any) -> Json:
    return {"_producer": PRODUCER, "_schemaURL": _OWN + schema.lower(), **fields}


def _version(version: str) -> Json:
    return _facet(
        "1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet", datasetVersion=version
    )


def _tags(of: str, label: str) -> Json:
    schema = f"1-0-0/Tags{of}Facet.json#/$defs/Tags{of}Facet"
    return _facet(schema, tags=[{"key": "andon_label", "value": label, "source": "ANDON"}])


def _test(reading: Mapping[str, Any]) -> Json:
    """A gate as a test: what breached has failed, what has too little to say was skipped."""
    status = {"breach": "fail", "pass": "pass"}.get(str(reading.get("verdict")), "skip")
    return {
        "name": str(reading.get("gate", "")),
        "status": status,
        "severity": "error",
        "type": str(reading.get("metric", "")),
        "description": str(reading.get("reason", "")),
        "expected": f"evidence below {reading.get('threshold')}",
        "actual": f"{reading.get('evidence')}",
        "params": {
            name: reading[name]
            for name in ("canary_n", "stable_n", "canary_value", "stable_value")
            if reading.get(name) is not None
        },
    }


def _time(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat()
