"""The graph in memory: nodes and edges by id, bounded, and the same whatever the order in which things came.

Everything that is added is merged by rules that do not ask what came first. Not thread-safe: one owner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from andon.kernel.labels import RANKS, Label
from andon.security.lineage.model import Edge, Node, NodeType

NODES_MAX: Final = 200_000
EDGES_MAX: Final = 1_000_000
FACETS_BYTES_MAX: Final = 128 * 2**20  # held as they came, as JSON; the log has all

Stamp = tuple[int, str]  # when something was said, and by which event: what came later stands


class _Known:
    """One node as it grows."""

    __slots__ = ("detail", "first_ns", "label", "name", "namespace", "parts", "state", "type", "version")

    def __init__(self, type_: NodeType, namespace: str, name: str, version: str) -> None:
        self.type: NodeType = type_
        self.namespace = namespace
        self.name = name
        self.version = version
        self.label: tuple[Stamp, Label | None] | None = None
        self.state: tuple[bool, Stamp, str] | None = None  # whether it is an end, and since when
        self.parts: dict[str, tuple[Stamp, Any]] = {}
        self.first_ns = 0


class Graph:
    """Nodes and edges. Adding beyond the bounds is counted, never an error."""

    def __init__(self, nodes_max: int = NODES_MAX, edges_max: int = EDGES_MAX) -> None:
        self._nodes: dict[str, _Known] = {}
        self._down: dict[str, dict[str, Edge]] = {}
        self._up: dict[str, dict[str, Edge]] = {}
        self._versions: dict[str, set[str]] = {}  # of a data set or model without a version: those with one
        self._base: dict[str, str] = {}
        self._nodes_max = nodes_max
        self._edges_max = edges_max
        self.edges = 0
        self.facets_bytes = 0
        self.dropped = 0  # nodes, edges and facets beyond the bounds
        self.ends_contradicted = 0  # runs that were said to end in two ways

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, id_: str) -> bool:
        return id_ in self._nodes

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def add(self, id_: str, type_: NodeType, name: str, *, namespace: str = "", version: str = "") -> bool:
        """There is such a node. False where there is no room for it."""
        if id_ in self._nodes:
            return True
        if len(self._nodes) >= self._nodes_max:
            self.dropped += 1
            return False
        self._nodes[id_] = _Known(type_, namespace, name, version)
        return True

    def add_version(self, base: str, id_: str) -> None:
        """One node is a version of another; both are there."""
        if base in self._nodes and id_ in self._nodes and base != id_:
            self._versions.setdefault(base, set()).add(id_)
            self._base[id_] = base

    def connect(self, source: str, target: str, kind: str, learnt_ns: int) -> None:
        """`target` was made from `source`; the first time it was learnt stays."""
        if source == target or source not in self._nodes or target not in self._nodes:
            return
        known = self._down.get(source, {}).get(target)
        if known is None:
            if self.edges >= self._edges_max:
                self.dropped += 1
                return
            self.edges += 1
        elif (known.learnt_ns, known.kind) <= (learnt_ns, kind):
            return
        edge = Edge(source=source, target=target, kind=kind, learnt_ns=learnt_ns)
        self._down.setdefault(source, {})[target] = edge
        self._up.setdefault(target, {})[source] = edge

    def tell(self, id_: str, name: str, value: Any, stamp: Stamp) -> None:
        """Something about a node; what was said latest stands."""
        node = self._nodes.get(id_)
        if node is None:
            return
        known = node.parts.get(name)
        if known is not None and known[0] >= stamp:
            return
        more = _size(value) - (_size(known[1]) if known is not None else 0)
        if more > 0 and self.facets_bytes + more > FACETS_BYTES_MAX:
            self.dropped += 1
            return
        self.facets_bytes += more
        node.parts[name] = (stamp, value)

    def classify(self, id_: str, label: Label | None, stamp: Stamp) -> None:
        """Its data class, or that it has none; of two said at one moment the higher stands."""
        node = self._nodes.get(id_)
        if node is None:
            return
        rank = (stamp, RANKS.get(label or "", -1))
        if node.label is None or (node.label[0], RANKS.get(node.label[1] or "", -1)) < rank:
            node.label = (stamp, label)

    def state(self, id_: str, state: str, ends: bool, stamp: Stamp) -> None:
        """How a run stands. An end stands over all else; of two ends the earlier, whichever came first."""
        node = self._nodes.get(id_)
        if node is None:
            return
        known = node.state
        if known is not None and known[0] and ends and known[2] != state:
            self.ends_contradicted += 1
            node.parts["contradicted"] = ((0, ""), True)
        earlier = known is None or (known[0] == ends and ((stamp < known[1]) if ends else (stamp > known[1])))
        if known is None or (ends and not known[0]) or earlier:
            node.state = (ends, stamp, state)

    def node(self, id_: str) -> Node | None:
        """A node as it stands."""
        known = self._nodes.get(id_)
        if known is None:
            return None
        return Node(
            id=id_,
            type=known.type,
            namespace=known.namespace,
            name=known.name,
            version=known.version,
            label=known.label[1] if known.label else None,
            state=known.state[2] if known.state else "",
            detail={name: known.parts[name][1] for name in sorted(known.parts)},
        )

    def name(self, id_: str) -> str:
        """What a node is called; empty where there is none."""
        known = self._nodes.get(id_)
        return known.name if known is not None else ""

    def labelled(self) -> Iterator[tuple[str, Label]]:
        """Nodes whose class somebody said."""
        for id_, known in self._nodes.items():
            if known.label is not None and known.label[1] is not None:
                yield id_, known.label[1]

    def down(self, id_: str) -> Mapping[str, Edge]:
        """What was made from it, by id."""
        return self._down.get(id_, {})

    def up(self, id_: str) -> Mapping[str, Edge]:
        """What it was made from, by id."""
        return self._up.get(id_, {})

    def versions(self, base: str) -> Sequence[str]:
        """Its versions."""
        return sorted(self._versions.get(base, ()))

    def base(self, id_: str) -> str:
        """What it is a version of; empty where it is none."""
        return self._base.get(id_, "")


def _size(value: Any) -> int:
    return len(msgspec.json.encode(value)) if isinstance(value, dict) else 0
