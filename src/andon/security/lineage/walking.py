"""Asking the graph: what came from a node, what a node came from, and which classes that carries along. Pure.

Several graphs are seen as one. Where nobody said which version was read, every version that may be meant is taken, and
the edge says that it is assumed: what is asked is whether something may be affected.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from andon.kernel.errors import Refused
from andon.kernel.labels import LABELS, Label, highest
from andon.security.lineage.graph import Graph
from andon.security.lineage.model import Edge, Node

Direction = Literal["up", "down"]
NODES_MAX: Final = 5000  # of one answer
CANDIDATES_MAX: Final = 10


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the graph, as seen from where one asked."""

    start: tuple[str, ...]
    nodes: tuple[Node, ...]  # nearest first
    edges: tuple[Edge, ...]
    truncated: bool = False


class View:
    """Graphs as one, as it was known at a moment."""

    def __init__(self, graphs: Sequence[Graph], as_of_ns: int = 0) -> None:
        self._graphs = graphs
        self._as_of_ns = as_of_ns

    def __iter__(self) -> Iterator[str]:
        seen: set[str] = set()
        for graph in self._graphs:
            for id_ in graph:
                if id_ not in seen:
                    seen.add(id_)
                    yield id_

    def node(self, id_: str) -> Node | None:
        """A node with all that is said of it; classes add up to the highest."""
        found: Node | None = None
        for graph in self._graphs:
            node = graph.node(id_)
            if node is None:
                continue
            if found is None:
                found = node
                continue
            labels = [one.label for one in (found, node) if one.label is not None]
            found = msgspec.structs.replace(
                found,
                label=highest(labels) if labels else None,
                state=found.state or node.state,
                detail={**found.detail, **node.detail},
            )
        return found

    def name(self, id_: str) -> str:
        """What a node is called."""
        return next((name for graph in self._graphs if (name := graph.name(id_))), "")

    def labelled(self) -> dict[str, Label]:
        """Nodes whose class somebody said, each with the highest said; of a data set, its versions too."""
        found: dict[str, list[Label]] = {}
        for graph in self._graphs:
            for id_, label in graph.labelled():
                for one in (id_, *self.versions(id_)):
                    found.setdefault(one, []).append(label)
        return {id_: highest(labels) for id_, labels in found.items()}

    def base(self, id_: str) -> str:
        """What it is a version of."""
        return next((base for graph in self._graphs if (base := graph.base(id_))), "")

    def versions(self, base: str) -> list[str]:
        """Every known version."""
        return sorted({id_ for graph in self._graphs for id_ in graph.versions(base)})

    def neighbours(self, id_: str, direction: Direction) -> list[Edge]:
        """One step, assumptions included."""
        return self._down(id_) if direction == "down" else self._up(id_)

    def _down(self, id_: str) -> list[Edge]:
        found = self._edges(id_, "down")
        base = self.base(id_)
        if base:
            # Who read the data set without saying which version may have read this one.
            for edge in self._edges(base, "down").values():
                if edge.target not in found:
                    found[edge.target] = msgspec.structs.replace(edge, source=id_, assumed=True)
        for version in self.versions(id_):
            if version not in found and not self._edges(version, "up"):
                found[version] = Edge(source=id_, target=version, kind="version", assumed=True)
        return list(found.values())

    def _up(self, id_: str) -> list[Edge]:
        found = self._edges(id_, "up")
        for edge in list(found.values()):
            for version in self.versions(edge.source):
                if version not in found and version != id_:
                    found[version] = msgspec.structs.replace(edge, source=version, assumed=True)
        base = self.base(id_)
        if base and not found:
            found[base] = Edge(source=base, target=id_, kind="version", assumed=True)
        return list(found.values())

    def _edges(self, id_: str, direction: Direction) -> dict[str, Edge]:
        found: dict[str, Edge] = {}
        for graph in self._graphs:
            near: Mapping[str, Edge] = graph.down(id_) if direction == "down" else graph.up(id_)
            for other, edge in near.items():
                if not self._as_of_ns or edge.learnt_ns <= self._as_of_ns:
                    found.setdefault(other, edge)
        return found


