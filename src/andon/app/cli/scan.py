"""`andon scan`: which packages of Andon and of models are known to be vulnerable, as table, JSON, SARIF or CycloneDX.

Needs no running factory and no network: the data is a file in the OSV format.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from andon.app.cli.commands import load
from andon.app.cli.output import emit, say
from andon.app.cli.session import Session
from andon.app.cli.table import cell, render_table
from andon.kernel.errors import Refused

_HEADINGS = ("PACKAGE", "VERSION", "ID", "LEVEL", "FIXED", "JUDGED", "FILE", "SUMMARY")
_SUMMARY_SHOWN = 60


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("scan")(scan)


def scan(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH]…", help="Lock files and model folders; by default what is installed here."
        ),
    ] = None,
    osv: Annotated[
        Path | None, typer.Option(envvar="ANDON_OSV", help="OSV data: folder, .json or all.zip.")
    ] = None,
    vex: Annotated[Path | None, typer.Option(help="Judgements with an end, as JSON.")] = None,
    sarif: Annotated[bool, typer.Option("--sarif", help="Print SARIF 2.1.0.")] = False,
    sbom: Annotated[bool, typer.Option("--sbom", help="Print the bill of materials, in CycloneDX.")] = False,
) -> int:
    """Scan packages for known vulnerabilities; exit code 1 if any is open."""
    session: Session = context.obj
    packages = _packages(paths or [])
    osv = osv or _default(session)
    report = None
    if osv is not None or not sbom:
        if osv is None:
            raise Refused(
                "osv_missing",
                "There is no vulnerability data.",
                hint="Give --osv: a folder of OSV records, or all.zip of the PyPI ecosystem of osv.dev.",
            )
        scanning = load("andon.security.supply.scanning")
        judgements = scanning.read_judgements(_bytes(vex)) if vex else []
        database = load("andon.security.supply.osv").read_database(osv)
        report = scanning.scan(
            packages, database, judgements, datetime.fromtimestamp(session.now_s(), UTC).date()
        )
    version = load("andon").__version__
    if sbom:
        say(json.dumps(_sbom(packages, report, version, session), indent=2))
        return 0
    assert report is not None
    if sarif:
        out = load("andon.security.supply.sarif")
        say(json.dumps(out.document(out.of_vulnerabilities(report.found), version), indent=2))
    else:
        value = load("msgspec").to_builtins(report)
        emit(session, value, lambda: _shown(report, session.colour), [one.id for one in report.open])
    return 1 if report.open else 0


def _default(session: Session) -> Path | None:
    place = session.home() / ".andon" / "osv"
    return place if place.exists() else None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(
            "file_unreadable", f"{path} cannot be read: {error.strerror}.", hint="Check the path."
        ) from error


def _packages(paths: list[Path]) -> list[Any]:
    """Packages of lock files and model folders; of none, those that are installed beside Andon."""
    reading = load("andon.security.supply.requirements")
    if not paths:
        found = load("importlib.metadata").distributions()
        return sorted(
            {
                reading.Package(
                    name=reading.normalise(one.metadata["Name"]), version=one.version, source="installed"
                )
                for one in found
                if one.metadata["Name"]
            }
        )
    packages: list[Any] = []
    for path in paths:
        if path.is_dir():
            packages += reading.packages_of_model(path)
        else:
            packages += reading.read_requirements(_bytes(path).decode("utf-8", "replace"), str(path))
    return packages


def _shown(report: Any, colour: bool) -> str:
    rows = [
        [
            one.package,
            one.version,
            one.id,
            cell(one.level),
            cell(one.fixed),
            cell(one.state),
            f"{one.source}:{one.line}" if one.line else one.source,
            one.summary[:_SUMMARY_SHOWN],
        ]
        for one in report.found
    ]
    lines = [render_table(_HEADINGS, rows, colour)] if rows else []
    lines.append(
        f"{report.packages} packages against {report.records} records"
        + (f" (newest {report.modified})" if report.modified else "")
        + f": {len(report.open)} open, {len(report.found) - len(report.open)} judged."
    )
    if report.unpinned:
        lines.append(
            f"Nothing can be said of {len(report.unpinned)} without a version: {', '.join(report.unpinned[:20])}"
        )
    if report.expired:
        lines.append(f"Judgements whose day is over: {', '.join(report.expired)}")
    return "\n".join(lines)


def _sbom(packages: list[Any], report: Any, version: str, session: Session) -> dict[str, Any]:
    serial = str(load("uuid").uuid5(load("uuid").NAMESPACE_URL, "\n".join(one.purl for one in packages)))
    at = datetime.fromtimestamp(int(session.now_s()), UTC)
    found = report.found if report is not None else ()
    document: dict[str, Any] = load("andon.security.supply.bom").software_bom(
        packages, serial, at.isoformat().replace("+00:00", "Z"), version, found
    )
    return document
