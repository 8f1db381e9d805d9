"""Cuts on disk: what a gateway has stopped stays stopped when it starts again and control is away.

Stands beside `stage.py`, which writes one at a crossing and reads them once when it is made. A cut holds in memory even
when the disk refuses it; the file is never read on the path of a request.
"""

from __future__ import annotations

import msgspec

from andon.kernel.ports import Disk
from andon.kernel.reports import Cut

_KEPT_MAX = (
    256  # the oldest go first; an endpoint has one rollout at a time, so this is far above what is in force
)


class KeptCut(msgspec.Struct, frozen=True, kw_only=True):
    """A cut, and how often people had overruled the rollout when it was made."""

    cut: Cut
    overrules: int


class Cuts:
    """The cuts of one gateway, in one file that is replaced whole."""

    def __init__(self, disk: Disk, path: str = "cuts.json") -> None:
        self._disk = disk
        self._path = path
        self._kept: dict[str, KeptCut] = {}
        self.unwritten = 0  # cuts that the disk refused; they hold until this process ends
        self.unreadable = 0  # files that could not be read back

    def load(self) -> dict[str, KeptCut]:
        """What was in force when the gateway last ran, by rollout id; empty when the file cannot be read."""
        try:
            data = self._disk.read(self._path) if self._disk.size(self._path) else b"[]"
            kept = msgspec.json.decode(data, type=list[KeptCut])
        except (OSError, msgspec.DecodeError):
            self.unreadable += 1
            kept = []
        self._kept = {entry.cut.rollout: entry for entry in kept}
        return dict(self._kept)

    def keep(self, entry: KeptCut) -> None:
        """Write one more down. A refusing disk is counted, never raised: the cut itself has happened."""
        self._kept.pop(entry.cut.rollout, None)
        self._kept[entry.cut.rollout] = entry
        while len(self._kept) > _KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        try:
            self._disk.replace(self._path, msgspec.json.encode(list(self._kept.values())))
        except OSError:
            self.unwritten += 1
