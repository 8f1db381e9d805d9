"""Verbs about secrets: set, list, show, revoke, remove, rotate, shred.

A value is read without echo, from standard input or from a file; never from the command line, which every process of
the machine can read. No verb prints one.
"""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from andon.app.cli.client import segment
from andon.app.cli.group import ListingGroup
from andon.app.cli.journal import moment
from andon.app.cli.output import emit, emit_table
from andon.app.cli.session import Session
from andon.app.cli.table import cell, counted
from andon.kernel.errors import Refused

VALUE_BYTES_MAX = 64 * 1024
_HEADINGS = ("NAME", "STATE", "VERSION", "OWNER", "EXPIRES", "DUE", "LAST USED")
_WIDE_HEADINGS = (*_HEADINGS, "SET")

Name = Annotated[str, typer.Argument(metavar="NAME", help="As references name it: secret:NAME.")]
Reason = Annotated[str, typer.Option(help="Kept in the journal.")]


def build() -> typer.Typer:
    """The group `andon secrets`."""
    app = typer.Typer(
        cls=ListingGroup,
        rich_markup_mode=None,
        help="Secrets that factory files refer to as secret:NAME.",
    )
    for name, verb in (
        ("set", set_),
        ("list", list_),
        ("show", show),
        ("revoke", revoke),
        ("remove", remove),
        ("rotate", rotate),
        ("shred", shred),
    ):
        app.command(name)(verb)
    return app


