"""Verbs about drift: what monitors say, baselines, and files compared without a factory.

`andon drift NAME` is `andon drift show NAME`. What needs arrays is loaded by the verbs that work on files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from andon.app.cli.client import segment
from andon.app.cli.commands import load
from andon.app.cli.group import NamedGroup
from andon.app.cli.journal import moment
from andon.app.cli.output import emit, emit_table
from andon.app.cli.session import Session
from andon.app.cli.table import cell, render_table
from andon.kernel.errors import Refused

_HEADINGS = ("MONITOR", "ENDPOINT", "PERIOD", "STATE", "ROWS", "UNTIL", "DRIFTED", "BASELINE", "NOTE")
_COLUMN_HEADINGS = ("COLUMN", "STATISTIC", "VALUE", "NOISE FLOOR", "P", "VERDICT", "IMPACT")
_STABLE_SHOWN = 5  # columns without drift that a table shows; --all shows the rest
_OFFLINE = "andon.observability.quality.drift.offline"


def build() -> typer.Typer:
    """The group `andon drift`."""
    app = typer.Typer(
        cls=NamedGroup,
        help="Drift: how far traffic is from its reference, what of it is noise, what it costs.",
        invoke_without_command=True,
        rich_markup_mode=None,
    )
    app.callback()(overview)
    for verb in (show, baseline, compare):
        app.command()(verb)
    return app


def overview(context: typer.Context) -> None:
    """Drift: how far traffic is from its reference, what of it is noise, what it costs."""
    if context.invoked_subcommand is not None:
        return
    session: Session = context.obj
    page = session.client().get("/v1/drift")
    emit_table(session, page, _HEADINGS, [_monitor(item) for item in page["items"]])


def _monitor(item: dict[str, Any]) -> list[str]:
    return [
        item["name"],
        item["endpoint"],
        item["period"],
        item["state"],
        str(item["rows"]),
        moment(item["until_ns"]) if item["until_ns"] else "-",
        cell(item["drifted"]),
        cell(item["baseline"]),
        cell(item["message"]),
    ]


def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The monitor.")],
    every: Annotated[bool, typer.Option("--all", help="Columns without drift too.")] = False,
) -> None:
    """One monitor: every column's distances, noise floors, p, verdict and impact."""
    session: Session = context.obj
    answer = session.client().get(f"/v1/drift/{segment(name)}")

    def text() -> str:
        head = render_table(_HEADINGS, [_monitor(answer["monitor"])], session.colour)
        report = answer["report"]
        return head if report is None else f"{head}\n\n{render_report(report, every, session.colour)}"

    emit(session, answer, text, [name])


def render_report(report: dict[str, Any], every: bool, colour: bool) -> str:
    """A report as text: what drifted first, then what was proved but is small, then some of what is stable."""
    moved = [one for one in report["columns"] if one["verdict"] in ("drift", "shift")]
    moved.sort(key=lambda one: one["verdict"] != "drift")
    rest = [one for one in report["columns"] if one["verdict"] not in ("drift", "shift")]
    shown = [*moved, *(rest if every else rest[:_STABLE_SHOWN])]
    head = (
        f"{report['rows']} rows against {report['reference_rows']}: {len(report['drifted'])} of "
        f"{len(report['columns'])} columns drifted; any false alarm has a chance of {report['alpha']:.2g}."
    )
    lines = [head]
    lines += [f"Costs quality: {', '.join(report['paging'])}"] if report["paging"] else []
    lines += [f"Did not come: {', '.join(report['absent'])}"] if report["absent"] else []
    lines += [f"Not in the reference: {', '.join(report['extra'])}"] if report["extra"] else []
    lines += ["", render_table(_COLUMN_HEADINGS, [row for one in shown for row in _rows(one)], colour)]
    lines += [
        f"{one['column']} has new categories: {', '.join(one['new'][:10])}" for one in shown if one["new"]
    ]
    if len(shown) < len(report["columns"]):
        lines.append(f"{len(report['columns']) - len(shown)} more columns are stable; --all shows them.")
    return "\n".join(lines)


def _rows(one: dict[str, Any]) -> list[list[str]]:
    impact = "-"
    if one["impact"] is not None:
        impact = f"{one['impact']:+.4f} ± {one['impact_noise']:.4f}"
    readings = [
        [reading["statistic"], _figure(reading["value"]), _figure(reading["floor"]), _chance(reading["p"])]
        for reading in one["readings"]
        if reading["value"] or reading["statistic"] not in ("missing", "unseen")
    ] or [["-", "-", "-", "-"]]
    first = [one["column"], *readings[0], one["verdict"], impact]
    return [first, *(["", *reading, "", ""] for reading in readings[1:])]


def _figure(value: float) -> str:
    return f"{value:.4f}"


def _chance(p: float | None) -> str:
    if p is None:
        return "-"
    return f"{p:.2g}" if p >= 1e-99 else "<1e-99"


def baseline(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The monitor.")],
    file: Annotated[
        Path | None, typer.Option("--from", help="A .csv, .parquet, .npy or .profile file of good times.")
    ] = None,
    release: Annotated[str, typer.Option(help="Only traffic of this release, such as credit@1.")] = "",
    since: Annotated[str, typer.Option(help="Length of the window of traffic, which ends now.")] = "7d",
    score: Annotated[str, typer.Option(help="Column of the file that holds the model's probability.")] = "",
) -> None:
    """Set the reference of a monitor, from a file or from traffic."""
    session: Session = context.obj
    path = f"/v1/drift/{segment(name)}"
    if file is not None and release:
        raise Refused("arguments_conflict", "A file has no releases.", hint="Give --from or --release.")
    if file is not None:
        files = offline()
        data = files.profile_bytes(file, score)
        answer = session.client().send(f"{path}/profile", data, files.MEDIA_TYPE)
    else:
        answer = session.client().post(f"{path}/baseline", {"release": release, "since": since})
    text = (
        f"{name} is now compared with {answer['origin']}: {answer['rows']} rows, {answer['columns']} columns."
    )
    emit(session, answer, lambda: text, [name])


def compare(
    context: typer.Context,
    reference: Annotated[Path, typer.Argument(help="A .csv, .parquet, .npy or .profile file of good times.")],
    current: Annotated[Path, typer.Argument(help="The file that is looked at.")],
    score: Annotated[
        str, typer.Option(help="Column that holds the model's probability: ranks by impact.")
    ] = "",
    false_alarms: Annotated[
        float, typer.Option(min=1e-9, max=0.05, help="Chance of any false alarm in this comparison.")
    ] = 0.01,
    every: Annotated[bool, typer.Option("--all", help="Columns without drift too.")] = False,
) -> int:
    """Compare two files; needs no factory. Exits 2 when something drifted."""
    session: Session = context.obj
    report = offline().compare_files(reference, current, score=score, false_alarms=false_alarms)
    emit(session, report, lambda: render_report(report, every, session.colour), report["drifted"])
    return 2 if report["drifted"] or report["paging"] else 0


def offline() -> Any:
    """What works on files; raises `Refused` where its libraries are not installed."""
    try:
        return load(_OFFLINE)
    except ModuleNotFoundError as error:
        raise Refused(
            "extra_missing",
            f"This verb needs the observer's libraries: {error.name} is not installed.",
            hint="pip install 'andon[observer]'",
        ) from error
