"""The smallest durable server: wire in front, the ledger behind, nothing between. What `crash` kills by default.

`python -m benchmarks.crash_server PORT FOLDER`: each POST leaves an intent and a final outcome, and is answered once
both are durable.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from andon.kernel.clock import SystemClock
from andon.kernel.ids import Ids
from andon.kernel.random import SystemRandom
from andon.ledger.folder import open_log
from andon.ledger.log import Log
from andon.ledger.row import Intent, Outcome
from andon.wire.limits import ServerLimits
from andon.wire.model import Header, Reply, Request
from andon.wire.server import Server


class DurableEcho:
    """Answers every request with its own id, after its rows are on disk."""

    def __init__(self, log: Log, ids: Ids) -> None:
        self._log = log
        self._ids = ids

    async def handle(self, request: Request, reply: Reply) -> None:
        """Intent, outcome, commit, answer."""
        id_ = self._ids.next()
        self._log.append(Intent(id_, endpoint="echo"))
        self._log.append(Outcome(id_, status=200, endpoint="echo", request_bytes=len(request.body)))
        await self._log.committed()
        reply.send(200, b"x-request-id: %b\r\n" % id_.encode(), b"{}")

    def body_bytes_max(self, method: bytes, path: bytes, headers: Sequence[Header]) -> int:
        """One mebibyte for everything."""
        return 2**20

    def refuse(self, path: bytes, status: int, code: str, message: str) -> tuple[bytes, bytes]:
        """Plain words."""
        return b"content-type: text/plain\r\n", message.encode()


async def serve(port: int, folder: Path) -> None:
    """Until killed."""
    clock = SystemClock()
    async with open_log(folder, clock, "gateway-0") as log:
        server = Server(DurableEcho(log, Ids(clock, SystemRandom())), ServerLimits(), clock)
        await server.start("127.0.0.1", port)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
