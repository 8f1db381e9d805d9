"""Verbs about the audit log: check it, prove from it, export it, witness it; all but four work on files alone.

An auditor needs this program, public keys and a copy of the log (or its address): no running factory and no secret.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from andon.app.cli.commands import load
from andon.app.cli.group import ListingGroup
from andon.app.cli.journal import moment
from andon.app.cli.output import emit, say
from andon.app.cli.session import Session
from andon.app.cli.table import counted
from andon.kernel.errors import Refused

_Place = Annotated[
    str,
    typer.Argument(
        help="The log's folder or address, or a bundle; by default this factory's log.", show_default=False
    ),
]
_PublicKey = Annotated[
    str,
    typer.Option("--public-key", help="The log's public key, or a file with it; any earlier one will do."),
]
_WitnessKey = Annotated[
    str, typer.Option("--witness-key", help="The witness's public key, or a file with it.")
]
_Witness = Annotated[
    str, typer.Option("--witness", help="What the witness keeps: its folder, or the file `cosigned`.")
]
_Token = Annotated[
    str, typer.Option("--token", envvar="ANDON_KEY", help="Key of the admin API, for an address.")
]
_Authority = Annotated[Path | None, typer.Option("--ca", help="Certificates to trust, for an address.")]


def build() -> typer.Typer:
    """The group `andon audit`."""
    group = typer.Typer(cls=ListingGroup, help="The audit log: check, prove, export, witness.")
    for verb in (status, verify, prove, export, key, witness, rotate, shred):
        group.command(verb.__name__)(verb)
    return group


def status(context: typer.Context) -> int:
    """How the running factory's log stands; exits 1 where nothing can be added."""
    session: Session = context.obj
    answer = session.client().get("/v1/audit")
    emit(session, answer, lambda: _render_status(answer))
    return 1 if answer["problem"] else 0


def verify(
    context: typer.Context,
    place: _Place = "",
    *,
    public_key: _PublicKey = "",
    witness: _Witness = "",
    witness_key: _WitnessKey = "",
    token: _Token = "",
    ca: _Authority = None,
) -> int:
    """Check a whole log, or a bundle of proofs, offline; exits 1 if anything is not as it was signed and seen."""
    session: Session = context.obj
    verbs = load("andon.app.auditors")
    asked = verbs.Asked(
        place=place or str(session.home() / ".andon" / "audit"),
        public_key=public_key,
        witness=witness,
        witness_key=witness_key,
        token=token,
        authority=ca,
    )
    answer: dict[str, Any] = verbs.verify(asked)
    for note in answer.pop("notes"):
        session.note(note)
    emit(session, answer, lambda: _render_verdict(answer))
    return 0 if answer["sound"] else 1


def prove(
    context: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Requests, by id.")] = None,
    requests: Annotated[Path | None, typer.Option("--requests", help="A file with one id a line.")] = None,
    where: Annotated[
        str, typer.Option("--where", help="A condition in SQL over the columns of requests.")
    ] = "",
    witness: _Witness = "",
    to: Annotated[
        Path | None, typer.Option("--to", help="Where the bundle goes; by default to stdout.")
    ] = None,
) -> None:
    """Make a bundle that proves requests as they stand in the tables; `andon audit verify FILE` checks it anywhere."""
    session: Session = context.obj
    given = [*(ids or ()), *(requests.read_text().split() if requests else ())]
    if bool(given) == bool(where):
        raise Refused(
            "arguments_conflict", "Say which requests: ids, or --where.", hint="andon audit prove --help"
        )
    bundle: bytes = load("andon.app.auditors").prove(session.home(), os.environ, given, where, witness)
    if to is None:
        say(bundle.decode())
    else:
        to.write_bytes(bundle)
        session.note(f"Written to {to}; check it with: andon audit verify {to} --public-key KEY")


