"""Writes docs/reference from the code: kinds, command line, errors and admin API.

Run by `make docs`; a test fails when a page is not current. It reads the product's own tables and source, never a
running factory, and refuses to write an error page while a code has no meaning in docs/errors.toml.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import typer

from andon.app.api import build_routes
from andon.app.cli.main import build, run
from andon.app.kinds import catalogue
from andon.control.explain import FieldDoc, fields_of, structs_in
from andon.control.kinds import Kind

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
RAISED = ("Refused", "Conflict", "Transient", "Permanent")
NOTE = "<!-- Made by `make docs` from the code. Edit the code, not this page. -->\n"


def main() -> int:
    """Write every page; 1 if an error code has no meaning."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    missing, _ = unexplained()
    if missing:
        sys.stderr.write("docs/errors.toml does not say what these mean: " + ", ".join(missing) + "\n")
        return 1
    for name, text in pages().items():
        (REFERENCE / name).write_text(text)
    return 0


def pages() -> dict[str, str]:
    """Every page by file name."""
    return {"kinds.md": kinds_page(), "cli.md": cli_page(), "errors.md": errors_page(), "api.md": api_page()}


def kinds_page() -> str:
    """Every kind, and every field of its spec, structs one after another."""
    parts = [NOTE, "# Kinds\n", "What a factory file may say. `andon explain KIND.field` prints the same.\n"]
    for kind in catalogue():
        parts += _kind_section(kind)
    return "\n".join(parts)


def _kind_section(kind: Kind) -> Iterator[str]:
    yield f"## {kind.name}\n"
    short = f" Short: {', '.join(f'`{word}`' for word in kind.short)}." if kind.short else ""
    made = " Made by Andon; not written in factory files." if kind.generated else ""
    yield f"{kind.summary} Plural: `{kind.plural}`.{short}{made}\n"
    seen: list[Any] = []
    waiting = [kind.spec]
    while waiting:  # ends: every struct is shown once
        struct = waiting.pop(0)
        if struct in seen:
            continue
        seen.append(struct)
        yield f"### {kind.name}: {'spec' if struct is kind.spec else struct.__name__}\n"
        yield _fields_table(fields_of(struct))
        for field in msgspec.structs.fields(struct):
            waiting += structs_in(field.type)


def _fields_table(fields: Iterable[FieldDoc]) -> str:
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for field in fields:
        empty = field.default in (None, "", (), [], {})
        written = "" if empty else f"`{msgspec.json.encode(field.default).decode()}`"
        default = "required" if field.required else written
        rows.append(
            f"| `{field.name}` | {_flat(field.type)} | {_flat(default)} | {_flat(field.description)} |"
        )
    return "\n".join(rows) + "\n"


def _flat(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def cli_page() -> str:
    """Every command's help, as the terminal shows it."""
    parts = [NOTE, "# Command line\n"]
    for words in commands():
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            run([*words, "--help"])
        parts.append(f"## {' '.join(('andon', *words))}\n\n```text\n{text.getvalue().strip()}\n```\n")
    return "\n".join(parts)


def commands() -> list[tuple[str, ...]]:
    """Every command and subcommand, the program itself first."""
    found: list[tuple[str, ...]] = [()]
    group: Any = typer.main.get_command(build())
    for name, command in group.commands.items():
        found.append((name,))
        found += [(name, inner) for inner in getattr(command, "commands", {})]
    return found


def api_page() -> str:
    """Every route of the admin API."""
    parts = [
        NOTE,
        "# Admin API\n",
        "Bearer key from `.andon/admin.key`; errors are problem details (RFC 9457).\n",
        "`GET /openapi.json` has every type.\n",
        "| route | action | what |",
        "|---|---|---|",
    ]
    routes = build_routes(cast("Any", SimpleNamespace(factory=None)))
    parts += [
        f"| `{route.method} {route.path}` | `{route.action}` | {_flat(route.summary)} |" for route in routes
    ]
    return "\n".join(parts) + "\n"


def errors_page() -> str:
    """Every error code with its meaning."""
    raised = raised_codes()
    parts = [
        NOTE,
        "# Error codes\n",
        "A code is stable, words may change. `Refused`: correct the request. `Conflict`: look again.",
        "`Transient`: try again later. `Permanent`: a person is needed.\n",
        "| code | kind | meaning, and what to do |",
        "|---|---|---|",
    ]
    for code, meaning in sorted(meanings().items()):
        parts.append(f"| `{code}` | {', '.join(sorted(raised.get(code, ())))} | {_flat(meaning)} |")
    return "\n".join(parts) + "\n"


def meanings() -> dict[str, str]:
    """What docs/errors.toml says."""
    with (ROOT / "docs" / "errors.toml").open("rb") as file:
        codes: dict[str, str] = tomllib.load(file)["codes"]
    return codes


def unexplained() -> tuple[list[str], list[str]]:
    """Codes that are raised and not explained, and codes that are explained and stand nowhere in the source."""
    known = meanings()
    text = "\n".join(path.read_text() for path in _sources())
    stale = [code for code in known if "*" not in code and f'"{code}"' not in text]
    return sorted(raised_codes().keys() - known.keys()), stale


def raised_codes() -> dict[str, set[str]]:
    """Every code that the source gives to an error as a literal or a module's constant, with the kinds of error."""
    found: dict[str, set[str]] = {}
    for path in _sources():
        tree = ast.parse(path.read_text())
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (kind := _name_of(node.func)) in RAISED:
                for code in _codes(node, constants):
                    found.setdefault(code, set()).add(kind)
    return found


def _sources() -> list[Path]:
    source = ROOT / "src" / "andon"
    return [path for path in sorted(source.rglob("*.py")) if "testing" not in path.relative_to(source).parts]


def _name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _codes(call: ast.Call, constants: dict[str, Any]) -> Iterator[str]:
    given = (
        call.args[0] if call.args else next((key.value for key in call.keywords if key.arg == "code"), None)
    )
    choices = [given.body, given.orelse] if isinstance(given, ast.IfExp) else [given]
    for choice in choices:
        value = constants.get(choice.id) if isinstance(choice, ast.Name) else getattr(choice, "value", None)
        if isinstance(choice, ast.JoinedStr):  # a family of codes, such as cannot_*
            value = "".join(
                str(getattr(part, "value", "")) if isinstance(part, ast.Constant) else "*"
                for part in choice.values
            )
        if isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9_*]*", value):
            yield value


if __name__ == "__main__":
    sys.exit(main())
