"""Verbs about who somebody is: login, logout, whoami, users, issuers.

A session is kept in the person's own folder, in a file that nobody else can read; it is never printed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from andon.app.cli.client import segment
from andon.app.cli.commands import load
from andon.app.cli.group import ListingGroup
from andon.app.cli.journal import moment
from andon.app.cli.output import emit, emit_table, say
from andon.app.cli.session import Session
from andon.app.cli.table import cell, counted
from andon.kernel.errors import AndonError, Refused

_HEADINGS = ("NAME", "ROLES", "TEAM", "LABEL", "CREATED")


def register(app: typer.Typer) -> None:
    """Add the verbs of this group."""
    for verb in (login, logout, whoami):
        app.command(rich_help_panel="Identity")(verb)
    app.add_typer(_users(), name="users", rich_help_panel="Identity")
    app.add_typer(_issuers(), name="issuers", rich_help_panel="Identity")


def _users() -> typer.Typer:
    group = typer.Typer(cls=ListingGroup, rich_markup_mode=None, help="People who sign in with a password.")
    for name, verb in (
        ("list", list_),
        ("setup", setup),
        ("invite", invite),
        ("accept", accept),
        ("remove", remove),
    ):
        group.command(name)(verb)
    return group


def _issuers() -> typer.Typer:
    group = typer.Typer(cls=ListingGroup, rich_markup_mode=None, help="OpenID Connect issuers.")
    group.command("list")(issuers)
    group.command("test")(test)
    return group


def login(
    context: typer.Context,
    issuer: Annotated[str, typer.Option(help="Name of the Issuer; by default the only one.")] = "",
    user: Annotated[str, typer.Option(help="Sign in as this user, with a password.")] = "",
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="Read the password from here; - is standard input.")
    ] = None,
) -> None:
    """Sign in: in the browser with an issuer, or with --user by password."""
    session: Session = context.obj
    client = session.stranger()
    if user:
        answer = client.post("/v1/session", {"user": user, "password": _password(session, password_file)})
    else:
        answer = load("andon.app.cli.loopback").sign_in(client, issuer, session.note)
    session.keep_token(answer["token"])
    emit(session, {"user": answer["user"]}, lambda: f"Signed in as {answer['user']}", [answer["user"]])


def logout(
    context: typer.Context,
    everywhere: Annotated[bool, typer.Option("--everywhere", help="End all of your sessions.")] = False,
) -> None:
    """Sign out here, or everywhere."""
    session: Session = context.obj
    if not session.token():
        raise Refused("not_signed_in", "Nobody is signed in here.", hint="Sign in with: andon login")
    try:
        answer = session.client().post("/v1/session/logout", {"everywhere": everywhere})
    except AndonError as error:
        if error.status != 401:
            raise
        answer = {"sessions": 0}  # it had ended by itself
    finally:
        session.keep_token("")
    emit(
        session, answer, lambda: f"Ended {counted(answer['sessions'], 'session')}.", [str(answer["sessions"])]
    )


def whoami(context: typer.Context) -> None:
    """Who you are to the factory, and with which roles."""
    session: Session = context.obj
    answer = session.client().get("/v1/session")
    row = [
        answer["principal"],
        cell(answer["roles"]),
        cell(answer["team"]),
        answer["label"],
        cell(answer["issuer"]),
    ]
    emit_table(session, answer, ("PRINCIPAL", "ROLES", "TEAM", "LABEL", "ISSUER"), [row])


def list_(context: typer.Context) -> None:
    """Every user of the factory itself."""
    session: Session = context.obj
    answer = session.client().get("/v1/users")
    rows = [
        [one["name"], cell(one["roles"]), cell(one["team"]), one["label"], moment(one["created_ns"])]
        for one in answer["items"]
    ]
    emit_table(
        session,
        answer,
        _HEADINGS,
        rows,
        nothing="No users yet. Become the first with: andon users setup NAME",
    )


def setup(
    context: typer.Context,
    user: Annotated[str, typer.Argument(help="Your name.")],
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="Read the password from here; - is standard input.")
    ] = None,
) -> None:
    """Become the first administrator, with the code that the factory has left in .andon/setup.code."""
    session: Session = context.obj
    place = session.home() / ".andon" / "setup.code"
    try:
        code = place.read_text().strip()
    except OSError as error:
        raise Refused(
            "setup_over",
            f"There is no code at {place}: somebody was set up already, or the factory has not run.",
            hint="Ask an administrator for an invitation, or start the factory: andon up",
        ) from error
    _accept(session, code, user, password_file)


def invite(
    context: typer.Context,
    user: Annotated[str, typer.Argument(help="Whom.")],
    role: Annotated[list[str] | None, typer.Option(help="What they are granted; may be repeated.")] = None,
    team: Annotated[str, typer.Option(help="Whose they are.")] = "",
) -> None:
    """Make a code with which somebody sets a password; for a known user, a new one."""
    session: Session = context.obj
    answer = session.client().post("/v1/users", {"name": user, "roles": role or [], "team": team})
    session.note(f"Give this code to {user}; it works once, until {moment(answer['expires_ns'])}:")
    emit(session, answer, lambda: str(answer["code"]), [answer["user"]])


def accept(
    context: typer.Context,
    code: Annotated[str, typer.Option(help="From the invitation; asked for if it is left out.")] = "",
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="Read the password from here; - is standard input.")
    ] = None,
) -> None:
    """Set your password with a code, and sign in."""
    session: Session = context.obj
    _accept(session, code or typer.prompt("Code", hide_input=True, err=True), "", password_file)


def remove(context: typer.Context, user: Annotated[str, typer.Argument(help="Whom.")]) -> None:
    """End a user for good, and every session of theirs."""
    session: Session = context.obj
    answer = session.client().post(f"/v1/users/{segment(user)}/remove", {})
    emit(session, answer, lambda: f"Removed {user}", [user])


def issuers(context: typer.Context) -> None:
    """Every issuer, its keys as last fetched, and what is wrong with it."""
    session: Session = context.obj
    answer = session.client().get("/v1/resources/Issuer")
    rows = []
    for one in answer["items"]:
        status = one.get("status") or {}
        keys = cell(status.get("keyIds", ()))
        rows.append([one["metadata"]["name"], one["spec"]["issuer"], keys, cell(status.get("problem", ""))])
    emit_table(
        session,
        answer,
        ("NAME", "URL", "KEYS", "PROBLEM"),
        rows,
        nothing="No issuers. A resource of the kind Issuer declares one: andon explain Issuer.spec",
    )


def test(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="TOKEN-FILE", help="A token as it would be sent; - is standard input.")
    ],
) -> int:
    """Say what would be made of a token, and why it would not be taken."""
    session: Session = context.obj
    answer = session.client().post("/v1/issuers/test", {"token": _read(file)})
    emit(session, answer, lambda: _verdict(answer), [answer["principal"] or answer["reason"]])
    return 0 if answer["taken"] else 1


def _verdict(answer: dict[str, Any]) -> str:
    if answer["taken"]:
        roles = ", ".join(answer["roles"]) or "no roles: bind some with a RoleBinding"
        return f"Taken, from {answer['issuer']}: {answer['principal']} ({roles}), up to {answer['label']}"
    whose = f" by {answer['issuer']}" if answer["issuer"] else ""
    return f"Refused{whose} ({answer['reason']}): {answer['detail']}"


def _accept(session: Session, code: str, user: str, file: Path | None) -> None:
    body = {"code": code, "user": user, "password": _password(session, file, confirm=True)}
    answer = session.stranger().post("/v1/session/acceptance", body)
    session.keep_token(answer["token"])
    say(f"Signed in as {answer['user']}")


def _password(session: Session, file: Path | None, *, confirm: bool = False) -> str:
    if file is not None:
        return _read(file)
    if not session.interactive():
        raise Refused(
            "password_missing", "Nobody is there to type a password.", hint="Give --password-file FILE."
        )
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=confirm, err=True))


def _read(file: Path) -> str:
    try:
        text = sys.stdin.read(100_000) if str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise Refused("file_unreadable", f"{file} cannot be read: {why}.", hint="Check the path.") from error
    return text.strip()