def export(
    context: typer.Context,
    format_: Annotated[str, typer.Option("--format", help="ocsf, or jsonl as the log has it.")] = "jsonl",
    since: Annotated[
        str, typer.Option("--since", help="How far back, such as 24h; by default everything.")
    ] = "",
    class_: Annotated[
        str, typer.Option("--class", help="Only this class of OCSF, such as api_activity.")
    ] = "",
) -> None:
    """Write every entry as one JSON line, decrypted as far as keys are left; run it where the home is."""
    session: Session = context.obj
    lines = load("andon.app.auditors").export(session.home(), os.environ, format_, since, class_)
    for line in lines:
        sys.stdout.write(line.decode() + "\n")
    for note in lines.notes:
        session.note(note)


def key(context: typer.Context) -> None:
    """Print the log's public key, to be given to auditors and witnesses."""
    session: Session = context.obj
    keys: list[str] = load("andon.app.auditors").public_keys(session.home() / ".andon" / "audit")
    emit(session, {"keys": keys}, lambda: keys[-1], keys)


def witness(
    context: typer.Context,
    *,
    source: Annotated[str, typer.Option("--from", help="The log's folder or address.")],
    state: Annotated[
        Path, typer.Option("--state", help="Where the witness remembers; kept from the log's owner.")
    ],
    key_file: Annotated[
        Path | None, typer.Option("--key", help="File of its private key; by default in its state.")
    ] = None,
    public_key: _PublicKey = "",
    token: _Token = "",
    ca: _Authority = None,
    every: Annotated[float, typer.Option("--every", help="Seconds between two looks.", min=0.1)] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
) -> int:
    """Follow a log and cosign what has only grown, until interrupted."""
    session: Session = context.obj
    verbs = load("andon.app.auditors")
    asked = verbs.Asked(place=source, public_key=public_key, token=token, authority=ca)
    code: int = verbs.run_witness(asked, state, key_file, every, once, session.note)
    return code


def rotate(context: typer.Context) -> None:
    """Sign with a new key from now on; auditors may keep the public key that they have."""
    session: Session = context.obj
    answer = session.client().post("/v1/audit/rotate")
    emit(session, answer, lambda: str(answer["public_key"]), [answer["public_key"]])


def shred(
    context: typer.Context,
    principal: Annotated[str, typer.Argument(help="Whose payloads, such as user:ann@example.com.")],
) -> None:
    """Make all payloads about one person unreadable for ever; every proof stays valid."""
    session: Session = context.obj
    answer = session.client().post("/v1/audit/shred", {"principal": principal})
    emit(session, answer, lambda: f"Destroyed {counted(len(answer['keys']), 'key')}.", answer["keys"])


def _render_status(answer: dict[str, Any]) -> str:
    behind = answer["behind_s"]
    lines = [
        f"mode        {answer['mode']}",
        f"log         {answer['origin'] or 'not open'}",
        f"public key  {answer['public_key'] or '-'}",
        f"entries     {answer['size']}, {answer['signed_size']} of them signed",
        f"behind      {'-' if behind is None else f'{behind:.1f} s'}",
    ]
    if answer["witness_size"] is not None:
        lines.append(
            f"witness     {answer['witness_size']} entries, {moment(answer['witness_at_s'] * 10**9)}"
        )
    if answer["problem"]:
        lines.append(f"PROBLEM     {answer['problem']}")
    return "\n".join(lines)


def _render_verdict(answer: dict[str, Any]) -> str:
    lines = [f"log         {answer['origin'] or '-'}", f"entries     {answer['size']}"]
    lines += [f"  {kind:<9} {count}" for kind, count in sorted(answer.get("kinds", {}).items())]
    lines += [f"  {name} = {value}" for name, value in answer.get("sums", {}).items()]
    for one in answer.get("witnesses", ()):
        lines.append(f"witness     {one['name']}: {one['size']} entries, {moment(one['at_s'] * 10**9)}")
    if answer.get("gaps"):
        lines.append(f"gaps        {answer['gaps']}: a source has lost something, and the log says so")
    lines += [f"FAULT       {fault}" for fault in answer["faults"]]
    return "\n".join([*lines, "sound" if answer["sound"] else "NOT SOUND"])
