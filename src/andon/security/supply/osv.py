"""Vulnerabilities in the OSV format, from files: which versions of which packages are affected. No network.

Source: ossf.github.io/osv-schema, "Evaluation". A directory of JSON files, one file, a JSON array or a zip of them
(`all.zip` as osv.dev offers it). Versions are compared as PEP 440 says, by the library `packaging`.
"""

from __future__ import annotations

import importlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from andon.kernel.errors import Refused
from andon.security.supply.requirements import Package, normalise

RECORD_BYTES_MAX = 4 << 20
RECORDS_MAX = 500_000
ECOSYSTEM = "PyPI"


class Event(msgspec.Struct, frozen=True):
    """A place on the line of versions; one of them is there."""

    introduced: str = ""
    fixed: str = ""
    last_affected: str = ""
    limit: str = ""


class Range(msgspec.Struct, frozen=True):
    """Versions between events."""

    type: str = ""
    events: tuple[Event, ...] = ()


class Named(msgspec.Struct, frozen=True):
    """The package that a record is about."""

    ecosystem: str = ""
    name: str = ""


class Affected(msgspec.Struct, frozen=True):
    """Versions of one package."""

    package: Named = Named()
    ranges: tuple[Range, ...] = ()
    versions: tuple[str, ...] = ()


class Score(msgspec.Struct, frozen=True):
    """How bad it is, as somebody says."""

    type: str = ""
    score: str = ""


class Vulnerability(msgspec.Struct, frozen=True):
    """One record."""

    id: str
    summary: str = ""
    details: str = ""
    aliases: tuple[str, ...] = ()
    withdrawn: str = ""
    modified: str = ""
    severity: tuple[Score, ...] = ()
    affected: tuple[Affected, ...] = ()
    database_specific: dict[str, Any] | None = None

    @property
    def names(self) -> frozenset[str]:
        """Every id by which it is known."""
        return frozenset((self.id, *self.aliases))

    @property
    def level(self) -> str:
        """`critical`, `high`, `moderate`, `low`, or empty where nobody says."""
        said = (self.database_specific or {}).get("severity")
        word = said.lower() if isinstance(said, str) else ""
        return {"medium": "moderate"}.get(word, word) if word in _LEVELS else ""


_LEVELS = ("critical", "high", "moderate", "medium", "low")


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """Records by package."""

    by_package: Mapping[str, tuple[Vulnerability, ...]]
    records: int
    unreadable: int = 0
    modified: str = ""  # the newest record's

    def of(self, name: str) -> tuple[Vulnerability, ...]:
        """The records about a package that nobody has withdrawn."""
        return self.by_package.get(normalise(name), ())


def read_database(path: Path) -> Database:
    """Read OSV data; raises `Refused` where there is none."""
    if not path.exists():
        raise Refused(
            "osv_missing",
            f"There is no vulnerability data at {path}.",
            hint="Put OSV records there: a folder of JSON files, or all.zip of the PyPI ecosystem of osv.dev.",
        )
    found: dict[str, dict[str, Vulnerability]] = {}
    records = unreadable = 0
    newest = ""
    for raw in _records(path):
        if records >= RECORDS_MAX:
            break
        try:
            record = msgspec.convert(raw, Vulnerability, strict=False)
        except msgspec.ValidationError:
            unreadable += 1
            continue
        records += 1
        newest = max(newest, record.modified)
        if record.withdrawn:
            continue
        for affected in record.affected:
            if affected.package.ecosystem.partition(":")[0] == ECOSYSTEM:
                found.setdefault(normalise(affected.package.name), {})[record.id] = record
    if not records:
        raise Refused("osv_missing", f"Nothing at {path} is an OSV record.", hint="See docs/admission.md.")
    return Database(
        by_package={name: tuple(by_id[id_] for id_ in sorted(by_id)) for name, by_id in found.items()},
        records=records,
        unreadable=unreadable,
        modified=newest,
    )


