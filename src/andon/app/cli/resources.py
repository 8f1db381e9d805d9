"""Verbs that look at resources: get, describe, explain.

Kinds, their short names and their columns come from the API, so a new kind needs nothing here.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from andon.app.cli.access import explain_access
from andon.app.cli.client import Client, segment
from andon.app.cli.journal import HEADINGS, event_rows, moment
from andon.app.cli.output import emit, emit_table, to_yaml
from andon.app.cli.releases import explain_rollout
from andon.app.cli.session import Session
from andon.app.cli.table import age, at_path, cell, render_table
from andon.kernel.errors import AndonError, Refused

WATCH_S = 1.0


def register(app: typer.Typer) -> None:
    """Add the verbs of this group."""
    for verb in (get, describe, explain):
        app.command()(verb)


def get(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help="A kind, its plural or its short name; 'kinds' lists them.")],
    name: Annotated[str, typer.Argument(help="Only this one.")] = "",
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Go on, printing what changes.")] = False,
) -> None:
    """List resources."""
    session: Session = context.obj
    client = session.client()
    kinds = client.get("/v1/kinds")
    if kind.lower() in ("kind", "kinds"):
        emit_table(
            session, kinds, ("NAME", "PLURAL", "SHORT", "MADE BY", "MEANING"), _kind_rows(kinds["items"])
        )
        return
    found = find_kind(kinds["items"], kind)
    items = _fetch(client, found["name"], name)
    wide = session.output == "wide"
    answer: Any = items[0] if name else {"items": items}
    headings = _headings(found, wide)
    now_s = session.now_s()
    emit_table(session, answer, headings, [_row(item, found, wide, now_s) for item in items])
    if watch:
        _watch(session, lambda: _fetch(client, found["name"], name), items, found)


def _watch(
    session: Session,
    fetch: Callable[[], list[dict[str, Any]]],
    items: list[dict[str, Any]],
    kind: dict[str, Any],
) -> None:
    """Print what changes until the person ends it."""
    seen = {item["metadata"]["name"]: item for item in items}
    while True:
        session.pause(WATCH_S)
        for item in fetch():
            if seen.get(item["metadata"]["name"]) == item:
                continue
            seen[item["metadata"]["name"]] = item
            row = _row(item, kind, session.output == "wide", session.now_s())
            emit(session, item, partial("   ".join, row))


def describe(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help="A kind, its plural or its short name.")],
    name: Annotated[str, typer.Argument(help="Which one.")],
) -> None:
    """Everything about one resource: what it should be, what it is, what happened to it."""
    session: Session = context.obj
    client = session.client()
    found = find_kind(client.get("/v1/kinds")["items"], kind)
    item = _fetch(client, found["name"], name)[0]
    subject = f"{found['name']}/{name}"
    events = client.get("/v1/events", subject=subject, newest=True, limit=20)["items"]
    emit(
        session,
        {**item, "events": events},
        lambda: render_description(item, events, session.colour),
        [subject],
    )


def explain(
    context: typer.Context,
    topic: Annotated[
        str, typer.Argument(help="KIND or KIND.path, such as Endpoint.spec.release; or 'rollout', 'access'.")
    ],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]", help="With 'rollout': which; with 'access': who, what, on what."),
    ] = None,
    given: Annotated[
        list[str] | None, typer.Option("--context", help="With 'access': FIELD=VALUE; may be repeated.")
    ] = None,
) -> None:
    """What a field means; why a release stands where it stands; or why an access is allowed or not.

    andon explain Endpoint.spec.release; andon explain rollout NAME; andon explain access PRINCIPAL ACTION RESOURCE.
    """
    session: Session = context.obj
    if topic.lower() == "access":
        explain_access(session, words or [], given)
        return
    if words:
        name = words[0]
        if topic.lower() not in ("rollout", "rollouts", "ro"):
            raise Refused(
                "topic_unknown",
                f"Only rollouts have a verdict, not {topic}.",
                hint="andon explain rollout NAME",
            )
        explain_rollout(session, name)
        return
    answer = session.client().get("/v1/explanations", path=topic)
    emit(session, answer, lambda: render_topic(answer), [answer["path"]])


def find_kind(kinds: list[dict[str, Any]], word: str) -> dict[str, Any]:
    """The kind that a person means; raises `Refused` with the nearest name."""
    wanted = word.lower()
    names: list[str] = []
    for kind in kinds:
        spoken = [kind["name"].lower(), kind["plural"].lower(), *kind["short"]]
        if wanted in spoken:
            return kind
        names += spoken[:2]
    close = difflib.get_close_matches(wanted, names, 1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    raise Refused("unknown_kind", f"There is no kind '{word}'.", hint=f"{hint}andon get kinds lists them.")


def _fetch(client: Client, kind: str, name: str) -> list[dict[str, Any]]:
    if not name:
        items: list[dict[str, Any]] = client.get(f"/v1/resources/{segment(kind)}")["items"]
        return items
    try:
        return [client.get(f"/v1/resources/{segment(kind)}/{segment(name)}")]
    except AndonError as error:
        if error.status != 404:
            raise
        present = [item["metadata"]["name"] for item in _fetch(client, kind, "")]
        close = difflib.get_close_matches(name, present, 1)
        hint = f"Did you mean '{close[0]}'?" if close else f"andon get {kind} lists those that there are."
        raise Refused(error.code, f"There is no {kind} '{name}'.", hint=hint, status=404) from error


def _kind_rows(kinds: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [
            kind["name"],
            kind["plural"],
            cell(kind["short"]),
            "andon" if kind["generated"] else "you",
            kind["summary"],
        ]
        for kind in kinds
    ]


def _headings(kind: dict[str, Any], wide: bool) -> list[str]:
    own = [column["heading"] for column in kind["columns"]]
    return ["NAME", *own, "AGE", *(["GENERATION", "OWNER", "LABELS"] if wide else [])]


def _row(item: dict[str, Any], kind: dict[str, Any], wide: bool, now_s: float) -> list[str]:
    metadata = item["metadata"]
    cells = [metadata["name"], *(cell(at_path(item, column["path"])) for column in kind["columns"])]
    cells.append(age(now_s - metadata["createdNs"] / 1e9) if metadata["createdNs"] else "-")
    if wide:
        labels = [f"{name}={value}" for name, value in metadata["labels"].items()]
        cells += [str(metadata["generation"]), cell(metadata["owner"]), cell(labels)]
    return cells


def render_description(item: dict[str, Any], events: list[dict[str, Any]], colour: bool) -> str:
    """One resource for people, its conditions and its latest events at the end."""
    metadata = item["metadata"]
    lines = [
        f"Name:        {metadata['name']}",
        f"Kind:        {item['kind']}",
        f"Labels:      {cell([f'{name}={value}' for name, value in metadata['labels'].items()])}",
        f"Generation:  {metadata['generation']}",
        f"Owner:       {metadata['owner'] or 'you'}",
        f"Created:     {moment(metadata['createdNs'])}",
    ]
    status = dict(item["status"])
    conditions = status.pop("conditions", [])
    for title, part in (("Spec", item["spec"]), ("Status", status)):
        lines.append(f"{title}:" if part else f"{title}:".ljust(13) + "-")
        if part:
            lines += ["  " + line for line in to_yaml(part).splitlines()]
    if conditions:
        rows = [[cell(one.get(key)) for key in ("type", "status", "reason", "message")] for one in conditions]
        lines += [
            "Conditions:",
            _indented(render_table(("TYPE", "STATUS", "REASON", "MESSAGE"), rows, colour)),
        ]
    if events:
        lines += ["Events:", _indented(render_table(HEADINGS, event_rows(events), colour))]
    return "\n".join(lines)


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())


def render_topic(answer: dict[str, Any]) -> str:
    """A kind or field for people: its meaning, then the fields below it."""
    lines = [answer["path"], f"  {answer['description'] or 'Not described.'}"]
    if not answer["fields"]:
        default = "required" if answer["required"] else f"default {cell(answer['default'])}"
        return "\n".join([*lines, f"  {answer['type']}, {default}"])
    rows = [
        [
            field["name"],
            field["type"],
            "required" if field["required"] else cell(field["default"]),
            cell(field["description"]),
        ]
        for field in answer["fields"]
    ]
    return "\n".join([*lines, "", render_table(("FIELD", "TYPE", "DEFAULT", "MEANING"), rows)])
