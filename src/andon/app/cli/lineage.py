"""Verbs about lineage: what came from a data set, what a model came from, which answers a bad data set has reached.

A node is named by its id, or by as much of it as is unambiguous; the id of a request stands for its release.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from andon.app.cli.journal import moment
from andon.app.cli.output import emit, emit_table, say
from andon.app.cli.session import Session
from andon.app.cli.table import cell, printable, render_table
from andon.kernel.errors import Refused
from andon.security.lineage.drawing import to_dot, to_mermaid

_HEADINGS = ("NODE", "TYPE", "LABEL", "STATE")
_SERVED_HEADINGS = ("ENDPOINT", "RELEASE", "ANSWERS", "FIRST", "LAST")
_LABEL_HEADINGS = ("NODE", "DECLARED", "BY LINEAGE", "BELOW", "BECAUSE OF")
_LINES_MAX = 2000  # of a tree
_LISTED = 20
_PAGE = 10_000

NodeName = Annotated[str, typer.Argument(help="A node: its id, NAME, NAMESPACE/NAME or NAME@VERSION.")]
AsOf = Annotated[str, typer.Option("--as-of", help="Only what was known by then, RFC 3339.")]
Since = Annotated[str, typer.Option(help="How far back answers are counted.")]
Depth = Annotated[int, typer.Option(min=0, help="Steps; 0 for all.")]
Draw = Annotated[str, typer.Option("--draw", help="tree, table, dot or mermaid.")]


def build() -> typer.Typer:
    """The group `andon lineage`."""
    app = typer.Typer(
        help="Lineage: from data sets to answers, and back.",
        invoke_without_command=True,
        rich_markup_mode=None,
    )
    app.callback()(overview)
    for verb in (up, down, impact, labels):
        app.command()(verb)
    return app


def overview(
    context: typer.Context,
    type_: Annotated[str, typer.Option("--type", help="Only of this type, such as dataset.")] = "",
    text: Annotated[str, typer.Option(help="Only ids that hold this text.")] = "",
) -> None:
    """Every node that is known."""
    if context.invoked_subcommand is not None:
        return
    session: Session = context.obj
    page = session.client().get("/v1/lineage", type=type_, text=text, limit=5000)
    emit_table(session, page, _HEADINGS, [_line(node) for node in page["items"]])


def up(
    context: typer.Context, node: NodeName, depth: Depth = 0, as_of: AsOf = "", draw: Draw = "tree"
) -> None:
    """What a node came from: a model, an endpoint, a data set, or a request by its id."""
    _show(context, node, {"direction": "up", "depth": depth, "as_of": as_of}, draw)


def down(
    context: typer.Context,
    node: NodeName,
    depth: Depth = 0,
    as_of: AsOf = "",
    since: Annotated[str, typer.Option(help="How far back hours of answers are shown.")] = "24h",
    draw: Draw = "tree",
) -> None:
    """What came from a node, down to the hours in which it answered."""
    _show(context, node, {"direction": "down", "depth": depth, "as_of": as_of, "since": since}, draw)


def impact(
    context: typer.Context,
    node: NodeName,
    since: Since = "365d",
    as_of: AsOf = "",
    ids: Annotated[bool, typer.Option("--ids", help="The id of every answer, one on a line.")] = False,
) -> None:
    """What a bad data set has reached: models, releases, endpoints, and which answers."""
    session: Session = context.obj
    if ids:
        for id_ in _affected(session, node, since, as_of):
            say(id_)
        return
    answer = session.client().get("/v1/lineage/impact", node=node, since=since, as_of=as_of)
    emit(session, answer, lambda: _impact(answer, session.colour), answer["releases"])


def labels(context: typer.Context) -> None:
    """Data classes of models and endpoints, by what they came from."""
    session: Session = context.obj
    page = session.client().get("/v1/lineage/labels")
    rows = [
        [
            printable(item["node"]),
            cell(item["declared"]),
            item["effective"],
            "yes" if item["below"] else "-",
            printable(item["because"]) or "-",
        ]
        for item in page["items"]
    ]
    emit_table(session, page, _LABEL_HEADINGS, rows)


def _show(context: typer.Context, node: str, asked: dict[str, Any], draw: str) -> None:
    if draw not in ("tree", "table", "dot", "mermaid"):
        raise Refused("output_unknown", "That is no drawing.", hint="--draw tree, table, dot or mermaid.")
    session: Session = context.obj
    answer = session.client().get("/v1/lineage/graph", node=node, **asked)
    nodes, edges = answer["nodes"], answer["edges"]

    def text() -> str:
        if draw == "dot":
            return to_dot(nodes, edges)
        if draw == "mermaid":
            return to_mermaid(nodes, edges)
        if draw == "table":
            return render_table(_HEADINGS, [_line(one) for one in nodes], session.colour)
        return "\n".join(_tree(answer))

    emit(session, answer, text, [one["id"] for one in nodes])


def _line(node: dict[str, Any]) -> list[str]:
    return [printable(node["id"]), node["type"], cell(node.get("label")), cell(node.get("state"))]


def _tree(answer: dict[str, Any]) -> list[str]:
    """Each node once with what is below it; where it comes again, it is only named."""
    nodes = {node["id"]: node for node in answer["nodes"]}
    here, there = ("source", "target") if answer["direction"] == "down" else ("target", "source")
    near: dict[str, list[dict[str, Any]]] = {}
    for edge in answer["edges"]:
        near.setdefault(edge[here], []).append(edge)
    lines: list[str] = []
    told: set[str] = set()
    waiting = [(id_, "", "", False) for id_ in reversed(answer["start"])]
    while waiting and len(lines) < _LINES_MAX:
        id_, lead, mark, assumed = waiting.pop()
        again = id_ in told and id_ in near
        if not lead and not mark and id_ in told:
            continue
        told.add(id_)
        lines.append(lead + mark + _title(nodes.get(id_, {"id": id_}), assumed) + (" …" if again else ""))
        if again:
            continue
        below = near.get(id_, [])
        inner = lead + ("" if not mark else "   " if mark.startswith("└") else "│  ")
        for number, edge in enumerate(reversed(below)):
            waiting.append((edge[there], inner, "└─ " if number == 0 else "├─ ", bool(edge.get("assumed"))))
    if waiting or answer["truncated"]:
        lines.append("There is more; -o json has it, or ask for fewer steps with --depth.")
    return lines


def _title(node: dict[str, Any], assumed: bool) -> str:
    detail = node.get("detail", {})
    told = [str(node[name]) for name in ("label", "state") if node.get(name)]
    if node.get("type") == "run" and detail.get("job"):
        told.append(str(detail["job"]).removeprefix("job:"))
    if node.get("type") == "release" and detail.get("state"):
        told.append(str(detail["state"]))
    if node.get("type") == "window":
        told.append(f"{detail['answers']} answers")
    if assumed:
        told.append("assumed: no version was said")
    return printable(node["id"] + (f"  ({', '.join(told)})" if told else ""))


def _impact(answer: dict[str, Any], colour: bool) -> str:
    lines = [f"As known at {moment(answer['as_of_ns'])}, answers since {moment(answer['since_ns'])}:"]
    for name in ("datasets", "runs", "models", "releases", "endpoints"):
        found = answer[name]
        shown = ", ".join(printable(one) for one in found[:_LISTED]) or "none"
        count = answer["counts"][name]
        more = f" and {count - _LISTED} more" if count > _LISTED else ""
        lines.append(f"  {count} {name}: {shown}{more}")
    lines.append(f"  {answer['answers']} answers; --ids prints their ids")
    if answer["assumed"]:
        lines.append(
            f"  {answer['counts']['assumed']} of these by assumption: nobody said which version was read"
        )
    if answer["incomplete"]:
        lines.append("  There may be more: part of the lineage is beyond what is held. See: andon lineage")
    rows = [
        [
            one["endpoint"],
            one["release"],
            str(one["answers"]),
            moment(one["first_ns"]),
            moment(one["last_ns"]),
        ]
        for one in answer["served"]
    ]
    return "\n".join(lines) + ("\n\n" + render_table(_SERVED_HEADINGS, rows, colour) if rows else "")


def _affected(session: Session, node: str, since: str, as_of: str) -> Iterator[str]:
    after = ""
    while True:
        page = session.client().get(
            "/v1/lineage/answers", node=node, since=since, as_of=as_of, after=after, limit=_PAGE
        )
        for item in page["items"]:
            yield item["id"]
        after = page["next"]
        if not after:
            return
