"""Events into the graph: what a run read and wrote, which versions, which classes. Pure, and blind to order.

The same events in any order, however often, make the same graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from andon.kernel.labels import RANKS, Label
from andon.security.lineage.graph import Graph, Stamp
from andon.security.lineage.model import MODEL_PREFIX, DatasetName, dataset_id, is_model, job_id, run_id
from andon.security.lineage.reading import LineageEvent, Thing

LABEL_KEYS: Final = ("andon_label", "label", "data_class", "dataClass", "classification", "sensitivity")
TERMINAL: Final = frozenset({"COMPLETE", "ABORT", "FAIL"})
_TOLD_MAX: Final = 200  # characters of a detail


def fold(graph: Graph, event: LineageEvent) -> None:
    """Add what an event says."""
    stamp = (event.event_ns, event.id)
    if event.dataset is not None:
        _add_dataset(graph, event.dataset, stamp)
        return
    if event.job is None:
        return
    job = job_id(event.job.namespace, event.job.name)
    graph.add(job, "job", event.job.name, namespace=event.job.namespace)
    for name, value in event.job.facets.items():
        graph.tell(job, name, value, stamp)
    if event.kind == "job":
        middle = job
    else:
        middle = run_id(event.run)
        graph.add(middle, "run", event.run)
        _tell_run(graph, middle, event, stamp)
        graph.tell(middle, "job", job, (0, job))
    for thing in event.inputs:
        graph.connect(_add_dataset(graph, thing, stamp), middle, "read", event.at_ns)
    for thing in event.outputs:
        graph.connect(middle, _add_dataset(graph, thing, stamp), "wrote", event.at_ns)


def label_of(facets: Mapping[str, Any]) -> Label | None:
    """The highest data class among tags (TagsDatasetFacet); None where none is said."""
    tags = facets.get("tags")
    listed = tags.get("tags") if isinstance(tags, dict) else None
    found: Label | None = None
    for tag in listed if isinstance(listed, list) else ():
        if not isinstance(tag, dict) or tag.get("key") not in LABEL_KEYS:
            continue
        value = str(tag.get("value", "")).lower()
        if value in RANKS and (found is None or RANKS[value] > RANKS[found]):
            found = cast("Label", value)
    return found


def version_of(facets: Mapping[str, Any]) -> str:
    """The version of a data set (DatasetVersionDatasetFacet); empty where none is said."""
    facet = facets.get("version")
    version = facet.get("datasetVersion") if isinstance(facet, dict) else None
    if not isinstance(version, str | int) or isinstance(version, bool):
        return ""
    return "".join(letter for letter in str(version)[:_TOLD_MAX] if letter.isprintable())


def add_dataset(graph: Graph, dataset: DatasetName) -> str:
    """A data set, or the version of it, as nodes; the id of what was named."""
    id_ = dataset_id(dataset)
    base = DatasetName(namespace=dataset.namespace, name=dataset.name)
    type_, name, namespace = "dataset", dataset.name, dataset.namespace
    if is_model(dataset):
        type_, name, namespace = "model", dataset.name.removeprefix(MODEL_PREFIX), ""
    graph.add(dataset_id(base), type_, name, namespace=namespace)  # type: ignore[arg-type]  # one of two
    if dataset.version:
        graph.add(id_, type_, name, namespace=namespace, version=dataset.version)  # type: ignore[arg-type]  # as above
        graph.add_version(dataset_id(base), id_)
    return id_


def _add_dataset(graph: Graph, thing: Thing, stamp: Stamp) -> str:
    version = version_of(thing.facets)
    id_ = add_dataset(graph, DatasetName(namespace=thing.namespace, name=thing.name, version=version))
    for name, value in thing.facets.items():
        graph.tell(id_, name, value, stamp)
    if "tags" in thing.facets:
        graph.classify(id_, label_of(thing.facets), stamp)
    return id_


def _tell_run(graph: Graph, id_: str, event: LineageEvent, stamp: Stamp) -> None:
    if event.event_type:
        graph.state(id_, event.event_type, event.event_type in TERMINAL, stamp)
    if event.event_type == "START":
        graph.tell(id_, "started_ns", event.event_ns, (-event.event_ns, event.id))
    if event.event_type in TERMINAL:
        graph.tell(id_, "ended_ns", event.event_ns, (-event.event_ns, event.id))
    for name, value in event.run_facets.items():
        graph.tell(id_, name, value, stamp)
    if "tags" in event.run_facets:
        graph.classify(id_, label_of(event.run_facets), stamp)