def set_(
    context: typer.Context,
    name: Name,
    source: Annotated[
        str,
        typer.Argument(metavar="[-]", help="- reads the value from standard input; else it is asked for."),
    ] = "",
    from_file: Annotated[Path | None, typer.Option(help="Read the value from this file.")] = None,
    owner: Annotated[str | None, typer.Option(help="Who answers for it; at first whoever sets it.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; may be repeated.")] = None,
    user: Annotated[
        list[str] | None, typer.Option(help="Who may refer to it, as Kind/name or Kind/*; may be repeated.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="How long it is given out, such as 90d; 0 = for ever.")
    ] = None,
    rotate_every: Annotated[
        str | None, typer.Option(help="After how long a new value is due, such as 30d; 0 = never.")
    ] = None,
) -> None:
    """Give a secret a new value: a new version, used from now on."""
    session: Session = context.obj
    body: dict[str, Any] = {"value": _value(session, name, source, from_file)}
    said = {
        "owner": owner,
        "labels": None if label is None else _pairs(label),
        "users": user,
        "expires_in": expires,
        "rotate_every": rotate_every,
    }
    body |= {key: value for key, value in said.items() if value is not None}
    answer = session.client().post(f"/v1/secrets/{segment(name)}", body)
    emit(session, answer, lambda: f"Set {name}, version {answer['version']}.", [name])


def list_(context: typer.Context) -> None:
    """Every secret, without its value."""
    session: Session = context.obj
    answer = session.client().get("/v1/secrets")
    wide = session.output == "wide"
    emit_table(
        session,
        answer,
        _WIDE_HEADINGS if wide else _HEADINGS,
        [_row(item) if wide else _row(item)[:-1] for item in answer["items"]],
        nothing="No secrets yet. Make one with: andon secrets set NAME",
    )


def show(context: typer.Context, name: Name) -> None:
    """One secret with its versions, without their values."""
    session: Session = context.obj
    answer = session.client().get(f"/v1/secrets/{segment(name)}")
    emit(session, answer, lambda: "\n".join(_lines(answer)), [name])


def revoke(
    context: typer.Context,
    name: Name,
    version: Annotated[int, typer.Option(help="Only this version; 0 = all.")] = 0,
    reason: Reason = "",
) -> None:
    """Stop giving a value out, at once and for good; gateways forget it."""
    session: Session = context.obj
    answer = session.client().post(
        f"/v1/secrets/{segment(name)}/revoke", {"version": version, "reason": reason}
    )
    emit(session, answer, lambda: f"Revoked {name}{f'@{version}' if version else ''}.", [name])


def remove(context: typer.Context, name: Name, reason: Reason = "") -> None:
    """Forget a secret with all its versions."""
    session: Session = context.obj
    answer = session.client().post(f"/v1/secrets/{segment(name)}/remove", {"reason": reason})
    emit(session, answer, lambda: f"Removed {name}.", [name])


def rotate(
    context: typer.Context,
    resume: Annotated[
        bool, typer.Option("--resume", help="Make no new version: go on with wrapping by the present one.")
    ] = False,
    remove_old: Annotated[
        bool, typer.Option("--remove-old", help="Remove versions that nothing refers to any more.")
    ] = False,
) -> None:
    """Make a new wrapping key and wrap everything sealed by it; the data stays as it is."""
    session: Session = context.obj
    asked = {"new": not resume, "remove_old": remove_old}
    answer = session.client().post("/v1/wrapping-keys/rotate", asked)

    def text() -> str:
        lines = [
            f"Version {answer['version']} wraps now; {counted(answer['rewrapped'], 'key')} wrapped anew."
        ]
        lines += [f"Removed version {number}." for number in answer["removed"]]
        lines += [
            f"{one['key']} version {one['version']}{' (present)' if one['present'] else ''}: "
            f"{counted(one['secrets'], 'secret')}, {counted(one['body_keys'], 'body key')}, "
            f"{counted(one['leases'], 'lease file')}"
            for one in answer["versions"]
        ]
        return "\n".join(lines)

    emit(session, answer, text, [str(answer["version"])])


def shred(
    context: typer.Context,
    subject: Annotated[
        str, typer.Argument(metavar="[SUBJECT]", help="As it was sent in x-andon-subject.")
    ] = "",
    day: Annotated[
        str, typer.Option(help="All bodies without a subject of this day (UTC), as 2026-11-22.")
    ] = "",
    reason: Reason = "",
) -> None:
    """Erase recorded bodies by destroying their key: nothing that holds them can ever be read again."""
    session: Session = context.obj
    asked = {"subject": subject, "reason": reason, **({"day": day} if day else {})}
    answer = session.client().post("/v1/shred", asked)
    gone = answer["keys"]
    emit(session, answer, lambda: f"Destroyed {gone[0]}." if gone else "There was no such key.", gone)


def _value(session: Session, name: str, source: str, from_file: Path | None) -> str:
    if source not in ("", "-"):
        # What stands there may be the value itself: it is not repeated.
        raise Refused(
            "value_on_command_line",
            "A value is not taken from the command line, where others can read it.",
            hint=f"Change that value if it was one, then: andon secrets set {name}",
        )
    if from_file is not None:
        try:
            raw = from_file.read_bytes()[: VALUE_BYTES_MAX + 1]
        except OSError as error:
            raise Refused(
                "file_unreadable",
                f"'{from_file}' cannot be read: {error.strerror}.",
                hint="Name another file.",
            ) from error
    elif source == "-" or not session.interactive():
        raw = sys.stdin.buffer.read(VALUE_BYTES_MAX + 1)
    else:
        raw = getpass.getpass(f"Value of {name}: ").encode()
    if len(raw) > VALUE_BYTES_MAX:
        raise Refused("secret_size", f"A secret has at most {VALUE_BYTES_MAX} bytes.")
    try:
        value = raw.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        value = ""
    if not value:
        raise Refused("secret_size", "The value is empty, or no text.", hint="Encode bytes as base64 first.")
    return value


def _pairs(words: list[str]) -> dict[str, str]:
    pairs = dict(word.partition("=")[::2] for word in words)
    if "" in pairs:
        raise Refused("invalid_field", "A label is NAME=VALUE.", hint="Write --label team=search")
    return pairs


def _row(item: dict[str, Any]) -> list[str]:
    return [
        item["name"],
        item["state"],
        str(item["version"] or "-"),
        cell(item["owner"]),
        moment(item["expires_ns"]),
        moment(item["due_ns"]),
        moment(item["last_used_ns"]),
        moment(item["created_ns"]),
    ]


def _lines(item: dict[str, Any]) -> list[str]:
    told = [(heading.lower(), text) for heading, text in zip(_WIDE_HEADINGS, _row(item), strict=True)]
    told.append(("users", ", ".join(item["users"]) or "all"))
    told += [("label", f"{name}={value}") for name, value in item["labels"].items()]
    lines = [f"{name:<11} {text}" for name, text in told]
    for one in item["versions"]:
        said = f", revoked {moment(one['revoked_ns'])}" if one["revoked_ns"] else ""
        lines.append(f"  @{one['number']}  {one['size_bytes']} bytes, set {moment(one['created_ns'])}{said}")
    return lines
