"""Verbs about certificates: make the factory's own authority and what it issues, show what is in force.

They work on the files of a home, with or without a running factory; running processes load what is new by themselves.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from andon.app.cli.commands import load
from andon.app.cli.group import ListingGroup
from andon.app.cli.output import emit_table
from andon.app.cli.session import Session
from andon.kernel.errors import Refused

_HEADINGS = ("FILE", "HOLDER", "NAMES", "ISSUER", "ENDS", "DAYS", "STATE")


def build() -> typer.Typer:
    """The group `andon certs`."""
    app = typer.Typer(cls=ListingGroup, rich_markup_mode=None, help="Certificates of the listeners.")
    for name, verb in (("create", create), ("issue", issue), ("show", show)):
        app.command(name)(verb)
    return app


def create(
    context: typer.Context,
    name: Annotated[
        list[str] | None, typer.Option(help="DNS name or address of this machine; may be repeated.")
    ] = None,
) -> None:
    """Make the authority and a certificate for each process, where they are missing or end soon."""
    session: Session = context.obj
    home, settings, clock = _ground(session, name or [])
    load("andon.app.transport").prepare(home, settings, clock)
    session.note(
        f"trust {home.certificates / 'ca.pem'}; set `tls: on` in andon.yaml to use them on loopback too"
    )
    show(context)


def issue(
    context: typer.Context,
    role: Annotated[str, typer.Argument(help="gateway, control, observer or client.")],
    out: Annotated[Path, typer.Option(help="Folder for the certificate, its key and ca.pem.")],
    name: Annotated[
        list[str] | None, typer.Option(help="DNS name or address of that machine; may be repeated.")
    ] = None,
) -> None:
    """A certificate for a process on another machine; the authority's key stays here."""
    session: Session = context.obj
    home, _, clock = _ground(session, [])
    authority = load("andon.security.certificates.authority")
    if role not in authority.ROLES:
        raise Refused(
            "certificate_role", f"'{role}' is no process.", hint=f"Use one of: {', '.join(authority.ROLES)}"
        )
    own = authority.Authority(home.certificates, clock)
    own.create(home.root.name)
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    elsewhere = authority.Authority(out, clock)
    elsewhere.issue(authority.Names(role=role, factory=home.root.name, hosts=tuple(name or ())), by=own)
    shutil.copy(own.root_file, elsewhere.root_file)
    session.note(f"copy the files to .andon/certificates of the home on that machine: {out}")


def show(context: typer.Context) -> None:
    """Every certificate of this home, and how long it lasts."""
    session: Session = context.obj
    home, settings, clock = _ground(session, [])
    described = load("andon.security.certificates.describing")
    given = [Path(path) for path in (settings.gateway_certificate, settings.control_certificate) if path]
    found = [described.describe(path, clock) for path in (*sorted(home.certificates.glob("*.pem")), *given)]
    rows = [
        (
            _beside(item["file"], home.root),
            item["holder"].removeprefix("CN="),
            ",".join(item["names"]) or "-",
            item["issuer"].removeprefix("CN="),
            item["ends"],
            str(item["days"]),
            item["state"],
        )
        for item in found
    ]
    emit_table(
        session,
        {"items": found},
        _HEADINGS,
        rows,
        nothing="No certificates yet: on loopback none is needed. Make them with: andon certs create",
    )


def _beside(file: str, root: Path) -> str:
    """A path as somebody in the factory's folder would write it."""
    path = Path(file)
    return str(path.relative_to(root)) if path.is_relative_to(root) else file


def _ground(session: Session, names: list[str]) -> tuple[Any, Any, Any]:
    """The home, its settings with more names, and a clock."""
    home = load("andon.app.home").Home(session.home())
    home.create()
    settings = load("andon.app.settings").load_settings(home.root, load("os").environ)
    if names:
        known = [name for name in settings.tls_names.split(",") if name]
        settings = load("msgspec").structs.replace(settings, tls_names=",".join([*known, *names]))
    return home, settings, load("andon.kernel.clock").SystemClock()
