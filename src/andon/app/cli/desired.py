"""Verbs about what should be: plan, apply, diff, undo, history.

Files are read here and understood by control, which names file and line of what is wrong. Nothing is applied that was
not shown first, or saved and unchanged since.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from andon.app.cli.commands import load
from andon.app.cli.journal import moment
from andon.app.cli.output import emit, emit_table, say
from andon.app.cli.plans import render_actions, render_plan
from andon.app.cli.session import FACTORY_FILE, Session
from andon.app.cli.table import cell
from andon.kernel.errors import Refused

CHANGES_WAIT = 2  # exit code of `plan`, as in Terraform's -detailed-exitcode

Files = Annotated[
    list[Path] | None,
    typer.Option("-f", "--file", help="Factory file or folder; later ones are laid over earlier ones."),
]
Prune = Annotated[bool, typer.Option("--prune/--no-prune", help="Remove what the files no longer say.")]
Message = Annotated[str, typer.Option("-m", "--message", help="Why, for the history.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]


def register(app: typer.Typer) -> None:
    """Add the verbs of this group."""
    for verb in (plan, apply, diff, undo, history):
        app.command()(verb)


def plan(
    context: typer.Context,
    file: Files = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Save the exact plan to this file.")] = None,
    prune: Prune = True,
    json_: Annotated[bool, typer.Option("--json", help="The plan as JSON; the same as -o json.")] = False,
) -> int:
    """Show what apply would do. Exits 0 when nothing would change, 2 when something would."""
    session: Session = context.obj
    answer = _plan(session, file, prune)
    if out is not None:
        saved = load("andon.control.plan")
        _write(out, saved.save_plan(load("msgspec").convert(answer, saved.ChangePlan)))
    if json_:
        say(load("json").dumps(answer, indent=2, ensure_ascii=False))
    else:
        emit(session, answer, lambda: render_plan(answer, session.colour), _subjects(answer))
    if out is not None:
        session.note(f"Saved as {answer['id']}. To do exactly this: andon apply {out}")
    return CHANGES_WAIT if _changes(answer) else 0


def apply(
    context: typer.Context,
    saved: Annotated[Path | None, typer.Argument(help="A plan saved by andon plan -o FILE.")] = None,
    file: Files = None,
    prune: Prune = True,
    message: Message = "",
    yes: Yes = False,
) -> None:
    """Make it so: a saved plan exactly, or what the factory file says."""
    session: Session = context.obj
    if saved is not None and file:
        raise Refused("arguments_conflict", "A saved plan and -f were both given.", hint="Give one of them.")
    if saved is not None and saved.suffix in (".yaml", ".yml"):
        file, saved = [saved], None
    answer = _load_plan(saved) if saved else _plan(session, file, prune)
    _show(session, answer)
    if not _changes(answer):
        emit(session, {"revision": None, "changes": 0}, lambda: "Nothing to do.")
        return
    if saved is None:
        _confirm(session, yes, "andon apply")
    _apply(session, answer, message)


def diff(
    context: typer.Context,
    before: Annotated[
        int | None, typer.Argument(help="Revision; by default the one before the latest.")
    ] = None,
    after: Annotated[int | None, typer.Argument(help="Revision; by default the latest.")] = None,
) -> None:
    """What changed between two revisions."""
    session: Session = context.obj
    answer = session.client().get("/v1/diff", **{"from": before, "to": after})
    head = f"Revision {answer['from']} -> {answer['to']}"
    emit(
        session,
        answer,
        lambda: head + "\n\n" + (render_actions(answer["actions"], session.colour) or "No changes."),
        _subjects(answer),
    )


def undo(
    context: typer.Context,
    to: Annotated[
        int | None, typer.Option("--to", min=1, help="Revision to return to; by default the last but one.")
    ] = None,
    message: Message = "",
    yes: Yes = False,
) -> None:
    """Return the whole factory to an earlier revision; itself a new revision, which can be undone."""
    session: Session = context.obj
    answer = session.client().post("/v1/undo", {"to": to or 0})
    _show(session, answer)
    if not _changes(answer):
        emit(session, {"revision": None, "changes": 0}, lambda: "Nothing to do.")
        return
    _confirm(session, yes, "andon undo")
    _apply(session, answer, message or f"undo to revision {answer['undo_of']}")


def history(
    context: typer.Context,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=500, help="How many at most.")] = 20,
) -> None:
    """The revisions of the factory, newest first."""
    session: Session = context.obj
    answer = session.client().get("/v1/revisions", limit=limit)
    rows = [
        [
            str(item["number"]),
            moment(item["at_ns"]),
            item["author"],
            str(item["resources"]),
            cell(item["message"]),
        ]
        for item in answer["items"]
    ]
    emit_table(session, answer, ("REVISION", "AT", "AUTHOR", "RESOURCES", "MESSAGE"), rows)


def _plan(session: Session, files: list[Path] | None, prune: bool) -> dict[str, Any]:
    paths = files or [session.home() / FACTORY_FILE]
    if not files and not paths[0].exists():
        raise Refused(
            "file_missing", f"There is no {paths[0]}.", hint="Write one with andon init, or name one with -f."
        )
    sources = load("andon.control.documents").read_sources([str(path) for path in paths])
    body = {"files": load("msgspec").to_builtins(sources), "prune": prune}
    answer: dict[str, Any] = session.client().post("/v1/plans", body)
    return answer


def _load_plan(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Refused(
            "file_unreadable", f"{path} cannot be read: {error.strerror}.", hint="Check the path."
        ) from error
    decoded: dict[str, Any] = load("msgspec").to_builtins(load("andon.control.plan").load_plan(data))
    return decoded


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise Refused(
            "file_unwritable", f"{path} cannot be written: {error.strerror}.", hint="Choose another file."
        ) from error


def _changes(answer: dict[str, Any]) -> bool:
    return any(action["verb"] != "no-op" for action in answer["actions"])


def _subjects(answer: dict[str, Any]) -> list[str]:
    return [f"{action['kind']}/{action['name']}" for action in answer["actions"] if action["verb"] != "no-op"]


def _show(session: Session, answer: dict[str, Any]) -> None:
    # What will happen is for people; the result, which scripts read, is what was done.
    session.note(render_plan(answer, session.colour and sys.stderr.isatty()))


def _confirm(session: Session, yes: bool, verb: str) -> None:
    if yes:
        return
    if not session.interactive():
        raise Refused(
            "confirmation_needed",
            "Nobody is at the terminal to confirm these changes.",
            hint=f"Add --yes, or save the plan with andon plan -o FILE and use {verb.split(maxsplit=1)[0]} apply FILE.",
        )
    if not typer.confirm("Do this?", default=False, err=True):
        raise Refused("not_confirmed", "Nothing was changed.", hint=f"Run {verb} again when you are ready.")


def _apply(session: Session, answer: dict[str, Any], message: str) -> None:
    done = session.client().post("/v1/applies", {"plan": answer, "message": message})
    number = done["number"]
    emit(session, done, lambda: f"Applied as revision {number}.", [str(number)])
    session.note(
        f"To go back: andon undo --to {done['parent']}" if done["parent"] else "To see it: andon status"
    )
