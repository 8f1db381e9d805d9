"""What the store and the files of models say about lineage, in the terms of security/lineage.

Reads the resources of other rooms, which lineage does not know, and the run ids that MLflow left beside its models.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec

from andon.app.observer.part import ObserverGround
from andon.kernel.admission import Admitted
from andon.lifecycle.endpoints.model import EndpointSpec, EndpointStatus
from andon.lifecycle.endpoints.repository import ENDPOINT
from andon.lifecycle.rollouts.model import ROLLOUT
from andon.lifecycle.rollouts.repository import course_of
from andon.lifecycle.rollouts.strategy import ReleaseSpec
from andon.security.lineage.model import DatasetName
from andon.security.lineage.native import EndpointFacts, ReleaseFacts, TrainedOn, VersionFacts
from andon.serving.models.model import MODEL_VERSION, ModelVersionSpec
from andon.store.model import Record, Unit

CARD: Final = "andon://card"  # namespace of data sets that only a model card names
_MLMODEL: Final = "MLmodel"
_READ_BYTES: Final = 2**16
_RUN = re.compile(rb"^run_id:\s*['\"]?([0-9a-f]{32})['\"]?\s*$", re.MULTILINE)
_KNOWN_MAX: Final = 10_000

Native = tuple[list[VersionFacts], list[ReleaseFacts], list[EndpointFacts]]


class MlflowRuns:
    """Run ids in MLflow's directories, each file read once while it stays the same."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[Path, tuple[int, str]] = {}

    def find(self, source: str) -> str:
        """The run that a model was saved by; empty where nothing says so. Blocking."""
        path = self._root / source / _MLMODEL
        try:
            changed_ns = path.stat().st_mtime_ns
            known = self._known.get(path)
            if known is not None and known[0] == changed_ns:
                return known[1]
            with path.open("rb") as file:
                match = _RUN.search(file.read(_READ_BYTES))
        except (OSError, ValueError):
            return ""  # no directory of MLflow, or none on this machine: then there is nothing to know
        found = match[1].decode() if match else ""
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[path] = (changed_ns, found)
        return found


async def gather_native(ground: ObserverGround, mlflow: MlflowRuns) -> Native:
    """Everything that Andon knows now. Raises `Transient`."""

    def work(unit: Unit) -> tuple[list[Record], list[Record], list[Record]]:
        return list(unit.list(MODEL_VERSION)), list(unit.list(ENDPOINT)), list(unit.list(ROLLOUT))

    versions, endpoints, rollouts = await ground.store.transact(work)
    facts = await ground.runner.run(lambda: [version_facts(record, mlflow) for record in versions])
    releases = [fact for record in endpoints for fact in endpoint_releases(record)]
    releases += [fact for record in rollouts for fact in rollout_releases(record)]
    return facts, releases, [_endpoint(record) for record in endpoints]


def version_facts(record: Record, mlflow: MlflowRuns) -> VersionFacts:
    """A version of a model, with what its spec, its card, its admission and MLflow say."""
    spec = msgspec.convert(record.spec, ModelVersionSpec)
    admission = msgspec.convert(record.status, Admitted).admission
    trained, run = spec.trained_on, mlflow.find(spec.source)
    datasets = [
        TrainedOn(
            dataset=DatasetName(namespace=one.namespace, name=one.name, version=one.version), label=one.label
        )
        for one in trained.datasets
    ]
    datasets += [TrainedOn(dataset=DatasetName(namespace=CARD, name=name)) for name in spec.card.datasets]
    return VersionFacts(
        resource=record.name,
        model=spec.model,
        version=spec.version,
        digest=(admission.digest if admission else "") or spec.digest,
        admitted=admission.admitted if admission else None,
        datasets=tuple(datasets),
        features=trained.features,
        runs=tuple(sorted({one for one in (trained.run, run) if one})),
        parents=spec.card.derived_from,
        at_ns=record.created_ns,
    )


def endpoint_releases(record: Record) -> list[ReleaseFacts]:
    """What an endpoint serves or served lately."""
    status = msgspec.convert(record.status, EndpointStatus)
    return [
        _release(record.name, release, state, record.created_ns)
        for release, state in ((status.stable, "stable"), (status.previous, "previous"))
        if release is not None
    ]


def rollout_releases(record: Record) -> list[ReleaseFacts]:
    """Both releases of a rollout, with where it stands."""
    course = course_of(record)
    spec, phase = course.spec, course.status.phase
    return [
        _release(spec.endpoint, spec.source, "", record.created_ns),
        _release(spec.endpoint, spec.target, phase.lower(), record.created_ns),
    ]


def owned_by(id_: str, type_: str) -> bool:
    """Whether an id is of a type of nodes."""
    return id_.startswith(f"{type_}:")


def _release(endpoint: str, release: ReleaseSpec, state: str, at_ns: int) -> ReleaseFacts:
    return ReleaseFacts(
        endpoint=endpoint,
        release=release.id,
        model=release.model,
        version=release.version,
        state=state,
        at_ns=at_ns,
    )


def _endpoint(record: Record) -> EndpointFacts:
    spec = msgspec.convert(record.spec, EndpointSpec)
    return EndpointFacts(name=record.name, label=spec.label, at_ns=record.created_ns)
