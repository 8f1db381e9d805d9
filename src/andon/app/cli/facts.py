"""Verbs about what became known later: label, feedback, facts import; and what follows: engagement, features.

Facts are idempotent, so that whatever was interrupted can simply be done again.
"""

from __future__ import annotations

import csv
import io
import math
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from andon.app.cli.client import RemoteError
from andon.app.cli.output import emit, emit_table
from andon.app.cli.session import Session
from andon.kernel.errors import AndonError, Refused, Transient

_PATHS = {
    "label": "/v1/labels",
    "feedback": "/v1/feedback",
    "kpi": "/v1/kpi-events",
    "evaluation": "/v1/evaluations",
    "price": "/v1/prices",
}
BATCH_ITEMS = 10_000
_PLACE = re.compile(r"items\[(\d+)\]")
TRIES = 6
FAULTS_TOLD = 20

_ENGAGEMENT = ("RELEASE", "EXCHANGES", "FEEDBACK", "THUMBS UP", "RATING", "REGENERATED", "ABANDONED")
_FEATURES = ("FEATURE", "REQUESTS", "P50 US", "P95 US", "SHARE")

By = Annotated[str, typer.Option(help="What the first argument is: request, reference or response.")]
At = Annotated[str, typer.Option(help="When it became true, RFC 3339; by default now.")]
Since = Annotated[str, typer.Option(help="How far back, such as 24h or 7d.")]


def register(app: typer.Typer) -> None:
    """Add the verbs of this group."""
    for verb in (label, feedback, engagement, features):
        app.command()(verb)
    facts = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Facts: what became known later.")
    facts.command("import")(import_)
    facts.callback()(_group)
    app.add_typer(facts, name="facts")


def _group() -> None:
    """Facts: what became known later."""


def label(
    context: typer.Context,
    request: Annotated[str, typer.Argument(help="The request that it is the truth of.")],
    value: Annotated[str, typer.Argument(help="A number, or the name of a class.")],
    *,
    by: By = "request",
    name: Annotated[str, typer.Option(help="Which truth, where there are several.")] = "label",
    time: At = "",
) -> None:
    """Tell the truth about one prediction; a later label of the same name corrects it."""
    _send_one(context.obj, "label", {_subject(by): request, "name": name, "time": time, **_value(value)})


def feedback(
    context: typer.Context,
    request: Annotated[str, typer.Argument(help="The request whose answer it is about.")],
    what: Annotated[
        str, typer.Argument(help="up, down, 1 to 5, or regenerate, abandon, accept, edit, copy.")
    ],
    *,
    by: By = "request",
    comment: Annotated[str, typer.Option(help="In a person's own words.")] = "",
    time: At = "",
) -> None:
    """Tell what a person did with an answer."""
    item: dict[str, Any] = {_subject(by): request, "text": comment, "time": time}
    if what in ("up", "down"):
        item |= {"kind": "thumb", "value": 1.0 if what == "up" else 0.0}
    elif (rating := _number(what)) is not None and math.isfinite(rating):
        item |= {"kind": "rating", "value": rating}
    else:
        item["kind"] = what
    _send_one(context.obj, "feedback", item)


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A CSV file with a heading, or NDJSON; - reads stdin as CSV.")],
    kind: Annotated[str, typer.Option(help="What it holds: " + ", ".join(_PATHS) + ".")] = "label",
) -> int:
    """Send a file of facts in batches; what is sent again counts once. Exits 1 if any line was refused."""
    session: Session = context.obj
    if kind not in _PATHS:
        raise Refused(
            "invalid_parameter", f"'{kind}' is no kind of facts.", hint=f"One of {', '.join(_PATHS)}."
        )
    total: dict[str, Any] = {"accepted": 0, "duplicates": 0, "unknown": 0, "refused_count": 0}
    client = session.client()
    is_lines = file.suffix in (".ndjson", ".jsonl")
    media_type = "application/x-ndjson" if is_lines else "text/csv"
    with _opened(file) as text:
        for body, places in _lines(text) if is_lines else _rows(text):
            receipt = _send_batch(session, partial(client.send, _PATHS[kind], body, media_type), len(places))
            total = {
                name: None if value is None or receipt[name] is None else value + receipt[name]
                for name, value in total.items()
            }
            for one in receipt["refused"][:FAULTS_TOLD]:
                session.note(f"line {places[one['index']]}: {one['message']}")
            session.note(f"line {places[-1]}: {total['accepted']} accepted")
    emit(session, total, lambda: _receipt_text(total))
    return 1 if total["refused_count"] else 0


def engagement(
    context: typer.Context,
    endpoint: Annotated[str, typer.Argument(help="The endpoint's name.")],
    since: Since = "7d",
) -> None:
    """What people did with the answers of each release, with 95 % intervals."""
    session: Session = context.obj
    page = session.client().get("/v1/engagement", endpoint=endpoint, since=since)
    rows = [
        [
            item["release"],
            str(item["exchanges"]),
            *(_share(item[name]) for name in ("feedback", "thumbs")),
            _interval(item["rating"], "{:.2f}"),
            *(_share(item[name]) for name in ("regenerated", "abandoned")),
        ]
        for item in page["items"]
    ]
    emit_table(session, page, _ENGAGEMENT, rows)


