"""How far the audit log has come, as the auditor says it and gateways read it: one small file, rewritten each second.

Ages are durations on each process's own monotonic clock, so that a wall clock that jumps neither stops the factory nor
hides that nothing is audited. A file that is missing, unreadable or no longer rewritten says nothing good.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

FILE: Final = "sealed.json"
BYTES_MAX: Final = 4096


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """What the auditor says."""

    beat: str  # different each time it is written
    behind_s: float  # age, when written, of the oldest thing that may be under no checkpoint
    size: int  # of the log, under its checkpoint


def write_sealed(folder: Path, sealed: Sealed) -> None:
    """Atomic, not durable: after a power loss the next one says more. Raises OSError."""
    partial = folder / f"{FILE}.new"
    partial.write_bytes(msgspec.json.encode(sealed))
    partial.replace(folder / FILE)


def read_sealed(folder: Path) -> Sealed | None:
    """What was last said; None where that cannot be read."""
    try:
        with (folder / FILE).open("rb") as file:
            return msgspec.json.decode(file.read(BYTES_MAX), type=Sealed)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None


class SealedWatch:
    """What one reader knows of the auditor, from looks at the file. Memory only between looks."""

    def __init__(self, lag_s: float, now: float) -> None:
        """`now` on the reader's monotonic clock. The first `lag_s` seconds are a grace: an auditor starts later."""
        self._lag_s = lag_s
        self._beat = ""
        self._fresh_at = now
        self._behind_s = 0.0

    def look(self, sealed: Sealed | None, now: float) -> None:
        """Take in what was read; the same beat again, or nothing, is no news."""
        if sealed is not None and sealed.beat != self._beat and sealed.behind_s >= 0:
            self._beat, self._fresh_at, self._behind_s = sealed.beat, now, sealed.behind_s

    def lag_s(self, now: float) -> float:
        """How old what is not audited may be by now."""
        return now - self._fresh_at + self._behind_s

    def is_late(self, now: float) -> bool:
        """Whether that is more than was agreed."""
        return self.lag_s(now) > self._lag_s
