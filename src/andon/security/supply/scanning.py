"""Which packages are known to be vulnerable, and which of that somebody has judged to be no danger, until when.

Pure: packages, records, judgements and the day in; findings out. Aliases of one vulnerability are one finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

import msgspec

from andon.kernel.errors import Refused
from andon.security.supply.osv import Database, Vulnerability, affects, fixed_in
from andon.security.supply.requirements import Package, normalise

STATES = ("not_affected", "false_positive", "in_triage", "exploitable", "resolved")
_SILENT = frozenset({"not_affected", "false_positive", "resolved"})


class Judgement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A statement of the Vulnerability Exploitability eXchange (VEX): somebody judged a finding."""

    vulnerability: str  # any id or alias
    package: str = ""  # empty = wherever it is
    state: str  # one of STATES
    justification: str
    until: str  # day after which it has to be judged again


class Found(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One vulnerability of one package."""

    package: str
    version: str
    id: str
    source: str
    line: int
    aliases: tuple[str, ...] = ()
    summary: str = ""
    level: str = ""
    fixed: str = ""
    purl: str = ""
    state: str = ""  # of the judgement that holds today
    justification: str = ""

    @property
    def is_silent(self) -> bool:
        """Whether a judgement that holds says that it is no danger."""
        return self.state in _SILENT


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A scan."""

    found: tuple[Found, ...]
    packages: int
    unpinned: tuple[str, ...]  # packages whose version is open: nothing can be said of them
    records: int
    modified: str = ""
    expired: tuple[str, ...] = ()  # judgements whose day is over

    @property
    def open(self) -> tuple[Found, ...]:
        """What nobody has judged to be no danger."""
        return tuple(one for one in self.found if not one.is_silent)


def read_judgements(text: bytes) -> list[Judgement]:
    """Judgements from JSON: a list of them, or a CycloneDX VEX document. Raises `Refused`."""
    try:
        document = msgspec.json.decode(text)
        if isinstance(document, dict):
            document = [_of_cyclonedx(item) for item in document.get("vulnerabilities", ())]
        found = msgspec.convert(document, list[Judgement])
        for one in found:
            date.fromisoformat(one.until)
            if one.state not in STATES:
                raise ValueError(f"'{one.state}' is no state")
    except (msgspec.DecodeError, ValueError, TypeError, AttributeError) as error:
        raise Refused(
            "vex_unreadable",
            f"The judgements cannot be read: {error}.",
            hint="Each needs vulnerability, state, justification and until (a day); see docs/admission.md.",
        ) from error
    return found


def _of_cyclonedx(item: dict[str, object]) -> dict[str, object]:
    analysis = item.get("analysis")
    stated = analysis if isinstance(analysis, dict) else {}
    properties = item.get("properties")
    until = [
        one.get("value")
        for one in (properties if isinstance(properties, list) else ())
        if isinstance(one, dict) and one.get("name") == "andon:until"
    ]
    return {
        "vulnerability": item.get("id", ""),
        "state": stated.get("state", ""),
        "justification": stated.get("detail") or stated.get("justification") or "",
        "until": until[0] if until else "",
    }


def scan(
    packages: Iterable[Package], database: Database, judgements: Sequence[Judgement], today: date
) -> Report:
    """What is known of these packages."""
    found: list[Found] = []
    unpinned: set[str] = set()
    listed = sorted(set(packages))
    for package in listed:
        if not package.version:
            unpinned.add(package.name)
            continue
        seen: set[str] = set()
        for vulnerability in database.of(package.name):
            if not seen.isdisjoint(vulnerability.names) or not affects(vulnerability, package):
                continue
            seen |= vulnerability.names
            found.append(_found(package, vulnerability, judgements, today))
    return Report(
        found=tuple(sorted(found)),
        packages=len(listed),
        unpinned=tuple(sorted(unpinned)),
        records=database.records,
        modified=database.modified,
        expired=tuple(
            sorted(one.vulnerability for one in judgements if today > date.fromisoformat(one.until))
        ),
    )


def _found(
    package: Package, vulnerability: Vulnerability, judgements: Sequence[Judgement], today: date
) -> Found:
    holds = [
        one
        for one in judgements
        if one.vulnerability in vulnerability.names
        and (not one.package or normalise(one.package) == package.name)
        and today <= date.fromisoformat(one.until)
    ]
    return Found(
        package=package.name,
        version=package.version,
        id=vulnerability.id,
        source=package.source,
        line=package.line,
        aliases=tuple(sorted(vulnerability.aliases)),
        summary=(vulnerability.summary or vulnerability.details.split("\n", 1)[0])[:300],
        level=vulnerability.level,
        fixed=fixed_in(vulnerability, package),
        purl=package.purl,
        state=holds[0].state if holds else "",
        justification=holds[0].justification if holds else "",
    )
