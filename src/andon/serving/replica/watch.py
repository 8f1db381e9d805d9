"""What a replica watches about itself: resident memory, and the size of its own log.

A limit of the operating system on address space would kill models that only reserve memory, so resident memory is
looked at four times a second, with a hard limit on data twice as high behind it for a single huge allocation.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

from andon.kernel.clock import Clock

LOG_BYTES_MAX = 10 * 2**20  # of one file; the one before it is kept as `.1`
_PERIOD_S = 0.25
_BACKSTOP_BYTES = 1 << 30  # what libraries may reserve beyond twice the limit
_PIECE_BYTES = 1 << 20


def limit_process(memory_bytes: int) -> None:
    """Ask the operating system for the blunt limits: no core dumps, and a backstop for memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes:
        backstop = 2 * memory_bytes + _BACKSTOP_BYTES
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard == resource.RLIM_INFINITY or hard > backstop:
            resource.setrlimit(resource.RLIMIT_DATA, (backstop, backstop))


def shorten_log(path: str, bytes_max: int = LOG_BYTES_MAX) -> bool:
    """Move a log's content to `.1` and empty it once it is too long; whether it was.

    The file is emptied in place because the process's own output, C libraries included, stays open on it (O_APPEND).
    """
    if not path or os.path.getsize(path) <= bytes_max:
        return False
    with open(path, "r+b") as log, Path(f"{path}.1").open("wb") as kept:
        while piece := log.read(_PIECE_BYTES):
            kept.write(piece)
        log.truncate(0)
    return True


async def watch(
    memory_bytes: int, log_path: str, clock: Clock, on_excess: Callable[[int], Awaitable[None] | None]
) -> None:
    """Look until cancelled, or until memory is beyond its limit: then `on_excess(bytes)` once, and the end."""
    process = psutil.Process()
    while True:
        await clock.sleep(_PERIOD_S)
        shorten_log(log_path)
        if memory_bytes:
            resident = process.memory_info().rss
            if resident > memory_bytes:
                outcome = on_excess(resident)
                if outcome is not None:
                    await outcome
                return
