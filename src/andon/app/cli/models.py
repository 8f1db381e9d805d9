"""Verbs about models as files: look at them, sign them, verify them, attack them, and print their papers.

`check`, `key`, `sign` and `verify` need no running factory; the others ask control. What scans is loaded by the verb.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from andon.app.cli.assessing import assess
from andon.app.cli.client import segment
from andon.app.cli.commands import load
from andon.app.cli.group import ListingGroup
from andon.app.cli.output import emit, emit_table, say
from andon.app.cli.session import Session
from andon.app.cli.table import cell, counted, render_table
from andon.kernel.errors import Refused

_HEADINGS = ("NAME", "VERDICT", "ADMITTED", "SIGNER", "FORMAT", "DIGEST", "REASON")
_FINDING_HEADINGS = ("RULE", "SEVERITY", "PLACE", "MESSAGE")
_DIGEST_SHOWN = 19

PathArgument = Annotated[Path, typer.Argument(metavar="PATH", help="Folder or file of the model.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The version, as <model>-<version>.")]


def build() -> typer.Typer:
    """The group `andon models`."""
    app = typer.Typer(
        cls=ListingGroup,
        rich_markup_mode=None,
        help="Models as files: admission, signatures, papers, robustness.",
    )
    verbs = (
        ("list", list_),
        ("check", check),
        ("key", key),
        ("sign", sign),
        ("verify", verify),
        ("bom", bom),
        ("card", card),
        ("assess", assess),
    )
    for name, verb in verbs:
        app.command(name)(verb)
    return app


def list_(context: typer.Context) -> None:
    """Every model version and where it stands with admission."""
    session: Session = context.obj
    answer = session.client().get("/v1/resources/ModelVersion")
    emit_table(
        session,
        answer,
        _HEADINGS,
        [_row(item) for item in answer["items"]],
        nothing="No model versions yet. Resources of the kind ModelVersion declare them.",
    )


def _row(item: dict[str, Any]) -> list[str]:
    seen = item.get("status", {}).get("admission") or {}
    return [
        item["metadata"]["name"] if "metadata" in item else item["name"],
        cell(seen.get("verdict", "waiting")),
        cell(seen.get("admitted", False)),
        cell(seen.get("signer", "")),
        cell(seen.get("format", "")),
        cell(seen.get("digest", "")[:_DIGEST_SHOWN]),
        cell(seen.get("reason", "")),
    ]


def check(
    context: typer.Context,
    path: PathArgument,
    sarif: Annotated[bool, typer.Option("--sarif", help="Print findings as SARIF 2.1.0.")] = False,
) -> int:
    """Scan a model without loading it; exit code 1 if it is not clean."""
    session: Session = context.obj
    taken, scanned = _scan(path)
    verdict = load("andon.security.admission.model").verdict_of(scanned.findings)
    findings = load("msgspec").to_builtins(scanned.findings)
    if sarif:
        say(json.dumps(_sarif(path, findings), indent=2))
    else:
        value = {
            "path": str(path),
            "verdict": verdict,
            "digest": taken.digest,
            "formats": scanned.formats,
            "findings": findings,
            "found": scanned.found,
        }
        emit(session, value, lambda: _shown(value, session.colour), [taken.digest])
    return 0 if verdict == "clean" else 1


def _shown(value: dict[str, Any], colour: bool) -> str:
    lines = [
        f"{value['path']} is {value['verdict']}: {counted(len(value['formats']), 'file')}, {value['digest']}"
    ]
    if value["findings"]:
        rows = [[one["rule"], one["severity"], one["path"], one["message"]] for one in value["findings"]]
        lines.append(render_table(_FINDING_HEADINGS, rows, colour))
    return "\n".join(lines)


def _sarif(path: Path, findings: list[dict[str, Any]]) -> dict[str, Any]:
    sarif = load("andon.security.supply.sarif")
    results = [
        sarif.Result(
            rule=one["rule"],
            level="error" if one["severity"] == "refused" else "warning",
            message=one["message"],
            path=f"{path.name}/{one['path']}" if path.is_dir() else one["path"],
            subject=one["subject"],
        )
        for one in findings
    ]
    document: dict[str, Any] = sarif.document(results, load("andon").__version__)
    return document


def _scan(path: Path) -> tuple[Any, Any]:
    """The private copy's digest and files, and what the scan found in it."""
    with tempfile.TemporaryDirectory(prefix="andon-") as folder:
        taken = _take(path, Path(folder))
        names = [file.name for file in taken.files]
        return taken, load("andon.security.admission.scanning").scan_model(taken.path, names)


