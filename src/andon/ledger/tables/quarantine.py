"""Quarantine: what is known of segments with damage, one JSON file for each; the segment itself is then kept.

Writing the same again changes nothing, so a segment that is read twice is counted once. Bounded: beyond the limit
damage is only counted and told.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from andon.ledger.disk import FileDisk
from andon.ledger.scan import Damage

RECORDS_MAX = 1000
DAMAGES_MAX = 100  # written out for one segment; the rest is in the sums
_SUFFIX = ".json"


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """One segment with damage. The rest of it is in the tables."""

    log: str
    segment: str  # its file, kept in the log's folder whatever its age
    damages: tuple[Damage, ...]
    places: int  # how many damages there are
    rows: int  # rows missing because of them
    at_ns: int


class Quarantine:
    """The records in one folder. Used under the sealer's lock."""

    def __init__(self, folder: Path) -> None:
        self._disk = FileDisk(folder)
        self.segments = 0  # newly found by this process
        self.rows = 0

    def put(self, log: str, name: str, damages: tuple[Damage, ...], at_ns: int) -> Quarantined | None:
        """Remember damage; what was written, or None if that segment is known already. Raises OSError."""
        path = f"{log}-{name}{_SUFFIX}"
        names = self._disk.list("")
        if path in names:
            return None
        rows = sum(damage.rows for damage in damages)
        record = Quarantined(
            log=log,
            segment=name,
            damages=damages[:DAMAGES_MAX],
            places=len(damages),
            rows=rows,
            at_ns=at_ns,
        )
        if len(names) < RECORDS_MAX:
            self._disk.replace(path, msgspec.json.encode(record))
        self.segments += 1
        self.rows += rows
        return record

    def holds(self, log: str, name: str) -> bool:
        """Whether that segment has damage and must stay."""
        return self._disk.size(f"{log}-{name}{_SUFFIX}") > 0

    def records(self) -> list[Quarantined]:
        """All that are written down, by log and segment; an unreadable one is left out."""
        found = []
        for name in self._disk.list(""):
            if not name.endswith(_SUFFIX):
                continue
            try:
                found.append(msgspec.json.decode(self._disk.read(name), type=Quarantined))
            except (msgspec.MsgspecError, FileNotFoundError):
                continue  # only the record is unreadable: the segment that it names is kept all the same
        return found
