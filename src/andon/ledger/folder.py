"""A log in a real folder: one writer at a time, on its own thread, on the real disk.

The only place of this room that wires; `app` calls it. Tests and simulations use `Log.open` with fakes instead.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from andon.kernel.clock import Clock
from andon.kernel.errors import Conflict
from andon.ledger.disk import FileDisk
from andon.ledger.log import Log
from andon.ledger.settings import LogSettings
from andon.ledger.thread import WorkThread

LOCK = "lock"


class FolderLock:
    """The right to write in a folder, held by the operating system until `release` or the process's death."""

    def __init__(self, folder: Path) -> None:
        """Raises `Conflict` (`ledger_in_use`) if another process, or another log of this one, holds it."""
        folder.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._handle)
            raise Conflict(
                "ledger_in_use",
                f"The ledger in {folder} is being written by process {holder}.",
                hint="Stop that process, or give this gateway a folder of its own.",
            ) from None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another writer in."""
        os.close(self._handle)


@asynccontextmanager
async def open_log(
    folder: Path, clock: Clock, gateway: str, settings: LogSettings | None = None
) -> AsyncIterator[Log]:
    """The log in `folder`, closed and sealed at the end. Raises `Conflict` if it is in use, OSError."""
    lock = FolderLock(folder)
    try:
        disk, thread = FileDisk(folder), WorkThread(f"ledger-{gateway}")
        try:
            log = await Log.open(disk, "", clock, thread, gateway, settings or LogSettings())
            try:
                yield log
            finally:
                await log.close()
        finally:
            thread.close()
            disk.close_all()
    finally:
        lock.release()
