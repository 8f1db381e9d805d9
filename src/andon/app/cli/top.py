"""`andon top`: what each endpoint and release is doing now, again and again, for one look at 100 columns.

Asks `GET /v1/top`, which the observer answers from its live windows and control from the log where none runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import typer

from andon.app.cli.output import emit
from andon.app.cli.session import Session
from andon.app.cli.table import bold, tint

_HOME = "\x1b[H"  # redrawn in place: a cleared screen would flicker
_REST_OF_LINE, _REST_OF_SCREEN = "\x1b[K", "\x1b[J"
TOP_S = 1.0
ERRORS_WARNED = 0.01  # share of requests; the row is yellow
ERRORS_ALARMED = 0.05  # red
_HEADINGS = (
    "ENDPOINT", "RELEASE", "ARM", "REQ/S", "ERROR", "P50", "P95", "P99", "TTFT95", "TOK/S", "OPEN", "SHARE",
)  # fmt: skip
_NAMES = 3  # columns of text, aligned left; figures are aligned right
_WIDEST = (15, 15, 7)  # of the columns of text; a longer name keeps its beginning and its end


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(top)


def top(
    context: typer.Context,
    seconds: Annotated[
        int, typer.Option("--window", min=1, max=3600, help="Over the last so many seconds.")
    ] = 60,
    once: Annotated[bool, typer.Option("--once", help="Print once and end.")] = False,
    sort: Annotated[
        str, typer.Option(help="By what: trouble, rate, latency or name.", metavar="ORDER")
    ] = "trouble",
) -> None:
    """What each endpoint and release is doing now."""
    session: Session = context.obj
    client = session.client()
    order = _ORDERS.get(sort)
    if order is None:
        raise typer.BadParameter(f"'{sort}' is not an order; use one of: {', '.join(_ORDERS)}")
    live = not once and session.output in ("table", "wide") and sys.stdout.isatty()
    while True:
        answer = client.get("/v1/top", window_s=seconds)
        items = sorted(answer["items"], key=order)
        if not live:
            text = partial(render, items, session.colour, wide(session))
            emit(session, answer, text, [item["endpoint"] for item in items])
            return
        _redraw(f"{render(items, session.colour, wide(session))}\n\nThe last {seconds} s. Ctrl-C ends.")
        session.pause(TOP_S)


def wide(session: Session) -> bool:
    """Whether names are shown in full, whatever that does to the width."""
    return session.output == "wide"


def _redraw(text: str) -> None:
    lines = (line + _REST_OF_LINE for line in text.splitlines())
    sys.stdout.write(_HOME)
    sys.stdout.write("\n".join(lines) + _REST_OF_SCREEN + "\n")
    sys.stdout.flush()


def _by_trouble(item: dict[str, Any]) -> Any:
    return (-round(item["error_rate"] or 0.0, 4), -item["requests"], *_by_name(item))


def _by_rate(item: dict[str, Any]) -> Any:
    return (-item["requests_per_s"], *_by_name(item))


def _by_latency(item: dict[str, Any]) -> Any:
    return (-(item["p99_ms"] or 0.0), *_by_name(item))


def _by_name(item: dict[str, Any]) -> Any:
    return (item["endpoint"], item["release"], item["arm"])


_ORDERS = {"trouble": _by_trouble, "rate": _by_rate, "latency": _by_latency, "name": _by_name}


def render(items: Sequence[dict[str, Any]], colour: bool = False, in_full: bool = False) -> str:
    """The table; a row in trouble is yellow or red, and its error share says so without colours too."""
    if not items:
        return "Nothing here."
    cells = [_cells(item, in_full) for item in items]
    widths = [max(len(row[at]) for row in (_HEADINGS, *cells)) for at in range(len(_HEADINGS))]
    lines = [bold(_line(_HEADINGS, widths), colour)]
    for item, row in zip(items, cells, strict=True):
        rate = item["error_rate"] or 0.0
        word = "red" if rate >= ERRORS_ALARMED else "yellow" if rate >= ERRORS_WARNED else ""
        lines.append(tint(_line(row, widths), word, colour))
    return "\n".join(lines)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    left = (cell.ljust(width) for cell, width in zip(row[:_NAMES], widths[:_NAMES], strict=True))
    right = (cell.rjust(width) for cell, width in zip(row[_NAMES:], widths[_NAMES:], strict=True))
    return "  ".join((*left, *right)).rstrip()


def _cells(item: dict[str, Any], in_full: bool) -> list[str]:
    names = [item["endpoint"] or "-", item["release"] or "-", item["arm"] or "-"]
    if not in_full:
        names = [shorten(name, width) for name, width in zip(names, _WIDEST, strict=True)]
    weight, in_flight = item["weight"], item["in_flight"]
    return [
        *names,
        _rate(item["requests_per_s"]),
        "-" if item["error_rate"] is None else f"{item['error_rate']:.1%}",
        *(latency(item[name]) for name in ("p50_ms", "p95_ms", "p99_ms", "first_token_p95_ms")),
        _rate(item["tokens_per_s"]) if item["tokens"] else "-",
        "-" if in_flight is None else str(in_flight),
        "-" if weight is None else f"{weight:.0%}",
    ]


def shorten(name: str, width: int) -> str:
    """The beginning and the end of a name that is too long."""
    return name if len(name) <= width else f"{name[: width - width // 2 - 1]}…{name[-(width // 2) :]}"


def latency(milliseconds: float | None) -> str:
    """A latency in at most six characters, with its unit: 850us, 1.2ms, 340ms, 4.5s, 12m."""
    if milliseconds is None:
        return "-"
    for below, scale, unit in ((1.0, 1000.0, "us"), (1000.0, 1.0, "ms"), (100_000.0, 0.001, "s")):
        if milliseconds < below:
            value = milliseconds * scale
            return f"{value:.1f}{unit}" if value < 10 and unit != "us" else f"{value:.0f}{unit}"
    return f"{milliseconds / 60_000:.0f}m"


def _rate(value: float) -> str:
    """A rate in at most five characters."""
    for below, scale, unit in ((100.0, 1.0, ""), (1e4, 1.0, ""), (1e7, 1e-3, "k")):
        if value < below:
            return f"{value * scale:.1f}{unit}" if value < 100 else f"{value * scale:.0f}{unit}"
    return f"{value * 1e-6:.0f}M"
