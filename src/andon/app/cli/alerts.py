"""Verbs about alerts: what fires, taking it on, silences, and rules tried on history before they wake anybody.

`andon alerts NAME` is `andon alerts show NAME`. Trying a rule on a series needs no factory; it loads arrays then.
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

_HEADINGS = ("ALERT", "CONDITION", "SEVERITY", "STATE", "FIRING", "SINCE", "LABELS", "NOTE")
_INSTANCE_HEADINGS = ("FINGERPRINT", "STATE", "SINCE", "VALUE", "LABELS", "QUIET BY", "TAKEN BY")
_PAGE_HEADINGS = ("AT", "LASTED", "VALUE", "ALERTS", "INCIDENT", "LABELS")
_INCIDENT_HEADINGS = ("INCIDENT", "FROM", "UNTIL", "FOUND AFTER")
_ROOM = "andon.observability.alerts"
_NS = 1_000_000_000
_QUIET = ("alertname", "severity")


def build() -> typer.Typer:
    """The group `andon alerts`."""
    app = typer.Typer(
        cls=NamedGroup,
        help="Alerts: what fires, who has taken it on, silences, and what a rule would have done.",
        invoke_without_command=True,
        rich_markup_mode=None,
    )
    app.callback()(overview)
    app.command("list")(list_)
    for verb in (show, ack, silence, unsilence):
        app.command()(verb)
    app.command("test")(try_rule)
    app.command("send-test")(send_test)
    return app


def overview(context: typer.Context) -> None:
    """Alerts: what fires, who has taken it on, silences, and what a rule would have done."""
    if context.invoked_subcommand is None:
        list_(context)


def list_(context: typer.Context) -> None:
    """Every alert, what fires first."""
    session: Session = context.obj
    page = session.client().get("/v1/alerts")
    if not page["evaluating"]:
        session.note("Note: no observer evaluates alerts at the moment; what follows may be old.")
    order = {"firing": 0, "pending": 1, "inactive": 2, "disabled": 3}
    items = sorted(page["items"], key=lambda item: (order.get(item["state"], 9), item["name"]))
    emit_table(session, page, _HEADINGS, [_row(item, session.now_s()) for item in items])


def _row(item: dict[str, Any], now_s: float) -> list[str]:
    active = [one for one in item["instances"] if one["phase"] != "resolved"]
    since_ns = min((one["active_ns"] for one in active), default=0)
    quiet = sum(bool(one["muted_by"]) for one in active)
    taken = sum(bool(one["acked_by"]) for one in active)
    notes = [item["error"]] if item["error"] else []
    notes += [f"{quiet} quiet"] if quiet else []
    notes += [f"{taken} taken on"] if taken else []
    notes += [f"{item['left_out']} left out"] if item["left_out"] else []
    return [
        item["name"],
        item["condition"],
        item["severity"],
        item["state"],
        str(sum(one["phase"] == "firing" for one in active)),
        age(now_s - since_ns / _NS) if since_ns else "-",
        "; ".join(_labels(one["labels"]) for one in active[:2]) + (" …" if len(active) > 2 else "") or "-",
        ", ".join(notes) or "-",
    ]


def _labels(labels: dict[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items() if name not in _QUIET) or "-"


def show(context: typer.Context, name: Annotated[str, typer.Argument(help="The alert.")]) -> None:
    """One alert with everything that it says now."""
    session: Session = context.obj
    item = session.client().get(f"/v1/alerts/{segment(name)}")

    def as_text() -> str:
        lines = [f"Alert       {item['name']}   {item['severity']}   {item['condition']}   {item['state']}"]
        lines += [f"For         {item['description']}"] if item["description"] else []
        lines.append(f"Receivers   {', '.join(item['receivers']) or 'nobody is told'}")
        lines += [f"Error       {item['error']}"] if item["error"] else []
        rows = [_instance(one, session.now_s()) for one in item["instances"]]
        if rows:
            lines += ["", render_table(_INSTANCE_HEADINGS, rows, session.colour)]
        return "\n".join(lines)

    emit(session, item, as_text, [name])


def _instance(one: dict[str, Any], now_s: float) -> list[str]:
    return [
        one["fingerprint"],
        one["phase"],
        age(now_s - one["active_ns"] / _NS),
        cell(one["value"]),
        _labels(one["labels"]),
        one["muted_by"] or "-",
        one["acked_by"] or "-",
    ]


def ack(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The alert.")],
    fingerprint: Annotated[str, typer.Argument(help="One of what fires; by default all.")] = "",
) -> None:
    """Take it on: it is not repeated any more, and its end is still told."""
    session: Session = context.obj
    answer = session.client().post(f"/v1/alerts/{segment(name)}/ack", {"fingerprint": fingerprint})
    rows = [_instance(one, session.now_s()) for one in answer["items"]]
    emit_table(session, answer, _INSTANCE_HEADINGS, rows)


def silence(
    context: typer.Context,
    matchers: Annotated[
        list[str], typer.Argument(help="Such as alertname=errors, endpoint=~chat.*, severity!=page.")
    ],
    duration: Annotated[str, typer.Option("--for", help="How long, from now on.")] = "2h",
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    name: Annotated[str, typer.Option(help="A name for it.")] = "",
) -> None:
    """Nobody is told of what matches, for a while; it goes on being seen."""
    session: Session = context.obj
    body = {
        "matchers": [_matcher(one) for one in matchers],
        "duration": duration,
        "reason": reason,
        "name": name,
    }
    answer = session.client().post("/v1/silences", body)
    emit(session, answer, lambda: f"{answer['name']} until {answer['ends']}", [answer["name"]])


def _matcher(text: str) -> dict[str, str]:
    for op in ("!=", "=~", "!~", "="):
        label, found, value = text.partition(op)
        if found and label and not label.endswith(("!", "=")):
            return {"label": label, "op": op, "value": value}
    raise Refused("matcher_invalid", f"'{text}' compares no label.", hint="Write label=value, !=, =~ or !~.")


def unsilence(context: typer.Context, name: Annotated[str, typer.Argument(help="The silence.")]) -> None:
    """End a silence."""
    session: Session = context.obj
    answer = session.client().post(f"/v1/silences/{segment(name)}/expire")
    emit(session, answer, lambda: f"{answer['name']} ended", [answer["name"]])


def send_test(context: typer.Context, receiver: Annotated[str, typer.Argument(help="The receiver.")]) -> int:
    """Send a notification that says that it is a test; exits 1 when it did not arrive."""
    session: Session = context.obj
    answer = session.client().post(f"/v1/receivers/{segment(receiver)}/test")
    why = f": {answer['why']}" if answer["why"] else ""
    emit(session, answer, lambda: f"{receiver}: {answer['word']}{why}", [receiver])
    return 0 if answer["word"] == "sent" else 1


def try_rule(
    context: typer.Context,
    rule: Annotated[
        str, typer.Argument(help="An alert that is applied, or a file with one that need not be.")
    ],
    since: Annotated[str, typer.Option(help="How far back in the ledger, at most 92d.")] = "30d",
    incidents: Annotated[Path | None, typer.Option(help="CSV of marked incidents: start,end,name.")] = None,
    series: Annotated[
        Path | None, typer.Option(help="CSV timestamp,value to be used instead of the ledger.")
    ] = None,
    pages: Annotated[float, typer.Option(help="Pages a week that the advice aims at.", min=0.001)] = 1.0,
) -> None:
    """What a rule would have done: pages a week, delays, misses, and a threshold that wakes people less."""
    session: Session = context.obj
    name, spec = _rule(rule)
    if series is not None:
        report = _offline(session, (name, spec), series, incidents, pages)
    else:
        body: dict[str, Any] = {"since": since, "pages_per_week": pages}
        body |= {"spec": spec} if spec is not None else {"name": name}
        if incidents is not None:
            body["incidents"] = [
                {"starts_ns": one.starts_ns, "ends_ns": one.ends_ns, "name": one.name}
                for one in _read(incidents, "read_incidents")
            ]
        report = session.client().post("/v1/alerts/test", body)
    emit(session, report, lambda: render_report(name, report, session.colour), [name])


def _rule(text: str) -> tuple[str, dict[str, Any] | None]:
    path = Path(text)
    if not path.is_file():
        return text, None
    yaml = load("yaml")
    try:
        found = [one for one in yaml.safe_load_all(path.read_text()) if isinstance(one, dict)]
    except (OSError, yaml.YAMLError) as error:
        raise Refused(
            "file_unreadable", f"{path} cannot be read: {error}", hint="Correct the file."
        ) from error
    alerts = [one for one in found if one.get("kind") == "Alert"]
    if len(alerts) != 1:
        raise Refused(
            "alert_invalid", f"{path} holds {len(alerts)} alerts.", hint="Give a file with exactly one."
        )
    return str(alerts[0].get("metadata", {}).get("name", path.stem)), dict(alerts[0].get("spec", {}))


def _read(path: Path, reader: str) -> Any:
    try:
        with path.open(newline="") as file:
            return getattr(load(f"{_ROOM}.series"), reader)(file)
    except OSError as error:
        raise Refused(
            "file_unreadable", f"{path} cannot be read: {error.strerror}.", hint="Check the path."
        ) from error
    except ValueError as error:
        raise Refused(
            "series_invalid", f"{path}: {error}.", hint="Write timestamp,value or start,end,name."
        ) from error


def _offline(
    session: Session,
    rule: tuple[str, dict[str, Any] | None],
    series: Path,
    incidents: Path | None,
    pages: float,
) -> dict[str, Any]:
    """A series needs no ledger, and a rule in a file no factory."""
    name, spec = rule
    if spec is None:
        spec = session.client().get(f"/v1/resources/alerts/{segment(name)}")["spec"]
    msgspec, room = load("msgspec"), load(f"{_ROOM}.series")
    try:
        typed = msgspec.convert(spec, load(f"{_ROOM}.model").AlertSpec)
        wanted = load(f"{_ROOM}.rules").compile_rule(name, typed)
        times, values = _read(series, "read_series")
        history = room.history_of(wanted, times, values)
    except (ValueError, msgspec.ValidationError) as error:
        raise Refused("alert_invalid", f"{error}.", hint="Correct the rule.") from error
    marked = _read(incidents, "read_incidents") if incidents is not None else ()
    report: dict[str, Any] = load(f"{_ROOM}.report").report_of(wanted, history, marked, pages)
    return report


def render_report(name: str, report: dict[str, Any], colour: bool) -> str:
    """The summary, the pages, the incidents and the advice, as text."""
    lines = [
        f"Alert       {name}   {moment(report['since_ns'])} … {moment(report['until_ns'])}",
        f"Pages       {report['pages']}, {report['pages_per_week']:.3g} a week; {report['repeats']} repeats",
        f"True        {report['firing_share']:.2%} of the time, over {report['series']} series",
    ]
    if report["false_pages"] is not None:
        delay = report["median_delay_s"]
        found = f"{report['detected']} of {len(report['incidents'])} found"
        median = f", after {age(delay)} (median)" if delay is not None else ""
        lines.append(f"Incidents   {found}{median}; {report['false_pages']} false pages")
    advice = report["advice"]
    if advice is not None:
        found = f", {advice['detected']} incidents found" if report["false_pages"] is not None else ""
        rate = f"{advice['pages_per_week']:.3g} pages a week"
        lines.append(f"Advice      a threshold of {advice['threshold']:g} gives {rate}{found}")
    lines += [f"Note        {note}" for note in report["notes"]]
    pages = [
        [
            moment(page["at_ns"]),
            "went on" if page["lasted_s"] is None else age(page["lasted_s"]),
            cell(page["value"]),
            str(page["alerts"]),
            page["incident"] or ("false" if report["false_pages"] is not None else "-"),
            _labels(page["labels"]),
        ]
        for page in report["shown"]
    ]
    if pages:
        lines += ["", render_table(_PAGE_HEADINGS, pages, colour)]
    if report["left_out"]:
        lines.append(f"and {report['left_out']} more")
    marked = [
        [
            one["name"] or "-",
            moment(one["starts_ns"]),
            moment(one["ends_ns"]),
            "MISSED" if one["delay_s"] is None else age(one["delay_s"]),
        ]
        for one in report["incidents"]
    ]
    if marked:
        lines += ["", render_table(_INCIDENT_HEADINGS, marked, colour)]
    return "\n".join(lines)
