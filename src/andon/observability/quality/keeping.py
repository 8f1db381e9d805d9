"""What a monitor knows, kept in one file each, so that a restart shows what was known and estimates stay as they were.

A file of another version, or of a monitor whose terms have changed, is begun again: everything but the estimates
made before labels can be made again from the ledger.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from andon.observability.quality.model import MonitorSpec
from andon.observability.quality.references import Reference
from andon.observability.quality.report import ChunkQuality

BASELINE = ""  # the reference that falls are measured from


class Kept(msgspec.Struct, kw_only=True):
    """One monitor's memory; changed in place by its watch, in one thread at a time."""

    terms: str
    references: dict[str, Reference] = {}
    releases: dict[str, list[ChunkQuality]] = {}  # by release, oldest first
    until_ns: int = 0  # periods until then were looked at
    looked_ns: int = 0  # labels learnt until then are in
    note: str = ""  # what could not be done at the last look


def terms_of(spec: MonitorSpec) -> str:
    """A digest of what the figures depend on; limits and alarms may change without a new beginning."""
    told = (
        spec.endpoint,
        spec.label,
        spec.problem,
        spec.positive,
        spec.threshold,
        spec.chunk,
        spec.costs,
    )
    return hashlib.sha256(msgspec.json.encode(told)).hexdigest()[:16]


class QualityFolder:
    """The files. Blocking."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, name: str, spec: MonitorSpec) -> Kept:
        """What is known, or a new beginning."""
        try:
            kept = msgspec.json.decode(self._path(name).read_bytes(), type=Kept)
        except (OSError, msgspec.MsgspecError):
            return Kept(terms=terms_of(spec))
        return kept if kept.terms == terms_of(spec) else Kept(terms=terms_of(spec))

    def save(self, name: str, kept: Kept) -> None:
        """Replace the file as a whole."""
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = self._path(name).with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(kept))
        fresh.replace(self._path(name))

    def _path(self, name: str) -> Path:
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"
