"""The graph: the same whatever came first, and what can be reached in it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.kernel.errors import Refused
from andon.kernel.labels import highest
from andon.security.lineage.drawing import to_dot, to_mermaid
from andon.security.lineage.folding import fold
from andon.security.lineage.graph import Graph
from andon.security.lineage.model import DatasetName, Node
from andon.security.lineage.native import (
    EndpointFacts,
    ReleaseFacts,
    TrainedOn,
    VersionFacts,
    build_native,
)
from andon.security.lineage.walking import View, effective_labels, find, starts, walk
from tests.security.lineage.events import dataset, model, read, run_event, run_node

DIGEST = "sha256:" + "ab" * 32


def graph_of(*said: Any) -> Graph:
    graph = Graph()
    for event in read(*said):
        fold(graph, event)
    return graph


def picture(graph: Graph) -> Any:
    return (
        {id_: graph.node(id_) for id_ in graph},
        {(edge.source, edge.target, edge.kind) for id_ in graph for edge in graph.down(id_).values()},
        {id_: graph.versions(id_) for id_ in graph},
    )


def reached(graphs: Sequence[Graph], name: str, direction: Any = "down") -> set[str]:
    view = View(graphs)
    return {node.id for node in walk(view, starts(view, find(view, name), direction), direction).nodes}


_STATES = st.sampled_from(["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"])
_NAMES = st.sampled_from(["a", "b", "c"])
_DATASETS = st.builds(
    dataset, _NAMES, st.sampled_from(["", "1", "2"]), st.sampled_from(["", "public", "restricted"])
)
_EVENTS = st.builds(
    lambda run, state, reads, writes, second: run_event(
        run, state, reads, writes, at=f"2026-01-01T00:00:{second:02d}Z"
    ),
    st.integers(1, 3), _STATES, st.lists(_DATASETS, max_size=2), st.lists(_DATASETS, max_size=2),
    st.integers(0, 9),
)  # fmt: skip


@given(st.lists(_EVENTS, max_size=8), st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(said: list[Any], chance: random.Random):
    again = said + said[: len(said) // 2]
    chance.shuffle(again)
    assert picture(graph_of(*said) if said else Graph()) == picture(graph_of(*again) if again else Graph())


@given(st.lists(_EVENTS, min_size=1, max_size=8))
def test_what_is_below_is_above_the_other_way(said: list[Any]):
    view = View([graph_of(*said)])
    below = {id_: {node.id for node in walk(view, [id_], "down").nodes} for id_ in view}
    above = {id_: {node.id for node in walk(view, [id_], "up").nodes} for id_ in view}
    for id_, found in below.items():
        assert all(id_ in above[other] for other in found)


def test_a_run_ends_once_whatever_is_told_later():
    graph = graph_of(
        run_event(1, "FAIL", at="2026-01-01T00:00:09Z"),
        run_event(1, "COMPLETE", at="2026-01-01T00:00:05Z"),
        run_event(1, "RUNNING", at="2026-01-01T00:00:20Z"),
        run_event(1, "START", at="2026-01-01T00:00:30Z"),
    )
    node = graph.node(run_node(1))
    assert node is not None
    assert node.state == "COMPLETE"
    assert node.detail["contradicted"] is True
    assert graph.ends_contradicted == 1


def test_versions_of_a_data_set_are_kept_apart():
    graph = graph_of(
        run_event(1, reads=[dataset("raw", "1")], writes=[model("m", "1")]),
        run_event(2, reads=[dataset("raw", "2")], writes=[model("m", "2")]),
    )
    assert "model:m@1" in reached([graph], "raw@1")
    assert "model:m@2" not in reached([graph], "raw@1")
    assert {"model:m@1", "model:m@2"} <= reached([graph], "raw")
    assert "dataset:lake#raw@1" not in reached([graph], "model:m@2", "up")


def test_who_did_not_say_a_version_may_have_read_any_and_that_is_told():
    graph = graph_of(
        run_event(1, writes=[dataset("raw", "1")]),
        run_event(2, reads=[dataset("raw")], writes=[model("m", "1")]),
    )
    view = View([graph])
    found = walk(view, ["dataset:lake#raw@1"], "down")
    assert "model:m@1" in {node.id for node in found.nodes}
    assert [edge.assumed for edge in found.edges if edge.target == run_node(2)] == [True]


def test_a_declared_version_is_joined_by_its_digest():
    graph = graph_of(run_event(1, reads=[dataset("raw", "1")], writes=[model("credit", DIGEST)]))
    native = build_native(
        [VersionFacts(resource="credit-3", model="credit", version="3", digest=DIGEST)],
        [ReleaseFacts(endpoint="loans", release="credit@3", model="credit", version="3")],
        [EndpointFacts(name="loans", label="public")],
        graph,
    )
    found = reached([graph, native], "raw@1")
    assert {"model:credit@3", "release:loans/credit@3", "endpoint:loans"} <= found
    assert "dataset:lake#raw@1" in reached([graph, native], "endpoint:loans", "up")
    assert find(View([graph, native]), "credit-3") == "model:credit@3"


def test_what_a_version_declares_is_lineage():
    trained = TrainedOn(dataset=DatasetName(namespace="lake", name="people", version="9"), label="restricted")
    native = build_native(
        [
            VersionFacts(
                resource="m-1", model="m", version="1", datasets=(trained,), features=("age",), runs=("r",)
            ),
            VersionFacts(resource="n-1", model="n", version="1", parents=("m@1",)),
        ],
        [ReleaseFacts(endpoint="e", release="n@1", model="n", version="1")],
        [EndpointFacts(name="e", label="internal")],
        Graph(),
    )
    view = View([native])
    assert {"feature:age", "run:r", "model:m@1", "model:n@1", "endpoint:e"} <= reached([native], "people@9")
    assert effective_labels(view)["endpoint:e"] == ("restricted", "dataset:lake#people@9")


def test_a_class_of_a_whole_data_set_is_that_of_its_versions():
    graph = graph_of(
        run_event(1, reads=[dataset("raw", "1")], writes=[dataset("clean")]),
        run_event(2, reads=[dataset("raw", label="confidential")]),
    )
    assert effective_labels(View([graph]))["dataset:lake#clean"][0] == "confidential"


def test_a_circle_ends():
    graph = graph_of(
        run_event(1, reads=[dataset("a")], writes=[dataset("b")]),
        run_event(2, reads=[dataset("b")], writes=[dataset("a")]),
    )
    assert len(reached([graph], "dataset:lake#a")) == 4


def test_what_may_be_several_things_is_refused_with_their_ids():
    view = View([graph_of(run_event(1, reads=[dataset("a"), dataset("a", namespace="pond")]))])
    with pytest.raises(Refused, match="lake#a, dataset:pond#a"):
        find(view, "a")
    assert find(view, "pond/a") == "dataset:pond#a"
    with pytest.raises(Refused, match="Nothing"):
        find(view, "b")


def test_names_cannot_pose_as_others():
    graph = graph_of(run_event(1, reads=[dataset("x@1"), dataset("b#c", namespace="a"), dataset("x", "1")]))
    assert {"dataset:lake#x%401", "dataset:lake#x@1", "dataset:a#b%23c"} <= set(graph)


def test_what_is_beyond_the_bounds_is_counted():
    graph = Graph(nodes_max=3, edges_max=1)
    for event in read(run_event(1, reads=[dataset("a"), dataset("b"), dataset("c")])):
        fold(graph, event)
    assert len(graph) == 3
    assert graph.edges == 1
    assert graph.dropped > 0


def test_what_was_learnt_later_was_not_known_then():
    first, second = (
        read(run_event(1, reads=[dataset("a")], writes=[dataset("b")])),
        read(run_event(2, reads=[dataset("b")], writes=[dataset("c")])),
    )
    graph = Graph()
    fold(graph, first[0])
    later = second[0]
    fold(
        graph,
        type(later)(
            *(
                later.at_ns + 10 if name == "at_ns" else getattr(later, name)
                for name in later.__struct_fields__
            )
        ),
    )
    view = View([graph], as_of_ns=first[0].at_ns)
    assert "dataset:lake#c" not in {node.id for node in walk(view, ["dataset:lake#a"], "down").nodes}


def test_drawings_hold_no_markup_of_others():
    nodes = [{"id": 'dataset:x#"]; evil --> <b>\\', "type": "dataset"}, {"id": "run:1", "type": "run"}]
    edges = [
        {"source": nodes[0]["id"], "target": "run:1", "assumed": True},
        {"source": "?", "target": "run:1"},
    ]
    dot, mermaid = to_dot(nodes, edges), to_mermaid(nodes, edges)
    assert '\\"]; evil' in dot
    assert "n0 -> n1 [style=dashed];" in dot
    assert "<b>" not in mermaid
    assert '"]' not in mermaid.splitlines()[1][:-2]
    assert Node(id="a", type="run", name="a").detail == {}


@given(st.lists(_EVENTS, min_size=1, max_size=8))
def test_nothing_has_a_lower_class_than_what_it_came_from(said: list[Any]):
    view = View([graph_of(*said)])
    labels, own = effective_labels(view), view.labelled()
    for id_ in view:
        above = [own[node.id] for node in walk(view, [id_], "up").nodes if node.id in own]
        assert labels.get(id_, ("public", ""))[0] == highest(above)
