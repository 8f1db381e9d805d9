"""Verbs about guards: what each found lately, and what they say of a text.

`andon guards` asks the ledger; `andon guards check` asks control, and no model.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from andon.app.cli.output import emit, emit_table
from andon.app.cli.session import Session
from andon.app.cli.table import cell, render_table
from andon.kernel.errors import Refused

_HEADINGS = ("GUARD", "PLACE", "MODE", "VERSION", "JUDGED", "ACTED", "SHARE", "FAILED", "P95 MS", "FOUND")
_WORD_HEADINGS = ("GUARD", "MODE", "ACTION", "SCORE", "THRESHOLD", "FOUND", "MS", "FAILED")
_LATELY = (
    "WITH lately AS (SELECT * FROM guard_verdicts WHERE at_ns >= (epoch_us(now()) - CAST(? AS BIGINT)) * 1000), "
    "told AS (SELECT guard, place, mode, unnest(map_entries(entities)) AS entry FROM lately), "
    "found AS (SELECT guard, place, mode, entry.key AS name, sum(entry.value)::BIGINT AS n FROM told "
    "GROUP BY ALL), "
    "names AS (SELECT guard, place, mode, string_agg(name || ' ' || n, ', ' ORDER BY n DESC) AS found "
    "FROM found GROUP BY ALL) "
    "SELECT guard, place, mode, max(version) AS version, count(*) AS judged, "
    "count(*) FILTER (action <> 'pass') AS acted, count(*) FILTER (coalesce(failed, '') <> '') AS failed, "
    "quantile_cont(latency_us, 0.95) / 1000 AS p95_ms, any_value(names.found) AS found "
    "FROM lately LEFT JOIN names USING (guard, place, mode) GROUP BY guard, place, mode ORDER BY guard, place, mode"
)


def build() -> typer.Typer:
    """The group `andon guards`."""
    app = typer.Typer(
        help="Guards: what each found lately, and what they say of a text.",
        invoke_without_command=True,
        rich_markup_mode=None,
    )
    app.callback()(overview)
    app.command()(check)
    return app


def overview(
    context: typer.Context,
    hours: Annotated[float, typer.Option("--hours", min=0.01, max=24 * 366, help="How far back.")] = 24.0,
) -> None:
    """What each guard found lately: how many exchanges it judged, in how many it acted, or in shadow would have."""
    if context.invoked_subcommand is not None:
        return
    session: Session = context.obj
    asked = {
        "sql": _LATELY,
        "parameters": [int(hours * 3.6e9)],
        "seconds": 30.0,
        "rows": 1000,
        "format": "json",
    }
    answer = session.client().post("/v1/queries", asked)
    names = [column["name"] for column in answer["columns"]]
    items = [dict(zip(names, row, strict=True)) for row in answer["rows"]]
    emit_table(
        session,
        {"items": items},
        _HEADINGS,
        [_line(item) for item in items],
        nothing=f"No guard has judged anything in the last {hours:g} h. Endpoints name theirs in spec.guards.",
    )


def _line(item: dict[str, Any]) -> list[str]:
    share = item["acted"] / item["judged"] if item["judged"] else 0.0
    return [
        item["guard"],
        item["place"],
        item["mode"],
        cell(item["version"]),
        str(item["judged"]),
        str(item["acted"]),
        f"{share:.2%}",
        str(item["failed"]),
        f"{item['p95_ms']:.2f}",
        cell(item["found"]),
    ]


def check(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="A file with the text; - or nothing reads stdin.")] = "-",
    *,
    guard: Annotated[list[str], typer.Option("-g", "--guard", help="A guard; may be repeated.")],
    place: Annotated[str, typer.Option(help="Where it stands: input, context or output.")] = "input",
) -> int:
    """What guards say of a text, without any model; exits 1 where it would be refused."""
    session: Session = context.obj
    body = {"guards": guard, "text": _text(file), "place": place}
    answer = session.client().post("/v1/guards/check", body)

    def text() -> str:
        words = render_table(_WORD_HEADINGS, [_word(one) for one in answer["verdicts"]], session.colour)
        return words if answer["refused"] else f"{words}\n\n{answer['text']}"

    emit(session, answer, text, [answer["refused"] or "pass"])
    if any(one["mode"] == "shadow" and one["action"] != "pass" for one in answer["verdicts"]):
        session.note("A guard in shadow only records: `mode: enforce` does what ACTION says.")
    return 1 if answer["refused"] else 0


def _word(one: dict[str, Any]) -> list[str]:
    return [
        one["guard"],
        one["mode"],
        one["action"],
        cell(one["score"]),
        cell(one["threshold"]),
        ", ".join(f"{name} {count}" for name, count in one["entities"].items()) or "-",
        f"{one['latency_us'] / 1000:.2f}",
        one["failed"] or "-",
    ]


def _text(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused("file_unreadable", f"{file} cannot be read as text.", hint="Check the path.") from error
