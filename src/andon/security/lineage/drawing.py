"""The graph as text for others to draw: DOT (Graphviz) and Mermaid. Pure.

Names come from outside: everything that could end a quotation or begin markup is written as its code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_SHAPES: Final[Mapping[str, str]] = {
    "dataset": "cylinder",
    "feature": "note",
    "run": "box",
    "job": "box",
    "model": "component",
    "release": "cds",
    "endpoint": "house",
    "window": "tab",
    "request": "plain",
}


def to_dot(nodes: Sequence[Mapping[str, Any]], edges: Sequence[Mapping[str, Any]]) -> str:
    """A digraph from left to right; what is assumed is dashed."""
    names = {node["id"]: f"n{number}" for number, node in enumerate(nodes)}
    lines = ["digraph lineage {", "  rankdir=LR;"]
    for node in nodes:
        shape = _SHAPES.get(node["type"], "box")
        lines.append(f'  {names[node["id"]]} [shape={shape}, label="{_dot(_title(node))}"];')
    for edge in _drawn(edges, names):
        style = " [style=dashed]" if edge.get("assumed") else ""
        lines.append(f"  {names[edge['source']]} -> {names[edge['target']]}{style};")
    return "\n".join([*lines, "}"])


def to_mermaid(nodes: Sequence[Mapping[str, Any]], edges: Sequence[Mapping[str, Any]]) -> str:
    """A flowchart from left to right; what is assumed is dotted."""
    names = {node["id"]: f"n{number}" for number, node in enumerate(nodes)}
    lines = ["flowchart LR"]
    lines += [f'  {names[node["id"]]}["{_mermaid(_title(node))}"]' for node in nodes]
    for edge in _drawn(edges, names):
        arrow = "-.->" if edge.get("assumed") else "-->"
        lines.append(f"  {names[edge['source']]} {arrow} {names[edge['target']]}")
    return "\n".join(lines)


def _drawn(edges: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> list[Mapping[str, Any]]:
    return [edge for edge in edges if edge["source"] in names and edge["target"] in names]


def _title(node: Mapping[str, Any]) -> str:
    label = f" [{node['label']}]" if node.get("label") else ""
    state = f" {node['state']}" if node.get("state") else ""
    return f"{node['id']}{label}{state}"


def _dot(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def _mermaid(text: str) -> str:
    return "".join(
        letter if letter.isalnum() or letter in " .:/_-@=+,()" else f"#{ord(letter)};" for letter in text
    )
