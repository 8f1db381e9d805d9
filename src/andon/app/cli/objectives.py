"""Verbs about objectives: how much budget is left, why a window fires or cannot, rules for Prometheus, OpenSLO in.

What is shown is the observer's own reading; nothing is computed here. `rules` and `import` need only files or specs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from andon.app.cli.client import segment
from andon.app.cli.commands import load
from andon.app.cli.output import emit, emit_table, to_yaml
from andon.app.cli.session import Session
from andon.app.cli.table import age, cell, render_table
from andon.kernel.errors import Refused

_HEADINGS = (
    "OBJECTIVE",
    "SLICE",
    "TARGET",
    "ATTAINED",
    "BUDGET LEFT",
    "BURN 1H",
    "BURN 6H",
    "EMPTY IN",
    "STATE",
)
_WINDOW_HEADINGS = ("SLICE", "WINDOW", "SEVERITY", "BURN", "FIRES AT", "EVENTS", "BAD", "VERDICT", "WHY")
_SHARE_HEADINGS = ("COLUMN", "VALUE", "BAD", "EVENTS", "OF ALL BAD")
_SPEC = "andon.observability.objectives"


def build() -> typer.Typer:
    """The group `andon objectives`."""
    app = typer.Typer(
        help="Promises and their budgets: what is left, what burns it.",
        invoke_without_command=True,
        rich_markup_mode=None,
    )
    app.callback()(overview)
    app.command()(show)
    app.command()(rules)
    app.command("import")(import_)
    return app


def overview(context: typer.Context) -> None:
    """Promises and their budgets: what is left, what burns it."""
    if context.invoked_subcommand is not None:
        return
    session: Session = context.obj
    page = session.client().get("/v1/objectives")
    rows = [row for item in page["items"] for row in _rows(item)]
    emit_table(session, page, _HEADINGS, rows)


def _rows(item: dict[str, Any]) -> list[list[str]]:
    target = f"{item['objective'] * 100:.10g} %"
    if not item["slices"]:
        return [[item["name"], "-", target, "-", "-", "-", "-", "-", item["state"]]]
    return [
        [
            item["name"],
            _slice(one),
            target,
            _percent(one["attained"], 3),
            _percent(one["budget_remaining"], 1),
            cell(one["burns"].get("1h")),
            cell(one["burns"].get("6h")),
            "-" if one["exhaustion_s"] is None else age(one["exhaustion_s"]),
            " ".join(word for word in (one["state"], one["firing"]) if word),
        ]
        for one in item["slices"]
    ]


def _slice(one: dict[str, Any]) -> str:
    return ",".join(f"{name}={value or '-'}" for name, value in one["slice"].items()) or "all"


def _percent(ratio: float | None, digits: int) -> str:
    return "-" if ratio is None else f"{ratio * 100:.{digits}f} %"


def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The objective.")],
    contributors: Annotated[
        bool,
        typer.Option(help="Ask the ledger who takes the budget: release, team, error, model, target, key."),
    ] = True,
) -> None:
    """One objective: its windows, whether they can fire, who takes the budget."""
    session: Session = context.obj
    answer = session.client().get(
        f"/v1/objectives/{segment(name)}", contributors="true" if contributors else None
    )
    emit(session, answer, lambda: render_objective(answer, session.colour), [name])


def render_objective(answer: dict[str, Any], colour: bool) -> str:
    """The head, the budgets, the windows and the contributors, as text."""
    item = answer["objective"]
    lines = [
        f"Objective   {item['name']}   {item['objective'] * 100:.10g} % {item['indicator']} over {item['period']}",
        f"State       {item['state']}" + (", releases wait" if item["frozen"] else ""),
    ]
    if item["description"]:
        lines.insert(1, f"Promise     {item['description']}")
    if not item["history"]:
        lines.append("History     is being read; what is shown began with the observer")
    lines += ["", render_table(_HEADINGS, _rows(item), colour), ""]
    windows = [_window(one, window) for one in item["slices"] for window in one["windows"]]
    lines.append(render_table(_WINDOW_HEADINGS, windows, colour))
    notes = {
        f"{window['window']}: {window['note']}."
        for one in item["slices"]
        for window in one["windows"]
        if window["note"] and window["note"] != "absolute"
    }
    lines += ["", *sorted(notes)] if notes else []
    if answer["contributors"]:
        shares = [
            [one["column"], cell(one["value"]), str(one["bad"]), str(one["total"]), _percent(one["share"], 1)]
            for one in answer["contributors"]
        ]
        lines += ["", "Who takes the budget:", render_table(_SHARE_HEADINGS, shares, colour)]
    return "\n".join(lines)


def _window(one: dict[str, Any], window: dict[str, Any]) -> list[str]:
    return [
        _slice(one),
        f"{window['window']}/{window['short']}" if window["short"] else window["window"],
        window["severity"],
        cell(window["burn"]),
        cell(float(window["threshold"])),
        str(window["events"]),
        str(window["bad"]),
        window["word"],
        window["why"],
    ]


def rules(context: typer.Context) -> None:
    """Recording and alerting rules for Prometheus, in Sloth's names."""
    session: Session = context.obj
    found = session.client().get("/v1/resources/objectives")
    specs = {item["metadata"]["name"]: item["spec"] for item in found["items"]}
    model, made, andon = load(f"{_SPEC}.model"), load(f"{_SPEC}.rules"), load("andon")
    convert = load("msgspec").convert
    file = made.rules_of(
        {name: convert(spec, model.ObjectiveSpec) for name, spec in specs.items()}, andon.__version__
    )
    emit(session, file, lambda: to_yaml(file), sorted(specs))


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="OpenSLO v1 documents, YAML.")],
) -> None:
    """An OpenSLO file as an Andon document; what cannot be enforced is refused by name."""
    session: Session = context.obj
    try:
        text = file.read_text()
    except OSError as error:
        raise Refused(
            "file_unreadable", f"{file} cannot be read: {error.strerror}.", hint="Check the path."
        ) from error
    openslo = load(f"{_SPEC}.openslo")
    converted = openslo.convert(openslo.parse(text))
    for note in converted.notes:
        session.note(f"Note: {note}")
    documents = list(converted.documents)
    names = [document["metadata"]["name"] for document in documents]
    emit(session, documents, lambda: "\n---\n".join(to_yaml(one) for one in documents), names)
