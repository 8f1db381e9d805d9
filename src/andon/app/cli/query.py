"""Verbs that ask the ledger: query by SQL, export a view, tell the story of one request.

Where a factory runs, its observer answers; where none does, the home's own files are read. Nothing is ever changed.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from andon.app.cli.client import segment
from andon.app.cli.commands import load
from andon.app.cli.journal import moment
from andon.app.cli.output import emit
from andon.app.cli.session import Session
from andon.app.cli.table import cell, printable, render_table
from andon.kernel.errors import AndonError, Refused

FORMS = ("csv", "parquet", "arrow", "json")
EXPORT_ROWS = 1_000_000
EXPORT_S = 110.0
_EXPLAINED = ["explain_key", "explain_value"]
_BAR = 40  # characters that the whole duration of a request takes

_Out = Annotated[Path | None, typer.Option("--out", help="Write to this file instead.")]


def register(app: typer.Typer) -> None:
    """Add the verbs of this group."""
    for verb in (query, export, request):
        app.command()(verb)


@dataclass(frozen=True)
class _Question:
    sql: str
    seconds: float
    rows: int
    parameters: tuple[Any, ...] = ()

    def body(self, form: str) -> dict[str, Any]:
        return {
            "sql": self.sql,
            "parameters": list(self.parameters),
            "seconds": self.seconds,
            "rows": self.rows,
            "format": form,
        }


def query(
    context: typer.Context,
    sql: Annotated[str, typer.Argument(help="One SELECT over the ledger's views; - reads it from stdin.")],
    *,
    form: Annotated[
        str, typer.Option("--format", help="Give a file instead: " + ", ".join(FORMS) + ".")
    ] = "",
    out: _Out = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=110, help="How long it may take.")] = 30.0,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1_000_000, help="Rows at most.")] = 1000,
) -> None:
    """Ask the ledger by SQL; read-only. Views: requests, attempts, labels and more; see SHOW TABLES."""
    session: Session = context.obj
    question = _Question(sys.stdin.read() if sql == "-" else sql, seconds, limit)
    if form or out is not None:
        _save(session, question, _form(form, out), out)
        return
    answer = _ask(session, question)
    names = [column["name"] for column in answer["columns"]]
    rows = answer["rows"]
    emit(
        session,
        answer,
        lambda: _rendered(names, rows, session.colour),
        [cell(row[0]) for row in rows if row],
    )
    if answer["truncated"]:
        session.note(f"These are the first {len(rows)} rows; there are more. Ask for them with --limit.")


def _rendered(names: list[str], rows: list[list[Any]], colour: bool) -> str:
    if names == _EXPLAINED:
        return "\n".join(str(plan) for _, plan in rows)  # a drawing of many lines
    return (
        render_table(names, [[cell(value) for value in row] for row in rows], colour)
        if names
        else "Nothing here."
    )


def export(
    context: typer.Context,
    table: Annotated[str, typer.Argument(help="The view, such as requests or labels_history.")],
    *,
    since: Annotated[str, typer.Option(help="From then on: 7d, or 2026-11-22T10:00:00Z.")] = "",
    until: Annotated[str, typer.Option(help="Until then, exclusive.")] = "",
    form: Annotated[str, typer.Option("--format", help="One of: " + ", ".join(FORMS) + ".")] = "",
    out: _Out = None,
) -> int:
    """Write a view of the ledger to a file; exits 1 when it was too much for one file."""
    session: Session = context.obj
    if not table.isidentifier():
        raise Refused("query_invalid", f"'{table}' is not a view.", hint="andon query 'SHOW TABLES'")
    conditions: list[str] = []
    values: list[Any] = []
    for text, sign in ((since, ">="), (until, "<")):
        if text:
            reading = load("andon.ledger.client")
            conditions.append(f"at_ns {sign} ?")
            values.append(reading.moment_ns(text, load("andon.kernel.clock").SystemClock()))
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    sql = f"SELECT * FROM {table}{where} ORDER BY at_ns"  # noqa: S608  an identifier, and the query is read-only
    whole = _save(session, _Question(sql, EXPORT_S, EXPORT_ROWS, tuple(values)), _form(form, out), out)
    return 0 if whole else 1


def request(
    context: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID", help="As in x-request-id.")],
    bodies: Annotated[bool, typer.Option("--bodies", help="What was recorded of it, opened.")] = False,
) -> None:
    """The whole story of one request: attempts, times, facts, spans."""
    session: Session = context.obj
    if bodies:
        found = session.client().get(f"/v1/requests/{segment(id_)}/bodies")
        emit(session, found, lambda: _opened(found["items"]), [id_])
        return
    path = f"/v1/requests/{segment(id_)}"
    story = _either(session, lambda client: client.get(path), lambda ledger: ledger.request(id_))
    emit(session, story, lambda: render_story(story), [id_])


def _opened(items: list[dict[str, Any]]) -> str:
    lines = []
    for one in items:
        cut = ", cut" if one["truncated"] else ""
        lines.append(f"== {one['part']} of attempt {one['attempt'] + 1} ({one['size_bytes']} bytes{cut})")
        lines.append(one["text"] or one["base64"] or one["problem"])
    return "\n".join(lines) or "Nothing was recorded of it."


def _form(form: str, out: Path | None) -> str:
    chosen = form or (out.suffix.removeprefix(".") if out else "") or "csv"
    if chosen not in FORMS:
        raise Refused(
            "output_unknown", f"'{chosen}' is not a format.", hint=f"Use one of: {', '.join(FORMS)}"
        )
    return chosen


def _ask(session: Session, question: _Question) -> Any:
    def here(ledger: Any) -> dict[str, Any]:
        found = ledger.query(question.sql, question.parameters, seconds=question.seconds, rows=question.rows)
        forms = load("andon.ledger.tables.export")
        columns = [{"name": name, "type": kind} for name, kind in forms.columns(found.arrow())]
        return {"columns": columns, "rows": forms.rows(found.arrow()), "truncated": found.truncated}

    return _either(session, lambda client: client.post("/v1/queries", question.body("json")), here)


def _save(session: Session, question: _Question, form: str, out: Path | None) -> bool:
    """Write an answer to a file or to stdout; whether it is whole."""

    def here(ledger: Any) -> tuple[bytes, bool]:
        found = ledger.query(question.sql, question.parameters, seconds=question.seconds, rows=question.rows)
        return load("andon.ledger.tables.export").encode(found.arrow(), form), found.truncated

    def there(client: Any) -> tuple[bytes, bool]:
        if form != "json":
            found: tuple[bytes, bool] = client.download("/v1/queries", question.body(form))
            return found
        answer = client.post("/v1/queries", question.body("json"))
        names = [column["name"] for column in answer["columns"]]
        rows = [dict(zip(names, row, strict=True)) for row in answer["rows"]]
        return load("json").dumps(rows, ensure_ascii=False).encode(), answer["truncated"]

    data, truncated = _either(session, there, here)
    if out is None:
        if form in ("parquet", "arrow") and sys.stdout.isatty():
            raise Refused("output_unknown", f"{form} is not for a terminal.", hint="Give a file with --out.")
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        _write(out, data)
        session.note(f"{len(data)} bytes in {out}.")
    if truncated:
        session.note(
            f"These are the first {question.rows} rows; there are more. Ask in parts, with --since and --until."
        )
    return not truncated


def _write(out: Path, data: bytes) -> None:
    try:
        out.write_bytes(data)
    except OSError as error:
        raise Refused(
            "file_unwritable", f"{out} cannot be written: {error.strerror}.", hint="Choose another place."
        ) from error


def _either(session: Session, there: Any, here: Any) -> Any:
    """Ask the running factory; without one, the files of the home."""
    try:
        return there(session.client())
    except AndonError as error:
        if error.code not in ("control_not_running", "admin_key_unreadable") or session.url_given:
            raise
    home = session.home()
    settings = load("andon.app.settings").load_settings(home, os.environ)
    with load("andon.ledger.client").connect(
        home, tables=settings.tables_url, environment=os.environ
    ) as ledger:
        return here(ledger)


def render_story(story: dict[str, Any]) -> str:
    """A request as text: each attempt with where its time went, then what became known about it."""
    lines = [f"Request {story['id']}"]
    for attempt in story["attempts"]:
        lines += ["", *_attempt(attempt)]
    for intent in story["open_intents"]:
        lines += ["", f"Attempt {intent['attempt']}: begun {moment(intent['at_ns'])}, and no end is known."]
    for name, facts in story["facts"].items():
        for fact in facts:
            lines += ["", *_fact(name, fact)] if fact is facts[0] else _fact(name, fact)
    if story["spans"]:
        lines += ["", "Spans of the trace"]
        lines += [_span(span) for span in story["spans"]]
    if story["bodies"]:
        lines += [
            "",
            "Recorded: " + ", ".join(f"{one['part']} ({one['size_bytes']} bytes)" for one in story["bodies"]),
        ]
    return "\n".join(lines)


def _span(span: dict[str, Any]) -> str:
    took_ms = (span["end_ns"] - span["event_ns"]) / 1e6
    told = f"  {printable(span['name'])}  {printable(cell(span['service']))}  {took_ms:.1f} ms"
    return told + ("  error" if span["error"] else "")


def _attempt(attempt: dict[str, Any]) -> list[str]:
    total = attempt["duration_us"]
    state = f"{attempt['status']}" + (f" {attempt['error_code']}" if attempt["error_code"] else "")
    took = "" if total is None else f"  {total / 1000:.1f} ms"
    head = (
        f"Attempt {attempt['attempt']}{'' if attempt['final'] else ' (retried)'}: {moment(attempt['at_ns'])}  "
        f"{cell(attempt['endpoint'])} -> {cell(attempt['release'])} ({cell(attempt['arm'])}) "
        f"on {cell(attempt['target'])}  {state}{took}"
    )
    lines = [head]
    lines += [f"  {name:<12} {bar} {us / 1000:9.2f} ms" for name, us, bar in _waterfall(attempt)]
    counts = [
        f"{name} {attempt[name]}" for name in ("input_tokens", "output_tokens") if attempt[name] is not None
    ]
    counts += [
        f"{name} {printable(cell(attempt[name]))}"
        for name in ("prediction", "score", "reference")
        if attempt.get(name) is not None
    ]
    if counts:
        lines.append("  " + "  ".join(counts))
    lines += [_verdict(one) for one in json.loads(attempt.get("verdicts") or "[]")]
    features = attempt.get("features")
    if features:
        took = ", ".join(f"{printable(name)} {us / 1000:.2f} ms" for name, us in features.items())
        lines.append(f"  features: {took}")
    return lines


def _verdict(one: dict[str, Any]) -> str:
    """What a guard said, in one line: never what it found, only by which name."""
    found = ", ".join(f"{printable(name)} {count}" for name, count in one.get("entities", {}).items())
    score = "" if one.get("score") is None else f"  score {one['score']:.3f}"
    failed = f"  failed: {printable(one['failed'])}" if one.get("failed") else ""
    mode = " (shadow)" if one["mode"] == "shadow" else ""
    return (
        f"  guard {printable(one['guard'])} at {one['place']}: {one['action']}{mode}{score}"
        f"{'  ' + found if found else ''}{failed}"
    )


def _waterfall(attempt: dict[str, Any]) -> list[tuple[str, int, str]]:
    """Where the time went, one after the other: name, microseconds, bar."""
    whole = attempt["duration_us"] or 0
    steps = [(name, attempt[f"{name}_us"]) for name in ("queue", "guard", "overhead")]
    first, upstream = attempt["first_byte_us"], attempt["upstream_us"]
    if upstream is not None:
        steps += [("first byte", first), ("rest", upstream - (first or 0))]
    found, at = [], 0
    for name, us in steps:
        if not us or us < 0 or not whole:
            continue
        begin = min(_BAR - 1, at * _BAR // whole)
        length = max(1, min(_BAR - begin, round(us * _BAR / whole)))
        found.append((name, us, (" " * begin + "#" * length).ljust(_BAR)))
        at += us
    return found


def _fact(name: str, fact: dict[str, Any]) -> list[str]:
    what = fact.get("name") or fact.get("kind") or ""
    value = next(
        (fact[key] for key in ("value", "score", "label", "text") if fact.get(key) is not None), None
    )
    kind = name.removesuffix("s").replace("_", " ")
    told = kind if what in ("", kind) else f"{kind} {what}"
    said = "" if value is None else f": {cell(value)}"
    return [printable(f"{told}{said}  known {moment(fact['at_ns'])}")]
