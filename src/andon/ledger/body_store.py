"""The store of bodies: a log of their own, bounded by a limit; the oldest sealed segments make room for new ones.

Written by the gateway, on threads that the log of rows does not use. `put` never waits and never raises: over the
limit, on a full or failing disk, or with too much pending a body is dropped, and the caller is told why.
"""

from __future__ import annotations

import asyncio
from typing import Final, Literal

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.errors import Transient
from andon.kernel.ports import Disk, Runner
from andon.ledger import segment
from andon.ledger.bodies import Body
from andon.ledger.log import Log
from andon.ledger.recovery import join, segments_of
from andon.ledger.settings import LogSettings

Dropped = Literal["", "limit", "disk", "pending"]

_BUSY_SHARE: Final = 0.9  # of the limit, above which room is made
_CALM_SHARE: Final = 0.75  # of the limit, down to which it is made
_AGAIN_S: Final = 1.0  # between two attempts to make room
_ROW_BYTES: Final = 256  # of a body's row besides its data, generously
_SEGMENT_MIN: Final = 64 * 1024
_SEGMENT_MAX: Final = 64 * 2**20


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What is on disk, and what was removed to make room."""

    size_bytes: int
    removed_segments: int = 0
    removed_bytes: int = 0


def body_settings(limit_bytes: int) -> LogSettings:
    """Bounds of the log of bodies: small segments, so that little is removed at a time; no reserve; no hurry."""
    return LogSettings(
        flush_s=1.0,
        segment_bytes=max(_SEGMENT_MIN, min(_SEGMENT_MAX, limit_bytes // 8)),
        pending_bytes=2**24,
        retry_s=2.0,
        reserve_bytes=0,
    )


def make_room(disk: Disk, folder: str, down_to_bytes: int, above_bytes: int) -> Usage:
    """Measure; if more than `above_bytes` is used, remove the oldest sealed segments until `down_to_bytes` are.

    The newest segment stays even if sealed: row numbers go on from it. Raises OSError.
    """
    names = disk.list(folder)
    sizes = {name: disk.size(join(folder, name)) for name in names}
    used = before = sum(sizes.values())
    removed = 0
    for name in segments_of(disk, folder)[:-1] if used > above_bytes else ():
        if used <= down_to_bytes:
            break
        if name + segment.SEAL_SUFFIX not in sizes:
            continue
        # The seal goes last: a segment whose seal is gone would be scanned as one left open.
        for suffix in ("", segment.TORN_SUFFIX, segment.SEAL_SUFFIX):
            if name + suffix in sizes:
                disk.remove(join(folder, name + suffix))
                used -= sizes[name + suffix]
        removed += 1
    return Usage(size_bytes=used, removed_segments=removed, removed_bytes=before - used)


class BodyStore:
    """Takes bodies as long as there is room. Use from the log's event loop only."""

    def __init__(self, log: Log, disk: Disk, runner: Runner, clock: Clock, limit_bytes: int) -> None:
        self.log = log
        self.limit_bytes = limit_bytes
        self.used_bytes = 0  # as measured last, and what was taken since
        self.removed_segments = 0
        self._disk = disk  # another than the log's own: disks are not shared between threads
        self._runner = runner
        self._clock = clock
        self._again_at = 0.0
        self._work: asyncio.Future[None] | None = None
        self._taken = 0  # since the last measurement began

    async def open(self) -> None:
        """Measure what an earlier process left. Raises OSError."""
        await self._measure()

    def put(self, body: Body, subject: str = "") -> Dropped:
        """Take a body, or say why it was dropped; whose it is, is kept by whoever seals it."""
        size = len(body.data) + _ROW_BYTES
        if self.used_bytes + size > self.limit_bytes * _BUSY_SHARE:
            self._begin()
        if self.used_bytes + size > self.limit_bytes:
            return "limit"
        if self.log.problem is not None:
            return "disk"
        try:
            self.log.append(body)
        except Transient:
            return "pending"
        self.used_bytes += size
        self._taken += size
        return ""

    async def settled(self) -> None:
        """Return when no room is being made."""
        if self._work is not None:
            await asyncio.wait([self._work])

    def _begin(self) -> None:
        now = self._clock.monotonic()
        if self._work is None and now >= self._again_at:
            self._again_at = now + _AGAIN_S
            self._work = asyncio.ensure_future(self._measure())
            self._work.add_done_callback(self._ended)

    def _ended(self, work: asyncio.Future[None]) -> None:
        self._work = None
        if not work.cancelled():
            work.exception()  # seen: a disk that cannot be cleared shows as bodies dropped over the limit

    async def _measure(self) -> None:
        calm, busy = int(self.limit_bytes * _CALM_SHARE), int(self.limit_bytes * _BUSY_SHARE)
        self._taken = 0
        pending = self.log.pending_bytes
        usage = await self._runner.run(lambda: make_room(self._disk, "", calm, busy - pending))
        self.removed_segments += usage.removed_segments
        self.used_bytes = usage.size_bytes + pending + self._taken