def features(
    context: typer.Context,
    endpoint: Annotated[str, typer.Argument(help="The endpoint's name.")],
    since: Since = "7d",
) -> None:
    """What computing each feature took, the costliest first."""
    session: Session = context.obj
    page = session.client().get("/v1/features", endpoint=endpoint, since=since)
    rows = [
        [
            item["feature"],
            str(item["requests"]),
            f"{item['p50_us']:.0f}",
            f"{item['p95_us']:.0f}",
            "-" if item["share"] is None else f"{item['share']:.1%}",
        ]
        for item in page["items"]
    ]
    emit_table(session, page, _FEATURES, rows)


def _share(estimate: dict[str, Any]) -> str:
    return _interval(estimate, "{:.1%}")


def _interval(estimate: dict[str, Any], form: str) -> str:
    if estimate["value"] is None:
        return "-"
    value = form.format(estimate["value"])
    if estimate["low"] is None:
        return value
    return f"{value} ({form.format(estimate['low'])} to {form.format(estimate['high'])})"


def _subject(by: str) -> str:
    if by not in ("request", "reference", "response"):
        raise Refused(
            "invalid_parameter", f"--by {by} is not offered.", hint="Use request, reference or response."
        )
    return by


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _value(text: str) -> dict[str, Any]:
    number = _number(text)
    if number is not None and not math.isfinite(number):
        raise Refused(
            "invalid_parameter", f"'{text}' is no truth.", hint="Give a number, or the name of a class."
        )
    return {"text": text} if number is None else {"value": number}


def _send_one(session: Session, kind: str, item: dict[str, Any]) -> None:
    client = session.client()
    # The moment is part of a fact's id: a value that is taken back and given again must be another fact.
    item["time"] = item["time"] or str(int(session.now_s() * 1e9))
    given = {name: value for name, value in item.items() if value != ""}
    receipt = _send(session, lambda: client.post(_PATHS[kind], given))
    emit(session, receipt, lambda: _receipt_text(receipt))


def _send_batch(session: Session, send: Callable[[], Any], count: int) -> dict[str, Any]:
    """The receipt; a batch of which nothing could be taken is a receipt too, so that the others still go."""
    try:
        receipt: dict[str, Any] = _send(session, send)
        return receipt
    except RemoteError as error:
        if error.code != "facts_refused":
            raise
        refused = [
            {"index": int(match[1]), "message": fault["message"]}
            for fault in error.faults
            if (match := _PLACE.match(fault["path"]))
        ]
        return {"accepted": 0, "duplicates": 0, "unknown": 0, "refused_count": count, "refused": refused}


def _send(session: Session, send: Callable[[], Any]) -> Any:
    """Try again while the answer says that it may work later; sending twice is safe."""
    for attempt in range(TRIES):
        try:
            return send()
        except AndonError as error:
            is_passing = isinstance(error, Transient) or error.status in (429, 502, 503, 504)
            if not is_passing or error.code == "control_not_running" or attempt == TRIES - 1:
                raise
            session.note(f"{error.message} Trying again.")
            session.pause(2.0**attempt)
    raise AssertionError("unreachable")


def _receipt_text(receipt: dict[str, Any]) -> str:
    said = f"{receipt['accepted']} accepted"
    if receipt["duplicates"]:
        said += f", {receipt['duplicates']} known already"
    if receipt["unknown"] is None:
        said += ", unknown requests could not be looked up"
    elif receipt["unknown"]:
        said += f", {receipt['unknown']} of them about requests that are unknown (yet)"
    if receipt["refused_count"]:
        said += f", {receipt['refused_count']} refused"
    return said + "."


def _opened(file: Path) -> IO[str]:
    if str(file) == "-":
        return io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
    try:
        return file.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise Refused(
            "file_unreadable", f"{file} cannot be read: {error.strerror}.", hint="Check the path."
        ) from error


def _rows(text: IO[str]) -> Iterator[tuple[bytes, list[int]]]:
    """Batches of CSV, each with the heading, and the line where each item ends."""
    reader = csv.reader(text)
    try:
        heading = next(reader, [])
        batch: list[list[str]] = []
        places: list[int] = []
        for cells in reader:
            if cells:
                batch.append(cells)
                places.append(reader.line_num)
            if len(batch) >= BATCH_ITEMS:
                yield _csv(heading, batch), places
                batch, places = [], []
        if batch:
            yield _csv(heading, batch), places
    except (csv.Error, UnicodeDecodeError) as error:
        raise Refused(
            "malformed_csv", f"Line {reader.line_num} is not CSV: {error}.", hint="Save it as CSV in UTF-8."
        ) from error


def _csv(heading: list[str], rows: list[list[str]]) -> bytes:
    written = io.StringIO(newline="")
    csv.writer(written).writerows([heading, *rows])
    return written.getvalue().encode()


def _lines(text: IO[str]) -> Iterator[tuple[bytes, list[int]]]:
    """Batches of NDJSON, and the line of each item."""
    batch: list[str] = []
    places: list[int] = []
    for number, line in enumerate(text, 1):
        if line.strip():
            batch.append(line.rstrip("\r\n"))
            places.append(number)
        if len(batch) >= BATCH_ITEMS:
            yield "\n".join(batch).encode(), places
            batch, places = [], []
    if batch:
        yield "\n".join(batch).encode(), places
