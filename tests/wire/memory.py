"""A transport in memory: lets properties feed a server connection thousands of streams without sockets."""

from __future__ import annotations

import asyncio
from typing import Any

from andon.kernel.clock import SystemClock
from andon.wire.census import Census
from andon.wire.connection import Connection
from andon.wire.limits import ServerLimits


class MemoryTransport(asyncio.Transport):
    """Keeps what is written; reads nothing by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_over = False
        self.is_paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: Any) -> None:
        if not self.is_over:
            self.written += data

    def writelines(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.is_over = True

    def abort(self) -> None:
        self.is_over = True

    def is_closing(self) -> bool:
        return self.is_over

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


async def feed(application: Any, pieces: list[bytes], **limits: Any) -> bytes:
    """What the server answers to these pieces, each given when the one before has been dealt with."""
    loop = asyncio.get_running_loop()
    connection = Connection(Census(application, ServerLimits(**limits), SystemClock()), loop)
    transport = MemoryTransport()
    connection.connection_made(transport)
    for piece in pieces:
        if transport.is_over:
            break
        connection.data_received(piece)
        while connection.task is not None:
            await asyncio.sleep(0)
    connection.connection_lost(None)
    return transport.written
