"""Who is connected to a server and how often each limit was hit: what its connections share.

One per server. It holds the coarse clock by which connections notice time-outs, so that no request sets a timer.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from andon.kernel.clock import Clock
from andon.wire.limits import ServerLimits
from andon.wire.model import Application, Gatekeeper


class Connected(Protocol):
    """A connection as the server sees it."""

    task: asyncio.Task[None] | None  # the handler at work

    def check(self, now: float) -> None:
        """Act on whatever time-out has passed."""
        ...

    def announce(self) -> None:
        """Say `connection: close` with the next answer."""
        ...

    def drain(self) -> None:
        """Close now if no message is under way, else after the answer to it."""
        ...

    def abort(self) -> None:
        """Close at once; whatever was under way is cancelled."""
        ...


class Census:
    """Shared state of one server's connections. `now` moves once per tick, in monotonic seconds."""

    __slots__ = (
        "addresses",
        "application",
        "clock",
        "connections",
        "draining",
        "empty",
        "gatekeeper",
        "limits",
        "now",
        "refused",
        "requests",
        "tick_s",
        "total_connections",
        "unread_bytes",
    )

    def __init__(self, application: Application, limits: ServerLimits, clock: Clock) -> None:
        self.application = application
        self.limits = limits
        self.clock = clock
        self.tick_s = limits.tick_s()
        self.now = clock.monotonic()
        self.draining = False
        self.gatekeeper: Gatekeeper | None = None
        self.empty: asyncio.Future[None] | None = None  # done when the last connection has left
        self.connections: set[Connected] = set()
        self.addresses: dict[str, int] = {}
        self.total_connections = 0
        self.requests = 0
        self.unread_bytes = 0  # unfinished bodies of all connections
        self.refused: dict[str, int] = {}  # by code; the codes are those of this room, so it stays small

    def enter(self, connection: Connected, address: str) -> str:
        """Admit a connection; the code of the limit in the way, or "". `leave` must follow either way."""
        self.total_connections += 1
        self.connections.add(connection)
        if address:
            self.addresses[address] = self.addresses.get(address, 0) + 1
            if self.addresses[address] > self.limits.connections_per_address_max:
                return "address_connections"
        if len(self.connections) > self.limits.connections_max:
            return "connections"
        return ""

    def leave(self, connection: Connected, address: str) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        if self.empty is not None and not self.connections and not self.empty.done():
            self.empty.set_result(None)
        if address:
            left = self.addresses.get(address, 1) - 1
            if left:
                self.addresses[address] = left
            else:
                self.addresses.pop(address, None)

    def count(self, code: str) -> None:
        """One more refusal, abort or failure of this kind."""
        self.refused[code] = self.refused.get(code, 0) + 1