def _take(path: Path, folder: Path) -> Any:
    try:
        return load("andon.serving.models.digest").take(path.resolve(), folder / "model")
    except OSError as error:
        raise Refused(
            "model_unreadable", f"{path} cannot be read: {error.strerror}.", hint="Check its permissions."
        ) from error


def key(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where the private key is written.")],
) -> None:
    """Make a key to sign models with; prints the public one for a Signer."""
    session: Session = context.obj
    signing = load("andon.security.admission.signing")
    made = load("cryptography.hazmat.primitives.asymmetric.ed25519").Ed25519PrivateKey.generate()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Refused(
            "key_unwritten",
            f"{path} cannot be made: {error.strerror}.",
            hint="Name a file that is not there.",
        ) from error
    with open(descriptor, "wb") as file:
        file.write(signing.private_pem(made))
    public = signing.public_text(made.public_key())
    session.note(f"The private key is in {path}. Declare its public half as spec.publicKey of a Signer:")
    emit(session, {"publicKey": public, "file": str(path)}, lambda: public, [public])


def sign(
    context: typer.Context,
    path: PathArgument,
    key_file: Annotated[Path, typer.Option("--key", help="Private key that `andon models key` made.")],
    name: Annotated[str, typer.Option(help="What it is called in the statement.")] = "",
) -> None:
    """Sign the files of a model; the signature lies beside them."""
    session: Session = context.obj
    signing = load("andon.security.admission.signing")
    try:
        private = signing.read_private_key(key_file.read_bytes())
    except OSError as error:
        raise Refused(
            "signing_key_unreadable", f"{key_file} cannot be read: {error.strerror}.", hint="Check --key."
        ) from error
    with tempfile.TemporaryDirectory(prefix="andon-") as folder:
        taken = _take(path, Path(folder))
    bundle = signing.sign(signing.statement_of(name or path.resolve().name, taken.files), private)
    place = _signature_of(path)
    partial = place.with_name(f"{place.name}.part")
    partial.write_bytes(bundle)
    partial.replace(place)
    value = {"signature": str(place), "digest": taken.digest, "files": len(taken.files)}
    emit(
        session,
        value,
        lambda: f"Signed {counted(len(taken.files), 'file')} ({taken.digest}): {place}",
        [str(place)],
    )


def verify(
    context: typer.Context,
    path: PathArgument,
    signer: Annotated[str, typer.Option("--signer", help="Public key: base64, or a PEM file.")],
) -> None:
    """Verify the signature of a model by one public key."""
    session: Session = context.obj
    signing = load("andon.security.admission.signing")
    text = Path(signer).read_text() if Path(signer).is_file() else signer
    try:
        public = signing.read_public_key(text)
    except ValueError as error:
        raise Refused(
            "signer_unreadable",
            f"The public key cannot be used: {error}.",
            hint="andon models key prints one.",
        ) from error
    place = _signature_of(path)
    if not place.is_file():
        raise Refused(
            "signature_missing", f"There is no signature at {place}.", hint="andon models sign makes one."
        )
    with tempfile.TemporaryDirectory(prefix="andon-") as folder:
        taken = _take(path, Path(folder))
    found = signing.verify(place.read_bytes(), taken.files, {"signer": public})
    value = {"verified": True, "digest": taken.digest, "subject": found.digest, "files": len(taken.files)}
    emit(
        session,
        value,
        lambda: f"Verified: {counted(len(taken.files), 'file')}, {taken.digest}",
        [taken.digest],
    )


def _signature_of(path: Path) -> Path:
    return path / "model.sig" if path.is_dir() else path.with_name(f"{path.name}.sig")


def bom(context: typer.Context, name: NameArgument) -> None:
    """The bill of materials of a version, in CycloneDX."""
    session: Session = context.obj
    answer = session.client().get(f"/v1/models/{segment(name)}/bom")
    emit(session, answer, lambda: json.dumps(answer, indent=2, ensure_ascii=False), [answer["serialNumber"]])


def card(context: typer.Context, name: NameArgument) -> None:
    """The model card of a version, in Markdown with front matter."""
    session: Session = context.obj
    answer = session.client().get(f"/v1/models/{segment(name)}/card")
    emit(session, answer, lambda: str(answer["markdown"]).rstrip("\n"), [name])
