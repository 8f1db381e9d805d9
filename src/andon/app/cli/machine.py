"""Verbs about this machine: init, up, down, demo, version.

`up`, `down` and `demo` hand over to `app`; everything else only looks.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from andon import __version__
from andon.app.cli.commands import load
from andon.app.cli.output import emit_table, say
from andon.app.cli.session import FACTORY_FILE, Session
from andon.kernel.errors import Refused

_IGNORED = "# Everything that a running factory keeps: state, ledger, models, keys.\n.andon/\n"


def register(app: typer.Typer) -> None:
    """Add the verbs of this group."""
    for verb in (init, up, down, demo, version):
        app.command(rich_help_panel="Machine")(verb)


def init(
    context: typer.Context,
    folder: Annotated[Path | None, typer.Argument(help="Where; by default here.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a factory file that is there.")] = False,
) -> None:
    """Write a factory file to start from."""
    session: Session = context.obj
    target = folder or session.home_given or Path.cwd()
    file = target / FACTORY_FILE
    if file.exists() and not force:
        raise Refused(
            "file_exists", f"{file} is there already.", hint="Edit it, or overwrite it with --force."
        )
    try:
        target.mkdir(parents=True, exist_ok=True)
        file.write_text((Path(__file__).parent / "factory.template.yaml").read_text())
        ignore = target / ".gitignore"
        present = ignore.read_text() if ignore.exists() else ""
        if ".andon/" not in present.split():
            ignore.write_text(present + _IGNORED)
    except OSError as error:
        raise Refused(
            "file_unwritable", f"{target} cannot be written: {error.strerror}.", hint="Choose another folder."
        ) from error
    say(f"Wrote {file}")
    session.note("Next: andon up, then andon plan and andon apply")


def up(
    context: typer.Context,
    file: Annotated[
        list[Path] | None, typer.Option("-f", "--file", help="Factory file to apply first.")
    ] = None,
    detach: Annotated[bool, typer.Option("-d", "--detach", help="Return once it serves.")] = False,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the gateway; 0 picks a free one.")
    ] = None,
    control_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the admin API; 0 picks a free one.")
    ] = None,
) -> int:
    """Start the factory of this folder: control, gateway, replicas."""
    session: Session = context.obj
    # What is not given here is left to andon.yaml and the environment.
    ports = {
        name: value for name, value in (("gateway", port), ("control", control_port)) if value is not None
    }
    files = [path.resolve() for path in file or ()]
    return _code(load("andon.app.supervisor").up(session.home(), files, detach, ports))


def down(context: typer.Context) -> int:
    """Stop the factory of this folder; nothing that it keeps is removed."""
    session: Session = context.obj
    return _code(load("andon.app.supervisor").down(session.home()))


def demo(
    context: typer.Context,
    exit_: Annotated[bool, typer.Option("--exit", help="End by itself, with the factory stopped.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="One JSON report on stdout.")] = False,
) -> int:
    """Tell the story on real data: serve, release, and a bad release stopping itself."""
    session: Session = context.obj
    as_json = json_ or session.output == "json"
    return _code(load("andon.app.demo").demo(exit_, as_json, session.home_given))


def _code(result: Any) -> int:
    return result if isinstance(result, int) else 0


def version(context: typer.Context) -> None:
    """The version of this program."""
    session: Session = context.obj
    compiled = load("andon.app.compiled")
    reason = compiled.find(os.environ, compiled.folder()).reason
    document = {"version": __version__, "gateway": "pure" if reason else "compiled", "reason": reason}
    gateway = f"pure ({reason})" if reason else "compiled"
    emit_table(session, document, ["VERSION", "GATEWAY"], [[__version__, gateway]])
