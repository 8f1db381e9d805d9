"""Verbs about the ledger itself: how its tables stand, and making them again from the log.

Questions about what is in them are asked with `andon query`.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from andon.app.cli.journal import moment
from andon.app.cli.output import emit
from andon.app.cli.session import Session
from andon.app.cli.table import age, cell, render_table
from andon.kernel.errors import Permanent

_TABLES = ("TABLE", "ROWS", "MB", "FILES", "VERSION", "PROBLEM")
_LOGS = ("LOG", "SEGMENTS", "MB", "SEALED UP TO", "WAITING", "LAG")
_DAMAGES = ("AT", "LOG", "SEGMENT", "ROWS MISSING", "WHY")
POLL_S = 0.5


def build() -> typer.Typer:
    """The group `andon ledger`."""
    group = typer.Typer(no_args_is_help=True, help="The ledger's tables: how they stand, made again.")
    group.command()(status)
    group.command()(rebuild)
    return group


def status(context: typer.Context) -> int:
    """Tables, logs, how far each is sealed, what is damaged; exits 1 when a table cannot be written."""
    session: Session = context.obj
    answer = session.client().get("/v1/ledger")
    emit(
        session, answer, lambda: _render(answer, session.colour), [item["name"] for item in answer["tables"]]
    )
    return 1 if any(table["problem"] for table in answer["tables"]) else 0


def rebuild(
    context: typer.Context,
    table: Annotated[str, typer.Argument(help="The table to make again, or all.")],
) -> None:
    """Make a table again from the segments of the log that are still there; all other rows stay."""
    session: Session = context.obj
    client = session.client()
    state: dict[str, Any] = client.post("/v1/ledger/rebuild", {"table": table})
    while state["waiting"]:
        session.pause(POLL_S)
        state = client.get("/v1/ledger")["rebuild"]
    if state["problem"]:
        raise Permanent("rebuild_failed", f"Not rebuilt: {state['problem']}", hint="andon ledger status")
    rows: dict[str, int] = state["rows"]
    emit(
        session,
        state,
        lambda: "\n".join(f"{name}: {count} rows from the log." for name, count in rows.items()),
        list(rows),
    )


def _render(answer: dict[str, Any], colour: bool) -> str:
    parts = [
        render_table(
            _TABLES,
            [
                [
                    item["name"],
                    str(item["rows"]),
                    _megabytes(item["size_bytes"]),
                    str(item["files"]),
                    cell(item["version"]),
                    cell(item["problem"]),
                ]
                for item in answer["tables"]
            ],
            colour,
        ),
        render_table(
            _LOGS,
            [
                [
                    item["name"],
                    str(item["segments"]),
                    _megabytes(item["size_bytes"]),
                    str(item["sealed_position"]),
                    str(item["waiting"]),
                    age(item["lag_s"]),
                ]
                for item in answer["logs"]
            ],
            colour,
        ),
    ]
    if answer["quarantined"]:
        rows = [
            [
                moment(item["at_ns"]),
                item["log"],
                item["segment"],
                str(item["rows"]),
                "; ".join(item["reasons"]),
            ]
            for item in answer["quarantined"]
        ]
        parts.append(render_table(_DAMAGES, rows, colour))
    return "\n\n".join(parts)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.1f}"
