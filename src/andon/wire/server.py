"""The server: listens on TCP, TLS and Unix sockets, keeps the time of all connections, and drains.

Stands at the front of every process that answers HTTP on the data path. It never decides what to answer: that is the
`Application`.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

from andon.kernel.clock import Clock
from andon.kernel.errors import Conflict
from andon.wire.census import Census
from andon.wire.connection import Connection
from andon.wire.limits import ServerLimits
from andon.wire.model import Application, Gatekeeper

_BACKLOG: Final = 1024
_CANCEL_S: Final = 1.0  # for cancelled handlers to tidy up when a drain has run out of time


class Server:
    """One application on any number of listeners. Make it and use it on one event loop."""

    def __init__(
        self,
        application: Application,
        limits: ServerLimits,
        clock: Clock,
        gatekeeper: Gatekeeper | None = None,
    ) -> None:
        self._census = Census(application, limits, clock)
        self._census.gatekeeper = gatekeeper
        self._listeners: list[asyncio.Server] = []
        self._timer: asyncio.TimerHandle | None = None
        self._paths: list[str] = []
        self.port = 0  # of the first TCP listener

    async def start(
        self, host: str, port: int, *, ssl_context: ssl.SSLContext | None = None, reuse_port: bool = False
    ) -> None:
        """Listen on TCP; port 0 takes a free one. Raises OSError as the operating system does."""
        loop = asyncio.get_running_loop()
        handshake_s = self._census.limits.head_timeout_s if ssl_context else None
        listener = await loop.create_server(
            self._connect,
            host,
            port,
            ssl=ssl_context,
            backlog=_BACKLOG,
            reuse_port=reuse_port or None,
            ssl_handshake_timeout=handshake_s,
        )
        self._listeners.append(listener)
        self.port = self.port or int(listener.sockets[0].getsockname()[1])

    async def start_tls(self, host: str, port: int, ssl_context: ssl.SSLContext) -> None:
        """Listen on TCP with TLS. Only http/1.1 is offered, whatever the context says of it."""
        ssl_context.set_alpn_protocols(["http/1.1"])
        await self.start(host, port, ssl_context=ssl_context)

    async def start_unix(self, path: str, mode: int = 0o600) -> None:
        """Listen on a Unix socket with these permissions. A socket left behind by a dead process is replaced."""
        await self._remove_dead(path)
        mask = os.umask(0o177)  # nobody may connect between bind and chmod
        try:
            loop = asyncio.get_running_loop()
            listener = await loop.create_unix_server(self._connect, path, backlog=_BACKLOG)
        finally:
            os.umask(mask)
        os.chmod(path, mode)
        self._paths.append(path)
        self._listeners.append(listener)

    async def drain(self, timeout_s: float, idle_grace_s: float = 0.0) -> None:
        """Stop accepting, answer what is under way with `connection: close`, then close.

        Idle connections close after `idle_grace_s`: a client that uses its connection meanwhile is answered and told
        to close, instead of meeting a closed one. After `timeout_s` whatever is left is cut and its handler cancelled.
        """
        census, loop = self._census, asyncio.get_running_loop()
        await census.clock.sleep(0)  # what the kernel has accepted already is ours to answer
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        census.draining = True
        if idle_grace_s > 0:
            for connection in tuple(census.connections):
                connection.announce()
        grace = loop.call_later(min(idle_grace_s, timeout_s), self._close_idle)
        if census.connections:
            census.empty = loop.create_future()
            await asyncio.wait((census.empty,), timeout=timeout_s)
        grace.cancel()
        await self._cut()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._remove_sockets()

    def _remove_sockets(self) -> None:
        while self._paths:
            Path(self._paths.pop()).unlink(missing_ok=True)

    async def _cut(self) -> None:
        """Abort what is left and see its handlers end."""
        census = self._census
        tasks = []
        for connection in tuple(census.connections):
            census.count("drain_timeout")
            if connection.task is not None:
                tasks.append(connection.task)
            connection.abort()
        if tasks:
            await asyncio.wait(tasks, timeout=_CANCEL_S)
        await census.clock.sleep(0)  # closed transports tell their protocols in the next turn of the loop

    def _close_idle(self) -> None:
        for connection in tuple(self._census.connections):
            connection.drain()

    def _connect(self) -> asyncio.Protocol:
        loop = asyncio.get_running_loop()
        if self._timer is None:
            self._census.now = self._census.clock.monotonic()
            self._timer = loop.call_later(self._census.tick_s, self._tick, loop)
        # It has the methods, not the type: a compiled class cannot inherit from an interpreted one.
        return cast("asyncio.Protocol", Connection(self._census, loop))

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let every connection look at its time-outs; with nobody connected, time stands still until somebody is."""
        census = self._census
        census.now = now = census.clock.monotonic()
        for connection in tuple(census.connections):
            connection.check(now)
        self._timer = loop.call_later(census.tick_s, self._tick, loop) if census.connections else None

    async def _remove_dead(self, path: str) -> None:
        """Unlink a socket that is there but that nobody listens on; raises `Conflict` if somebody does."""
        try:
            _, writer = await asyncio.open_unix_connection(path)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            os.unlink(path)
            return
        writer.close()
        raise Conflict(
            "socket_in_use", f"Another process listens on {path}.", hint="Stop it, or choose another folder."
        )

    @property
    def counters(self) -> Mapping[str, int]:
        """`connections` open now, `accepted` and `requests` so far, `unread_bytes`, and `refused_<code>` each."""
        census = self._census
        counts = {
            "connections": len(census.connections),
            "accepted": census.total_connections,
            "requests": census.requests,
            "unread_bytes": census.unread_bytes,
        }
        return counts | {f"refused_{code}": count for code, count in census.refused.items()}
