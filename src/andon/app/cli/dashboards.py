"""Verbs about dashboards: list what Andon ships, write it for Grafana, check it, make one from a saved view.

All of it works on files alone; no factory need run. Grafana's builder is loaded by the verbs that write.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from andon.app.cli.commands import load
from andon.app.cli.output import emit, emit_table, say
from andon.app.cli.session import Session
from andon.kernel.errors import Refused

_HEADINGS = ("BOARD", "TITLE", "PANELS", "SHOWS")
_ROOM = "andon.observability.dashboards"
_GRAFANA = ("grafana", "export")  # what needs the extra


def build() -> typer.Typer:
    """The group `andon dashboards`."""
    app = typer.Typer(
        help="Dashboards for Grafana: as code, importing with no edits.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    app.command("list")(list_)
    app.command()(export)
    app.command("build")(build_)
    app.command()(lint)
    return app


def _load(module: str) -> Any:
    try:
        return load(f"{_ROOM}.{module}")
    except ModuleNotFoundError as error:
        if module not in _GRAFANA or not str(error.name).startswith("grafana_foundation_sdk"):
            raise
        raise Refused(
            "extra_missing",
            "Grafana's builder is not installed.",
            hint="pip install 'andon[dashboards]'",
        ) from error


def list_(context: typer.Context) -> None:
    """The dashboards that Andon ships."""
    session: Session = context.obj
    boards = _load("boards").BOARDS
    items = [
        {"uid": one.uid, "title": one.title, "panels": len(one.panels), "shows": one.meaning}
        for one in boards
    ]
    rows = [[item["uid"], item["title"], str(item["panels"]), item["shows"]] for item in items]
    emit_table(session, {"items": items}, _HEADINGS, rows)


def export(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Where to; made if missing.")] = Path("grafana"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if a file is missing, old or breaks a rule.")
    ] = False,
    path: Annotated[
        str,
        typer.Option(
            help="The exported dashboards folder as Grafana sees it, such as a mounted volume.", metavar="DIR"
        ),
    ] = "",
    prometheus: Annotated[
        str, typer.Option(help="Where Grafana reaches Prometheus.", metavar="URL")
    ] = "http://127.0.0.1:9090",
    scrape: Annotated[
        list[str] | None,
        typer.Option(
            help="What Prometheus scrapes: andon=HOST:PORT for an observer, andon-gateway=HOST:PORT; repeatable.",
            metavar="JOB=TARGET",
        ),
    ] = None,
) -> None:
    """Write dashboards, Grafana's provisioning and a scrape configuration."""
    session: Session = context.obj
    module = _load("export")
    seen = path or str((folder / "dashboards").absolute())
    try:
        places = module.places_of(seen, prometheus, scrape or ())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    files = module.export(_load("boards").BOARDS, places)
    names = [str(name) for name in sorted(files)]
    if check:
        _check(module.differing(files, folder), files)
    else:
        module.write(files, folder)
    word = "as they should be" if check else f"written to {folder}"
    emit(session, {"folder": str(folder), "files": names}, lambda: f"{len(names)} files {word}.", names)


def _check(differing: list[Any], files: dict[Any, bytes]) -> None:
    if differing:
        shown = ", ".join(str(name) for name in differing[:5])
        raise Refused(
            "dashboards_differ",
            f"{len(differing)} files are missing or old: {shown}.",
            hint="andon dashboards export, with the same options.",
        )
    documents = {str(name): json.loads(content) for name, content in files.items() if name.suffix == ".json"}
    _refuse_findings(documents)


def build_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A saved view, as YAML or JSON.")],
    out: Annotated[
        Path | None, typer.Option(help="Write it there instead of printing it.", metavar="FILE")
    ] = None,
) -> None:
    """Make a dashboard from a saved view."""
    session: Session = context.obj
    views, msgspec = _load("views"), load("msgspec")
    try:
        view = msgspec.convert(load("yaml").safe_load(_text(file)), views.View)
    except load("yaml").YAMLError as error:
        raise Refused(
            "view_invalid", f"{file} is not YAML: {error}", hint="See docs/dashboards.md."
        ) from error
    except msgspec.ValidationError as error:
        raise Refused("view_invalid", f"{file}: {error}.", hint="See docs/dashboards.md.") from error
    grafana = _load("grafana")
    document = grafana.render(views.board_of(view))
    for finding in _load("lint").lint(document):
        sys.stderr.write(f"Note: {finding}\n")
    if out is None:
        say(grafana.encode(document).decode().rstrip("\n"))
        return
    out.write_bytes(grafana.encode(document))
    emit(session, {"uid": document["uid"], "file": str(out)}, lambda: f"{document['uid']} written to {out}.")


def lint(
    context: typer.Context,
    files: Annotated[
        list[Path], typer.Argument(help="Dashboards as Grafana's JSON, whoever made them.", metavar="FILE")
    ],
) -> None:
    """Check dashboards by the rules of Grafana's linter."""
    session: Session = context.obj
    documents = {str(file): _dashboard(file) for file in files}
    _refuse_findings(documents)
    emit(session, {"files": list(documents)}, lambda: f"{len(documents)} files, no finding.", list(documents))


def _refuse_findings(documents: dict[str, Any]) -> None:
    found = [finding for document in documents.values() for finding in _load("lint").lint(document)]
    if found:
        for finding in found:
            sys.stderr.write(f"{finding}\n")
        raise Refused(
            "dashboards_faulty", f"{len(found)} findings.", hint="Each line above names rule and panel."
        )


def _dashboard(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(file))
    except json.JSONDecodeError as error:
        raise Refused(
            "dashboard_unreadable", f"{file} is not JSON: {error}.", hint="Export it again."
        ) from error
    if not isinstance(found, dict):
        raise Refused(
            "dashboard_unreadable", f"{file} is no dashboard.", hint="Export it from Grafana as JSON."
        )
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(
            "dashboard_unreadable", f"{file} cannot be read: {error}.", hint="Check the path."
        ) from error
