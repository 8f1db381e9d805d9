"""Nodes and edges of the lineage, and how nodes are named. Pure.

An id names one thing for ever: `dataset:NAMESPACE#NAME@VERSION`, `model:credit@3`, `run:UUID`, `job:NAMESPACE#NAME`,
`feature:NAME`, `release:ENDPOINT/RELEASE`, `endpoint:NAME`, `window:ENDPOINT/RELEASE/HOUR`. Never parse one.
"""

from __future__ import annotations

from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from andon.kernel.labels import Label

REGISTRY: Final = "andon://registry"  # namespace of models as data sets: name `model/NAME`
MODEL_PREFIX: Final = "model/"

NodeType = Literal["dataset", "feature", "run", "job", "model", "release", "endpoint", "window", "request"]


class Node(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing in the graph."""

    id: str
    type: NodeType
    name: str
    namespace: str = ""
    version: str = ""
    label: Label | None = None  # its own data class, where somebody said so
    state: str = ""  # of a run: START … COMPLETE, ABORT, FAIL
    detail: dict[str, Any] = {}  # small, by type: job, digest, started, requests …


class Edge(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came from what: `target` was made from `source`."""

    source: str
    target: str
    kind: str  # "read", "wrote", "trained", "serves", "answered", "same", "version"
    assumed: bool = False  # nobody said which version; every one that may be meant is taken
    learnt_ns: int = 0  # when Andon heard of it first


class DatasetName(msgspec.Struct, frozen=True, kw_only=True):
    """A data set by OpenLineage's naming, and which version of it."""

    namespace: str
    name: str
    version: str = ""


def dataset_id(dataset: DatasetName) -> str:
    """The id of a data set, or of a model where it is named as one."""
    if is_model(dataset):
        return model_id(dataset.name.removeprefix(MODEL_PREFIX), dataset.version)
    base = f"dataset:{_part(dataset.namespace)}#{_part(dataset.name)}"
    return f"{base}@{dataset.version}" if dataset.version else base


def is_model(dataset: DatasetName) -> bool:
    """Whether a data set is a model in Andon's registry."""
    return dataset.namespace == REGISTRY and dataset.name.startswith(MODEL_PREFIX)


def model_id(model: str, version: str = "") -> str:
    """The id of a version of a model by its name or digest; of the model where none is said."""
    return f"model:{_part(model)}@{version}" if version else f"model:{_part(model)}"


def run_id(text: str) -> str:
    """The id of a run. UUIDs are the same with and without dashes: MLflow leaves them out."""
    try:
        return f"run:{UUID(text)}"
    except ValueError:
        return f"run:{text}"


def job_id(namespace: str, name: str) -> str:
    """The id of a job."""
    return f"job:{_part(namespace)}#{_part(name)}"


def release_id(endpoint: str, release: str) -> str:
    """The id of a release at an endpoint."""
    return f"release:{endpoint}/{release}"


def endpoint_id(endpoint: str) -> str:
    """The id of an endpoint."""
    return f"endpoint:{endpoint}"


def window_id(endpoint: str, release: str, hour: str) -> str:
    """The id of an hour of answers."""
    return f"window:{endpoint}/{release}/{hour}"


def _part(text: str) -> str:
    return text.replace("%", "%25").replace("#", "%23").replace("@", "%40")
