"""The verb about the journal: events, in the order in which they became true.

Events are read, never written, from here.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from andon.app.cli.output import emit_table, say
from andon.app.cli.session import Session
from andon.app.cli.table import cell, render_table

HEADINGS = ("SEQUENCE", "AT", "EVENT", "SUBJECT", "ACTOR", "DETAIL")


def register(app: typer.Typer) -> None:
    """Add the verbs of this group."""
    app.command()(events)


def events(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(help="Only of this one, such as Rollout/credit-3.")] = "",
    after: Annotated[int, typer.Option(min=0, help="Only those after this sequence number.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as they happen.")] = False,
) -> None:
    """What happened, newest last."""
    session: Session = context.obj
    client = session.client()
    page = client.get("/v1/events", subject=subject, after=after, limit=limit, newest=not after)
    items: list[dict[str, Any]] = page["items"]
    if not follow:
        emit_table(session, page, HEADINGS, event_rows(items))
        return
    last = max((item["sequence"] for item in items), default=after)
    if session.output == "table":
        say(render_table(HEADINGS, event_rows(items), session.colour))
    else:
        for item in items:
            say(json.dumps(item))
    for item in client.follow("/v1/events", subject=subject, after=last):
        say(json.dumps(item) if session.output == "json" else "   ".join(event_rows([item])[0]))


def event_rows(items: list[dict[str, Any]]) -> list[list[str]]:
    """Events as cells of a table."""
    return [
        [
            str(item["sequence"]),
            moment(item["at_ns"]),
            item["name"],
            item["subject"],
            item["actor"],
            _brief(item["data"]),
        ]
        for item in items
    ]


def moment(at_ns: int) -> str:
    """Nanoseconds since the epoch as UTC, to the second; '-' if unknown."""
    if not at_ns:
        return "-"
    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _brief(data: dict[str, Any]) -> str:
    if "reason" in data:
        return cell(data["reason"])
    return (
        " ".join(
            f"{name}={cell(value)}" for name, value in data.items() if not isinstance(value, dict | list)
        )
        or "-"
    )
