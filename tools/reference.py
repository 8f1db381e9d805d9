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
from typing import Any

import msgspec
import typer

from andon.app.cli.main import build, run
from andon.app.kinds import catalogue
from andon.app.policy_vocabulary import every_route
from andon.control.explain import FieldDoc, fields_of, structs_in
from andon.control.kinds import Kind
from andon.ledger.row import SCHEMA_VERSION, describe
from andon.observability.telemetry import mapping

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
RAISED = ("Refused", "Conflict", "Transient", "Permanent")
# Calls that carry a code on to an error, with the place of the code among their arguments.
CARRIED = {"Rejection": 1, "Fault": 0, "fail": 0, "refuse": 2, "_conclude": 2}
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
    return {
        "kinds.md": kinds_page(),
        "cli.md": cli_page(),
        "errors.md": errors_page(),
        "api.md": api_page(),
        "ledger.md": ledger_page(),
        "telemetry.md": telemetry_page(),
    }


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
    routes = every_route()
    parts += [
        f"| `{route.method} {route.path}` | `{route.action}` | {_flat(route.summary)} |" for route in routes
    ]
    return "\n".join(parts) + "\n"


def ledger_page() -> str:
    """Every field of the rows that the ledger keeps of each attempt."""
    parts = [
        NOTE,
        "# The ledger's rows\n",
        f"Schema version {SCHEMA_VERSION}. An **intent** is written before an attempt is sent,",
        "an **outcome** when it has ended; `id` and `attempt` join them.",
        "Unknown is null, never zero. Fields are only ever appended, and never change their meaning.\n",
    ]
    columns = describe()
    for row in dict.fromkeys(column.row for column in columns):
        parts += [f"## {row.capitalize()}\n", "| field | type | unit | meaning |", "|---|---|---|---|"]
        for column in (column for column in columns if column.row == row):
            kind = column.type + (" or null" if column.nullable else "")
            parts.append(f"| `{column.name}` | {kind} | {column.unit} | {_flat(column.meaning)} |")
        parts[-1] += "\n"
    return "\n".join(parts).rstrip() + "\n"


def telemetry_page() -> str:
    """Every name under which something of the ledger leaves the house."""
    parts = [
        NOTE,
        "# Telemetry: names, units, buckets\n",
        f"Mapping version {mapping.VERSION}. HTTP: OpenTelemetry semantic conventions {mapping.HTTP_SEMCONV}.",
        f"Generative AI: {mapping.GENAI_SEMCONV}.",
        "Stability: `stable` and `development` are the conventions' own words, `andon` is a name of this product.\n",
        "## Attributes of spans\n",
        "`server`: the span of the exchange; `attempt`: that of each attempt. In angle brackets: derived.\n",
        "| attribute | span | from | unit | stability |",
        "|---|---|---|---|---|",
    ]
    for one in mapping.ATTRIBUTES:
        source = f"`{one.source}`" + (", µs to s" if one.conversion == "us_to_s" else "")
        parts.append(f"| `{one.name}` | {one.where} | {source} | {one.unit} | {one.stability} |")
    parts += [
        "\n## Metrics made from rows\n",
        "| on /metrics | in OTLP | unit | kind | labels | stability | meaning |",
        "|---|---|---|---|---|---|---|",
    ]
    for made in mapping.INSTRUMENTS:
        labels = ", ".join(f"`{label}`" for label in made.labels)
        parts.append(
            f"| `{made.family}` | `{made.otel}` | {made.unit} | {made.kind} | {labels} | {made.stability} "
            f"| {_flat(made.meaning)} |"
        )
    parts.append("\n## Buckets\n")
    parts += [
        f"- `{made.family}`: {', '.join(f'{bound:g}' for bound in made.bounds)}"
        for made in mapping.INSTRUMENTS
        if made.bounds
    ]
    parts.append("\n## Labels with another name in OTLP\n")
    parts += [f"- `{label}`: `{name}`" for label, name in mapping.LABELS.items()]
    parts.append("- every other label: `andon.` in front of it")
    return "\n".join(parts) + "\n"


def errors_page() -> str:
    """Every error code with its meaning."""
    raised, operator = raised_codes(), explanations("operator")
    parts = [
        NOTE,
        "# Error codes\n",
        "A code is stable, words may change. `Refused`: correct the request. `Conflict`: look again.",
        "`Transient`: try again later. `Permanent`: a person is needed. Where no kind is named, the status tells it.\n",
        "| code | kind | meaning, and what to do | what the operator does |",
        "|---|---|---|---|",
    ]
    for code, meaning in sorted(explanations("codes").items()):
        kinds = ", ".join(sorted(kind for kind in raised.get(code, ()) if kind))
        parts.append(f"| `{code}` | {kinds} | {_flat(meaning)} | {_flat(operator.get(code, ''))} |")
    return "\n".join(parts) + "\n"


def explanations(table: str) -> dict[str, str]:
    """One table of docs/errors.toml: `codes` or `operator`."""
    with (ROOT / "docs" / "errors.toml").open("rb") as file:
        read: dict[str, dict[str, str]] = tomllib.load(file)
    return read[table]


def unexplained() -> tuple[list[str], list[str]]:
    """Codes that are raised and not explained, and codes that are explained and stand nowhere in the source."""
    known = explanations("codes")
    text = "\n".join(path.read_text() for path in _sources())
    stale = [code for code in known if "*" not in code and f'"{code}"' not in text]
    stale += [code for code in explanations("operator") if code not in known]
    return sorted(raised_codes().keys() - known.keys()), stale


def raised_codes() -> dict[str, set[str]]:
    """Every code that the source gives away as a literal or a module's constant, with the kinds of error.

    The kind is empty for a code that no client ever reads: it is written to the ledger only.
    """
    found: dict[str, set[str]] = {}
    for path in _sources():
        tree = ast.parse(path.read_text())
        constants = dict(_constants(tree))
        for node in ast.walk(tree):
            for kind, given in _given(node):
                for code in _codes(given, constants):
                    found.setdefault(code, set()).add(kind)
    return found


def _constants(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    yield target.id, node.value.value


def _given(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """The kind and the expression of each code that `node` gives away."""
    if isinstance(node, ast.Assign) and any("error_code" in ast.unparse(target) for target in node.targets):
        values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        yield from (("", value) for value in values)
    if not isinstance(node, ast.Call):
        return
    name = _name_of(node.func)
    place = 0 if name in RAISED else CARRIED.get(name)
    if place is None:
        return
    given = next((key.value for key in node.keywords if key.arg == "code"), None)
    if given is None and len(node.args) > place:
        given = node.args[place]
    if given is not None:
        yield name if name in RAISED else _kind_by_status(name, node), given


def _kind_by_status(name: str, call: ast.Call) -> str:
    """Codes that travel as words become errors later: by their status, as `refuse` of the gateway does it."""
    if name == "_conclude":
        return ""
    statuses = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    status = next((value for value in statuses if isinstance(value, int)), 500)
    return "Transient" if status >= 500 else "Refused"


def _sources() -> list[Path]:
    source = ROOT / "src" / "andon"
    return [path for path in sorted(source.rglob("*.py")) if "testing" not in path.relative_to(source).parts]


def _name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _codes(given: ast.expr, constants: dict[str, Any]) -> Iterator[str]:
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
