"""`andon`: puts the groups of verbs together, turns errors into words and exit codes.

Global options may stand anywhere on the line. No traceback reaches a person unless Andon itself is wrong.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from andon.app.cli import (
    access,
    alerts,
    audit,
    certs,
    dashboards,
    desired,
    drift,
    facts,
    guards,
    journal,
    keys,
    ledger,
    lineage,
    login,
    machine,
    models,
    objectives,
    quality,
    query,
    releases,
    resources,
    scan,
    secrets,
    status,
    top,
    traffic,
)
from andon.app.cli.output import check_format
from andon.app.cli.session import FORMATS, Session
from andon.app.cli.table import shown
from andon.kernel.errors import AndonError

_VALUED = ("-o", "--output", "--home", "--url", "--ca")
_OUTPUT = ("-o", "--output")


def build() -> typer.Typer:
    """The command line."""
    app = typer.Typer(
        name="andon",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(options)
    for group in (
        machine,
        status,
        desired,
        resources,
        releases,
        top,
        traffic,
        query,
        facts,
        journal,
        login,
        scan,
    ):
        group.register(app)
    access.register(app)
    app.add_typer(access.build(), name="policies")
    app.add_typer(ledger.build(), name="ledger")
    app.add_typer(keys.build(), name="keys")
    app.add_typer(secrets.build(), name="secrets")
    app.add_typer(certs.build(), name="certs")
    app.add_typer(models.build(), name="models")
    app.add_typer(objectives.build(), name="objectives")
    app.add_typer(drift.build(), name="drift")
    app.add_typer(alerts.build(), name="alerts")
    app.add_typer(audit.build(), name="audit")
    app.add_typer(dashboards.build(), name="dashboards")
    app.add_typer(guards.build(), name="guards")
    app.add_typer(lineage.build(), name="lineage")
    app.add_typer(quality.build(), name="quality")
    return app


def options(
    context: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(envvar="ANDON_HOME", help="Folder of the factory; by default the nearest one above."),
    ] = None,
    url: Annotated[
        str, typer.Option(envvar="ANDON_URL", help="Address of the admin API; by default this folder's.")
    ] = "",
    ca: Annotated[
        Path | None,
        typer.Option(envvar="ANDON_CA_FILE", help="Certificates to trust; by default this factory's own."),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="How to print: " + ", ".join(FORMATS) + ".")
    ] = "table",
    plain: Annotated[bool, typer.Option("--no-color", help="No colours; so does NO_COLOR.")] = False,
) -> None:
    """Andon, the operational backbone of an AI factory.

    Global options may stand anywhere on the line.
    """
    colour = sys.stdout.isatty() and not plain and not os.environ.get("NO_COLOR")
    context.obj = Session(
        home_given=home, url_given=url, roots_given=ca, output=check_format(output), colour=colour
    )


def hoist(words: list[str]) -> list[str]:
    """Global options moved to the front, so that `andon get endpoints -o json` is what people mean by it.

    On `plan`, `-o FILE` saves the plan: a value that is not a format stays where it is.
    """
    front: list[str] = []
    rest: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        if word == "--":
            rest.extend(words[at:])
            break
        name, equals, value = word.partition("=")
        if name in _VALUED and (equals or at + 1 < len(words)):
            taken = 1 if equals else 2
            value = value if equals else words[at + 1]
            file = rest[:1] == ["plan"] and name in _OUTPUT and value not in FORMATS
            (rest if file else front).extend(words[at : at + taken])
            at += taken
        else:
            (front if word == "--no-color" else rest).append(word)
            at += 1
    return [*front, *rest]


def render_error(error: AndonError) -> str:
    """What happened, each field at fault, and what to do next."""
    faults: list[dict[str, Any]] = getattr(error, "faults", [])
    lines = [f"Error: {error.message}"] if len(faults) < 2 else [f"Error: {len(faults)} things are wrong."]
    for fault in faults if len(faults) > 1 else ():
        place = f"{fault['file']}:{fault['line']}: " if fault.get("line") else ""
        path = f"{fault['path']}: " if fault["path"] else ""
        lines.append(
            f"  {place}{path}{fault['message']}" + (f" ({fault['hint']})" if fault.get("hint") else "")
        )
    if error.hint:
        lines.append(f"Next: {error.hint}")
    return "\n".join(lines)


def run(words: list[str]) -> int:
    """Run one command line; its exit code: 0 done, 1 error, 2 changes wait (plan), 130 interrupted."""
    try:
        code = build()(args=hoist(words), prog_name="andon", standalone_mode=False)
    except AndonError as error:
        told = render_error(error)
        sys.stderr.write((shown(told) if sys.stderr.isatty() else told) + "\n")
        return 1
    except typer.TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            # A group without a verb: its help is no error, but what was missing.
            sys.stderr.write(error.format_message() + "\n")
            return 1
        sys.stderr.write(f"Error: {error.format_message()}\nNext: {_help_line(error)}\n")
        return 1
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("Interrupted.\n")
        return 130
    except BrokenPipeError:
        return 0
    return code if isinstance(code, int) else 0


def _help_line(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context else 'andon'} --help"


def main() -> None:
    """The entry point of the `andon` script."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
