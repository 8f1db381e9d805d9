"""Prints results to stdout in the form that was asked for: table, wide, JSON, YAML or names.

JSON and YAML are the API's own answer, unchanged, so that scripts rely on one shape only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from andon.app.cli.commands import load
from andon.app.cli.session import FORMATS, Session
from andon.app.cli.table import render_table, shown
from andon.kernel.errors import Refused


def check_format(output: str) -> str:
    """The format, if it is one."""
    if output not in FORMATS:
        raise Refused(
            "output_unknown", f"'{output}' is not an output format.", hint=f"Use one of: {', '.join(FORMATS)}"
        )
    return output


def say(text: str) -> None:
    """One piece of a result. A terminal does not obey what callers and files have written; a pipe gets every byte."""
    sys.stdout.write((shown(text) if sys.stdout.isatty() else text) + "\n")
    sys.stdout.flush()


def to_yaml(value: Any) -> str:
    """YAML with keys in the order they came."""
    yaml = load("yaml")
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)).rstrip("\n")


def emit(session: Session, value: Any, as_text: Callable[[], str], names: Sequence[str] = ()) -> None:
    """Print `value` as JSON or YAML, its `names`, or the text for people."""
    if session.output == "json":
        say(json.dumps(value, indent=2, ensure_ascii=False))
    elif session.output == "yaml":
        say(to_yaml(value))
    elif session.output == "name":
        say("\n".join(names))
    else:
        say(as_text())


def emit_table(
    session: Session,
    value: Any,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    nothing: str = "Nothing here.",
    names_at: int = 0,
) -> None:
    """Print `value`, or a table whose column `names_at` holds the names; where it has no rows, say `nothing`."""
    emit(
        session,
        value,
        lambda: render_table(headings, rows, session.colour) if rows else nothing,
        [row[names_at] for row in rows],
    )
