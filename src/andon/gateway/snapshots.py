"""The holder: takes snapshots, whole or not at all, and keeps the last good one on disk.

Fed by `gateway/link`; at start it loads what it kept, so that a gateway serves without control. Two files take turns,
each with its checksum: whatever happens while one is written, the other is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from typing import Final

import msgspec
import structlog

from andon.gateway.gateway import Adopter
from andon.gateway.meters import Meters
from andon.gateway.snapshot_rules import check
from andon.kernel.errors import AndonError, Refused
from andon.kernel.ports import Disk, Runner
from andon.kernel.snapshot import Snapshot

_logger = structlog.get_logger("andon.gateway.snapshots")
_decode = msgspec.json.Decoder(Snapshot).decode
_FILES: Final = ("snapshot-0.json", "snapshot-1.json")
_SUM_BYTES: Final = 65  # a line end and sha256 in hexadecimal


class Holder:
    """The snapshot in force and its copy on disk."""

    def __init__(
        self, adopters: Sequence[Adopter], disk: Disk, folder: str, runner: Runner, meters: Meters
    ) -> None:
        self._adopters = tuple(adopters)
        self._disk = disk
        self._paths = tuple(f"{folder}/{name}" if folder else name for name in _FILES)
        self._runner = runner
        self._meters = meters
        self._next_file = 0
        self.current: Snapshot | None = None
        self.on_adopted: Callable[[Snapshot], None] | None = (
            None  # such as closing connections to targets gone
        )

    @property
    def version(self) -> int:
        """The version in force; 0 before the first."""
        return self.current.version if self.current is not None else 0

    def put(self, raw: bytes) -> Snapshot:
        """Validate the whole, build everything, then switch over at once. Raises `Refused` without effect."""
        try:
            snapshot = _decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Refused("snapshot_invalid", f"The snapshot cannot be read: {error}.") from error
        check(snapshot, self.current)
        puts = [adopter.adopt(snapshot) for adopter in self._adopters]
        for put in puts:
            put()
        self.current = snapshot
        self._meters.count("snapshot_adopted")
        if self.on_adopted is not None:
            self.on_adopted(snapshot)
        return snapshot

    async def adopt(self, raw: bytes) -> Snapshot:
        """`put`, then keep it. A disk that fails is logged and counted: enforcing comes before keeping."""
        try:
            snapshot = self.put(raw)
        except AndonError as error:
            self._meters.count("snapshot_refused")
            _logger.error("snapshot refused", code=error.code, reason=str(error))
            raise
        path = self._paths[self._next_file]
        self._next_file = 1 - self._next_file
        try:
            await self._runner.run(partial(self._disk.replace, path, _sealed(raw)))
        except OSError as error:
            self._meters.count("snapshot_not_kept")
            _logger.error("snapshot not kept on disk", version=snapshot.version, reason=str(error))
        return snapshot

    async def load(self) -> Snapshot | None:
        """Put the newest whole snapshot on disk in force; None if there is none. Never raises for a bad file."""
        found: list[tuple[int, int, bytes]] = []
        for index, path in enumerate(self._paths):
            try:
                raw = _opened(await self._runner.run(partial(self._disk.read, path)))
                found.append((_decode(raw).version, index, raw))
            except FileNotFoundError:
                continue  # never written
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                self._meters.count("snapshot_file_corrupt")
                _logger.error("snapshot file ignored", path=path, reason=str(error))
        for version, index, raw in sorted(found, reverse=True):
            try:
                snapshot = self.put(raw)
            except AndonError as error:
                _logger.error("kept snapshot refused", version=version, reason=str(error))
                continue
            self._next_file = 1 - index
            return snapshot
        return None


def _sealed(raw: bytes) -> bytes:
    return b"%b\n%b" % (raw, sha256(raw).hexdigest().encode())


def _opened(sealed: bytes) -> bytes:
    """What was sealed; raises ValueError when the checksum does not match."""
    raw, checksum = sealed[:-_SUM_BYTES], sealed[-_SUM_BYTES:]
    if checksum != b"\n" + sha256(raw).hexdigest().encode():
        raise ValueError("its checksum does not match: it was cut or changed")
    return raw