def _records(path: Path) -> Iterator[Any]:
    """Every record as plain values; what is no JSON is None, so that it is counted."""
    if path.is_dir():
        for file in sorted(path.rglob("*.json")):
            yield from _each(_parsed(file.read_bytes() if file.stat().st_size <= RECORD_BYTES_MAX else b""))
        for file in sorted(path.rglob("*.zip")):
            yield from _records(file)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.filename.endswith(".json"):
                    is_small = member.file_size <= RECORD_BYTES_MAX
                    yield from _each(_parsed(archive.read(member) if is_small else b""))
    else:
        text = path.read_bytes()
        parsed = _parsed(text)
        if parsed is None:  # one record a line
            for line in text.splitlines():
                yield _parsed(line)
        else:
            yield from _each(parsed)


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _each(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif isinstance(value, dict) and isinstance(value.get("vulns"), list):
        yield from value["vulns"]
    else:
        yield value


def affects(vulnerability: Vulnerability, package: Package) -> bool:
    """Whether this version of the package is affected. A version that cannot be compared counts as listed or not."""
    for affected in vulnerability.affected:
        is_it = affected.package.ecosystem.partition(":")[0] == ECOSYSTEM
        if not is_it or normalise(affected.package.name) != package.name:
            continue
        if _is_listed(package.version, affected.versions):
            return True
        if any(_is_within(package.version, one) for one in affected.ranges if one.type == "ECOSYSTEM"):
            return True
    return False


def fixed_in(vulnerability: Vulnerability, package: Package) -> str:
    """The lowest version above the package's own in which it is fixed; empty if there is none."""
    own = _version(package.version)
    fixes = [
        event.fixed
        for affected in vulnerability.affected
        if normalise(affected.package.name) == package.name
        for one in affected.ranges
        if one.type == "ECOSYSTEM"
        for event in one.events
        if event.fixed
    ]
    later = [
        fix for fix in fixes if (version := _version(fix)) is not None and own is not None and version > own
    ]
    return min(later, key=_version, default="")


def _is_listed(version: str, versions: Sequence[str]) -> bool:
    if version in versions:
        return True
    own = _version(version)
    return own is not None and any(_version(one) == own for one in versions)


def _is_within(version: str, span: Range) -> bool:
    """The evaluation of the schema: events in order; each turns "affected" on or off at its version."""
    own = _version(version)
    if own is None:
        return False
    places: list[tuple[Any, int, bool]] = []  # version, order among equals, whether affected from here
    for event in span.events:
        if event.introduced:
            places.append((_version("0" if event.introduced == "0" else event.introduced), 0, True))
        if event.fixed:
            places.append((_version(event.fixed), 1, False))
        if event.last_affected:
            places.append((_version(event.last_affected), 2, False))
    limits = [_version(event.limit) for event in span.events if event.limit and event.limit != "*"]
    if any(place is None for place, _, _ in places):
        return False
    if limits and not any(limit is not None and own < limit for limit in limits):
        return False
    is_affected = False
    for place, order, turns_on in sorted(places, key=lambda item: (item[0], item[1])):
        if turns_on and own >= place:
            is_affected = True
        elif (order == 1 and own >= place) or (order == 2 and own > place):
            is_affected = False
    # "0" stands for the beginning, before every version there is, pre-releases included.
    if not is_affected and any(event.introduced == "0" for event in span.events) and own < _version("0"):
        return True
    return is_affected


@lru_cache(maxsize=100_000)
def _version(text: str) -> Any:
    """The version as PEP 440 compares it, or None if it is none."""
    try:
        versions = importlib.import_module("packaging.version")
    except ImportError as error:
        raise Refused(
            "library_missing",
            "Comparing versions needs the Python package packaging, which is not installed here.",
            hint="Install it: pip install packaging.",
        ) from error
    try:
        return versions.Version(text)
    except versions.InvalidVersion:
        return None
