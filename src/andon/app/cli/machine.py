"""Verbs about this machine: init, up, down, status, demo, version.

`up`, `down` and `demo` hand over to `app`; everything else only looks.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from andon import __version__
from andon.app.cli.client import Client
from andon.app.cli.commands import load
from andon.app.cli.output import emit, emit_table, say
from andon.app.cli.session import FACTORY_FILE, Session
from andon.app.cli.table import at_path, cell
from andon.kernel.errors import AndonError, Refused

_IGNORED = "# Everything that a running factory keeps: state, ledger, models, keys.\n.andon/\n"


def register(app: typer.Typer) -> None:
    """Add the verbs of this group."""
    for verb in (init, up, down, status, demo, version):
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


def status(context: typer.Context) -> int:
    """Whether the factory serves, and what runs; exits 1 when something does not."""
    session: Session = context.obj
    client = session.client()
    ready = client.get("/readyz")
    endpoints = _listed(client, "Endpoint")
    rollouts = [item for item in _listed(client, "Rollout") if _active(item)]
    answer = {"ready": ready, "url": client.url, "endpoints": endpoints, "rollouts": rollouts}

    def as_text() -> str:
        lines = [f"Control     {client.url}   {'ready' if ready['ready'] else 'NOT READY'}"]
        lines.extend(f"  {check['name']}: {check['detail']}" for check in ready["checks"] if not check["ok"])
        for title, items in (("Endpoints", endpoints), ("Rollouts", rollouts)):
            lines.append(f"{title:<11} {len(items) or 'none'}")
            lines.extend(f"  {item['metadata']['name']}   {_phase(item)}" for item in items)
        return "\n".join(lines)

    emit(session, answer, as_text, [item["metadata"]["name"] for item in endpoints])
    return 0 if ready["ready"] else 1


def _listed(client: Client, kind: str) -> list[dict[str, Any]]:
    try:
        items: list[dict[str, Any]] = client.get(f"/v1/resources/{kind}")["items"]
    except AndonError as error:
        if error.code != "unknown_kind":
            raise
        return []  # a build without this kind has none of it
    return items


def _active(item: dict[str, Any]) -> bool:
    return at_path(item, "status.phase") not in ("Succeeded", "Aborted")


def _phase(item: dict[str, Any]) -> str:
    """A rollout's phase, or the condition of an endpoint that matters most."""
    phase = at_path(item, "status.phase")
    reason = at_path(item, "status.reason")
    conditions = at_path(item, "status.conditions") or []
    holding = {
        one["type"]: one.get("reason", "") for one in conditions if one.get("status") in (True, "true")
    }
    for kind in ("Degraded", "Progressing", "Ready") if not phase else ():
        if kind in holding:
            phase, reason = kind, holding[kind]
            break
    return cell(phase) + (f" ({reason})" if reason else "")


def version(context: typer.Context) -> None:
    """The version of this program."""
    session: Session = context.obj
    compiled = load("andon.app.compiled")
    reason = compiled.find(os.environ, compiled.folder()).reason
    document = {"version": __version__, "gateway": "pure" if reason else "compiled", "reason": reason}
    gateway = f"pure ({reason})" if reason else "compiled"
    emit_table(session, document, ["VERSION", "GATEWAY"], [[__version__, gateway]])
