"""Verbs about quality: how good answers are by release, references, and the report as a page.

`andon quality NAME` is `andon quality show NAME`. What draws is loaded by `report` only.
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
from andon.app.cli.table import age, cell, render_table
from andon.kernel.errors import Refused

_HEADINGS = (
    "MONITOR",
    "RELEASE",
    "STATE",
    "METRIC",
    "REALISED",
    "ESTIMATED",
    "LABELS",
    "ROWS",
    "ESTIMATE",
    "NOTE",
)
_CHUNK_HEADINGS = (
    "RELEASE",
    "FROM",
    "ROWS",
    "LABELS",
    "LAG",
    "REALISED",
    "95 %",
    "ESTIMATED",
    "MISSED",
    "ALARM",
)
_MEASURE_HEADINGS = ("METRIC", "REALISED", "95 %", "ESTIMATED", "MISSED")
_SLICE_HEADINGS = ("COLUMN", "VALUE", "ROWS", "LABELS", "REALISED", "95 %")
_CHUNKS_SHOWN = 10  # of each release; -o json has all
_PAGE = "andon.observability.quality.page"


def build() -> typer.Typer:
    """The group `andon quality`."""
    app = typer.Typer(
        cls=NamedGroup,
        help="Quality: how good answers are, from labels when they come and from scores before.",
        invoke_without_command=True,
        rich_markup_mode=None,
    )
    app.callback()(overview)
    for verb in (show, reference, report):
        app.command()(verb)
    return app


def overview(context: typer.Context) -> None:
    """Quality: how good answers are, from labels when they come and from scores before."""
    if context.invoked_subcommand is not None:
        return
    session: Session = context.obj
    page = session.client().get("/v1/quality")
    emit_table(session, page, _HEADINGS, [row for item in page["items"] for row in _rows(item)])


def _rows(item: dict[str, Any]) -> list[list[str]]:
    releases = item["releases"] or {"-": {}}
    return [
        [
            item["name"],
            release,
            item["state"],
            item["metric"],
            cell(told.get("realised")),
            _within(told.get("estimated"), told.get("band")),
            str(told.get("labelled", 0)),
            str(told.get("rows", 0)),
            cell(told.get("estimateState")),
            told.get("reason") or item["message"] or "-",
        ]
        for release, told in releases.items()
    ]


def _within(value: float | None, band: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if band is None else f"{value:.4g} ± {band:.2g}"


def _interval(item: dict[str, Any]) -> str:
    return "-" if item["low"] is None else f"{item['low']:.4g} to {item['high']:.4g}"


def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The monitor.")],
    since: Annotated[str, typer.Option(help="How far back, such as 24h or 30d.")] = "30d",
    as_of: Annotated[
        int, typer.Option(help="With the labels known at this moment, nanoseconds since the Unix epoch.")
    ] = 0,
) -> None:
    """One monitor: its chunks by release, the newest figures, slices."""
    session: Session = context.obj
    answer = session.client().get(f"/v1/quality/{segment(name)}", since=since, as_of=str(as_of))

    def text() -> str:
        head = render_table(_HEADINGS, _rows(answer["monitor"]), session.colour)
        told = answer["report"]
        return head if told is None else f"{head}\n\n{_render(told, session.colour)}"

    emit(session, answer, text, [name])


def _render(told: dict[str, Any], colour: bool) -> str:
    metric, parts = told["leading"], []
    if told["threshold"] is not None:
        parts.append(f"{metric} alarms from {told['threshold']:.4g}.")
    rows = [
        _chunk(release["release"], chunk, metric)
        for release in told["releases"]
        for chunk in release["chunks"][-_CHUNKS_SHOWN:]
    ]
    parts.append(render_table(_CHUNK_HEADINGS, rows, colour))
    for release in told["releases"]:
        chunk = next((one for one in reversed(release["chunks"]) if one["labelled"]), None)
        if chunk is None:
            continue
        measures = [
            [
                one["metric"],
                cell(one["realised"]),
                _interval(one),
                _within(one["estimated"], one["band"]),
                cell(one["missed"]),
            ]
            for one in chunk["measures"]
        ]
        measures += [[name, cell(value), "-", "-", "-"] for name, value in chunk["formulas"].items()]
        parts.append(f"{release['release']} in the chunk of {moment(chunk['from_ns'])}:")
        parts.append(render_table(_MEASURE_HEADINGS, measures, colour))
        slices = [
            [
                one["column"],
                one["value"] or "-",
                str(one["rows"]),
                str(one["labelled"]),
                cell(one["realised"]),
                _interval(one),
            ]
            for one in chunk["slices"]
        ]
        if slices:
            parts.append(render_table(_SLICE_HEADINGS, slices, colour))
    return "\n\n".join(parts)


def _chunk(release: str, chunk: dict[str, Any], metric: str) -> list[str]:
    unknown = {"realised": None, "low": None, "high": None, "estimated": None, "band": None, "missed": None}
    one = next((one for one in chunk["measures"] if one["metric"] == metric), unknown)
    return [
        release,
        moment(chunk["from_ns"]),
        str(chunk["rows"]),
        f"{chunk['coverage']:.0%}",
        "-" if chunk["lag_p50_s"] is None else age(chunk["lag_p50_s"]),
        cell(one["realised"]),
        _interval(one),
        _within(one["estimated"], one["band"]),
        cell(one["missed"]),
        cell(chunk["alarms"]),
    ]


def reference(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The monitor.")],
    release: Annotated[str, typer.Option(help="Labelled answers of this release, such as credit@1.")],
    since: Annotated[str, typer.Option(help="Length of the window, which ends now.")] = "30d",
    file: Annotated[
        Path | None,
        typer.Option("--from", help="A CSV of the release's score, prediction and label instead."),
    ] = None,
) -> None:
    """Set the reference of a monitor from labelled answers, or from a file of them."""
    session: Session = context.obj
    path = f"/v1/quality/{segment(name)}/reference"
    if file is None:
        answer = session.client().post(path, {"release": release, "since": since})
    else:
        answer = session.client().send(f"{path}-file?release={segment(release)}", _read(file), "text/csv")
    calibrated = "its scores are calibrated" if answer["calibrated"] else "its scores are taken as they are"
    emit(session, answer, lambda: f"{name} is now measured from {answer['origin']}; {calibrated}.", [name])


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Refused(
            "file_unreadable", f"{file} cannot be read: {error.strerror}.", hint="Check the path."
        ) from error


def report(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="MODEL", help="A monitor, or the endpoint that it watches.")],
    html: Annotated[Path, typer.Option(help="Where the page goes.", dir_okay=False)],
    since: Annotated[str, typer.Option(help="How far back, such as 24h or 30d.")] = "30d",
) -> None:
    """Everything known of a model's quality as one self-contained page with plots."""
    session: Session = context.obj
    client = session.client()
    monitors = client.get("/v1/quality")["items"]
    found = [item for item in monitors if item["name"] == name] or [
        item for item in monitors if item["endpoint"] == name
    ]
    if not found:
        raise Refused(
            "not_found",
            f"Neither a quality monitor nor its endpoint is called '{name}'.",
            hint="andon quality",
        )
    monitor, endpoint = found[0]["name"], found[0]["endpoint"]
    drift = [item["name"] for item in client.get("/v1/drift")["items"] if item["endpoint"] == endpoint]
    told = {
        "quality": client.get(f"/v1/quality/{segment(monitor)}", since=since),
        "drift": client.get(f"/v1/drift/{segment(drift[0])}") if drift else None,
        "engagement": client.get("/v1/engagement", endpoint=endpoint, since=since),
    }
    html.write_text(_pages().render(told), encoding="utf-8")
    emit(session, {"file": str(html)}, lambda: f"{html} tells of {monitor}.", [str(html)])


def _pages() -> Any:
    """What draws; raises `Refused` where its library is not installed."""
    try:
        return load(_PAGE)
    except ModuleNotFoundError as error:
        raise Refused(
            "extra_missing",
            f"This verb draws plots: {error.name} is not installed.",
            hint="pip install 'andon[reports]'",
        ) from error
