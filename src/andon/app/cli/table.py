"""Plain tables and values for people: aligned columns, no boxes, nothing cut off.

Pure text in, text out, so that a table reads the same on a terminal, in a pipe and in a golden file.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

_GREEN, _YELLOW, _RED, _BOLD, _RESET = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[1m", "\x1b[0m"
_OURS = re.compile(r"\x1b\[(?:[01]|3[123])m")
# Our colours first, then one character: controls but line ends and tabs, and what turns the direction of writing.
_STEERING = re.compile(
    _OURS.pattern + r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
_COLOURS = {
    **dict.fromkeys(("Ready", "Succeeded", "True", "pass", "ready", "create", "active"), _GREEN),
    **dict.fromkeys(
        (
            "Progressing",
            "Paused",
            "Pending",
            "Promoting",
            "Aborting",
            "insufficient",
            "no-data",
            "update",
            "starting",
        ),
        _YELLOW,
    ),
    **dict.fromkeys(("Aborted", "Failed", "breach", "failed", "backoff", "delete", "revoked"), _RED),
}


def paint(text: str, word: str, colour: bool) -> str:
    """`text` in the colour of `word`, if colours are wanted and the word has one; the word itself always stays."""
    code = _COLOURS.get(word)
    return f"{code}{text}{_RESET}" if colour and code else text


def tint(text: str, word: str, colour: bool) -> str:
    """A whole line in `red` or `yellow`, if colours are wanted."""
    code = {"red": _RED, "yellow": _YELLOW}.get(word)
    return f"{code}{text}{_RESET}" if colour and code else text


def bold(text: str, colour: bool) -> str:
    """A heading."""
    return f"{_BOLD}{text}{_RESET}" if colour else text


def render_table(headings: Sequence[str], rows: Sequence[Sequence[str]], colour: bool = False) -> str:
    """Columns three blanks apart, headings in capitals, no blanks at the ends of lines."""
    rows = [[printable(text) for text in row] for row in rows]
    widths = [max(len(row[at]) for row in (headings, *rows)) for at in range(len(headings))]
    lines = [bold(_line(headings, widths, False), colour)]
    lines.extend(_line(row, widths, colour) for row in rows)
    return "\n".join(lines)


def printable(text: str) -> str:
    """Text with its control characters spelt out: what callers sent must not move a terminal's cursor or a row."""
    return text if text.isprintable() else "".join(map(_spelt, text))


def shown(text: str) -> str:
    """Text for a terminal: lines, tabs and our own colours stay, what else could steer a terminal is spelt out."""
    return _STEERING.sub(lambda found: found[0] if _OURS.fullmatch(found[0]) else _spelt(found[0]), text)


def _spelt(character: str) -> str:
    is_control = unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp")
    return character.encode("unicode_escape").decode() if is_control else character


def _line(cells: Sequence[str], widths: Sequence[int], colour: bool) -> str:
    last = len(cells) - 1
    padded = [cell if at == last else cell.ljust(widths[at] + 3) for at, cell in enumerate(cells)]
    return "".join(paint(text, cell, colour) for text, cell in zip(padded, cells, strict=True)).rstrip()


def at_path(value: Any, path: str) -> Any:
    """What stands at a path such as `status.ready` or `spec.release.version`; None if nothing does."""
    for step in path.split("."):
        if isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, dict):
            value = value.get(step)
        else:
            return None
    return value


def cell(value: Any) -> str:
    """One value as a cell: '-' where there is none, so that unknown never looks like zero."""
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        return ",".join(str(item) for item in value)
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"))
    return str(value)


def counted(number: int, noun: str) -> str:
    """A number of things: 1 file, 2 files."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def age(seconds: float) -> str:
    """A span as people read it: 12s, 5m, 3h, 8d."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"