def walk(
    view: View, start: Iterable[str], direction: Direction, depth: int = 0, nodes_max: int = NODES_MAX
) -> Found:
    """Everything that can be reached, breadth first, at most `depth` steps away (0 = any)."""
    begin = tuple(start)
    seen = dict.fromkeys(begin, 0)
    waiting = deque(begin)
    edges: dict[tuple[str, str], Edge] = {}
    truncated = False
    while waiting:
        id_ = waiting.popleft()
        if depth and seen[id_] >= depth:
            continue
        for edge in view.neighbours(id_, direction):
            other = edge.target if direction == "down" else edge.source
            if other not in seen:
                if len(seen) >= nodes_max:
                    truncated = True
                    continue
                seen[other] = seen[id_] + 1
                waiting.append(other)
            edges[(edge.source, edge.target)] = edge
    nodes = tuple(node for id_ in seen if (node := view.node(id_)) is not None)
    return Found(start=begin, nodes=nodes, edges=tuple(edges.values()), truncated=truncated)


def starts(view: View, id_: str, direction: Direction) -> list[str]:
    """Where asking about a node begins: a data set without a version stands for all of them, a job for its runs."""
    node = view.node(id_)
    found = [id_]
    if node is not None and node.type in ("dataset", "model") and not node.version:
        found += view.versions(id_)
    if node is not None and node.type == "job":
        found += [
            one
            for one in view
            if one.startswith("run:") and (view.node(one) or node).detail.get("job") == id_
        ]
    return found


def find(view: View, text: str) -> str:
    """The node that a person means: by its id, or by as much of it as is unambiguous.

    Raises `Refused` (`lineage_unknown`, `lineage_ambiguous`).
    """
    if view.node(text) is not None:
        return text
    found = []
    for id_ in view:
        # Cheap first: every way to say a node holds its name, but for its id.
        if (view.name(id_) in text or id_.partition(":")[2] == text) and text in _names(view, id_):
            found.append(id_)
            if len(found) > CANDIDATES_MAX:
                break
    exact = [id_ for id_ in found if id_.partition(":")[2] == text]
    found = exact if len(exact) == 1 else found
    if len(found) == 1:
        return found[0]
    if not found:
        raise Refused(
            "lineage_unknown",
            "Nothing of that name is in the lineage.",
            hint="andon lineage lists what is; name a version as NAME@VERSION.",
            status=404,
        )
    raise Refused(
        "lineage_ambiguous",
        f"That may be {len(found)} things: {', '.join(found[:CANDIDATES_MAX])}.",
        hint="Give one of these.",
        status=409,
    )


def _names(view: View, id_: str) -> set[str]:
    node = view.node(id_)
    if node is None:
        return set()
    after = f"@{node.version}" if node.version else ""
    names = {id_.partition(":")[2], f"{node.name}{after}"}
    if node.namespace:
        names |= {f"{node.namespace}{between}{node.name}{after}" for between in ("/", ":", "#")}
    if node.type == "model":
        names |= {f"model/{node.name}{after}", *(str(one) for one in (node.detail.get("resource"),) if one)}
    return names


def effective_labels(view: View) -> dict[str, tuple[Label, str]]:
    """The class of everything by all that it came from, and a node that makes it so; what is public is left out.

    One pass, the highest class first: each node is visited once.
    """
    found: dict[str, tuple[Label, str]] = {}
    labelled = view.labelled()
    for label in reversed(LABELS[1:]):
        waiting = deque((id_, id_) for id_, said in sorted(labelled.items()) if said == label)
        while waiting:
            id_, because = waiting.popleft()
            if id_ in found:
                continue
            found[id_] = (label, because)
            waiting.extend((edge.target, because) for edge in view.neighbours(id_, "down"))
    return found


def in_short(detail: Mapping[str, Any]) -> dict[str, Any]:
    """A node's detail without facets as they came."""
    return {name: value for name, value in detail.items() if not isinstance(value, dict)}
