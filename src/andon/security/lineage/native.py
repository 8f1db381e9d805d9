"""What Andon knows of the lineage by itself: versions of models, what they were trained on, where they serve. Pure.

Made anew from the present resources whenever it is asked for; events and this are two graphs seen as one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from andon.kernel.labels import Label
from andon.security.lineage.folding import add_dataset
from andon.security.lineage.graph import Graph
from andon.security.lineage.model import (
    MODEL_PREFIX,
    REGISTRY,
    DatasetName,
    dataset_id,
    endpoint_id,
    model_id,
    release_id,
    run_id,
)


class TrainedOn(msgspec.Struct, frozen=True, kw_only=True):
    """A data set that a version says it was trained on."""

    dataset: DatasetName
    label: Label | None = None


class VersionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a model."""

    resource: str  # "credit-3"
    model: str
    version: str
    digest: str = ""
    admitted: bool | None = None
    datasets: tuple[TrainedOn, ...] = ()
    features: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()  # models that it was made from: NAME or NAME@VERSION
    at_ns: int = 0


class ReleaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A release at an endpoint, now or once."""

    endpoint: str
    release: str  # "credit@3"
    model: str = ""  # empty = of a provider
    version: str = ""
    state: str = ""  # "stable", "canary", "aborted" …
    at_ns: int = 0


class EndpointFacts(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint and the class it declares."""

    name: str
    label: Label
    at_ns: int = 0


def build_native(
    versions: Sequence[VersionFacts],
    releases: Sequence[ReleaseFacts],
    endpoints: Sequence[EndpointFacts],
    known: Graph,
) -> Graph:
    """The graph of what Andon knows; `known` is what events said, to see which names they use."""
    graph = Graph()
    for version in versions:
        _add_version(graph, version, known)
    for endpoint in endpoints:
        id_ = endpoint_id(endpoint.name)
        graph.add(id_, "endpoint", endpoint.name)
        graph.tell(id_, "declared", endpoint.label, (endpoint.at_ns, ""))
    for release in releases:
        _add_release(graph, release)
    return graph


def _add_version(graph: Graph, facts: VersionFacts, known: Graph) -> None:
    id_ = _model(graph, facts.model, facts.version)
    stamp = (facts.at_ns, "")
    graph.tell(id_, "resource", facts.resource, stamp)
    if facts.digest:
        graph.tell(id_, "digest", facts.digest, stamp)
        alias = model_id(facts.model, facts.digest)
        if alias in known:
            graph.add(alias, "model", facts.model, version=facts.digest)
            graph.connect(alias, id_, "same", facts.at_ns)
    if facts.admitted is not None:
        graph.tell(id_, "admitted", facts.admitted, stamp)
    middle = id_
    for run in facts.runs:
        node = run_id(run)
        graph.add(node, "run", node.removeprefix("run:"))
        graph.connect(node, id_, "trained", facts.at_ns)
        middle = node
    for feature in facts.features:
        node = f"feature:{feature}"
        graph.add(node, "feature", feature)
        graph.connect(node, middle, "read", facts.at_ns)
    for trained in facts.datasets:
        node = add_dataset(graph, trained.dataset)
        if trained.label is not None:
            graph.classify(node, trained.label, stamp)
        if dataset_id(trained.dataset) != id_:
            graph.connect(node, middle, "read" if middle != id_ else "trained", facts.at_ns)
        for feature in facts.features:
            graph.connect(node, f"feature:{feature}", "read", facts.at_ns)
    for parent in facts.parents:
        name, _, version = parent.partition("@")
        graph.connect(_model(graph, name, version), id_, "trained", facts.at_ns)


def _model(graph: Graph, model: str, version: str) -> str:
    return add_dataset(graph, DatasetName(namespace=REGISTRY, name=MODEL_PREFIX + model, version=version))


def _add_release(graph: Graph, facts: ReleaseFacts) -> None:
    id_, endpoint = release_id(facts.endpoint, facts.release), endpoint_id(facts.endpoint)
    graph.add(id_, "release", facts.release)
    graph.add(endpoint, "endpoint", facts.endpoint)
    graph.tell(id_, "endpoint", facts.endpoint, (facts.at_ns, ""))
    if facts.state:
        graph.tell(id_, "state", facts.state, (facts.at_ns, facts.state))
    if facts.model:
        graph.connect(_model(graph, facts.model, facts.version), id_, "serves", facts.at_ns)
    graph.connect(id_, endpoint, "serves", facts.at_ns)
