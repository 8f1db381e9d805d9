"""What a server built on `wire` sees: a request that is complete, and a reply to fill.

`gateway` and `serving` implement `Application`; `wire.server` and `wire.asgi` call it. Nothing here knows a dialect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

Header = tuple[bytes, bytes]


class Request:
    """One complete request. Header names are in lower case; `path` is without the query, undecoded."""

    __slots__ = ("body", "headers", "method", "path", "peer", "query")

    def __init__(
        self, method: bytes, path: bytes, query: bytes, headers: list[Header], body: bytes, peer: str
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.peer = peer  # client address for logs and per-address limits; "" on Unix sockets


class Reply(Protocol):
    """The answer being made. Exactly one of `send`, or `start` … `end`, or `abort`, per request."""

    gone: bool  # the client has left; writing is harmless and pointless

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """A whole answer. `headers` are complete lines ending in CRLF; content-length is added here."""
        ...

    def start(self, status: int, headers: bytes) -> None:
        """Begin a chunked answer (transfer-encoding is added here)."""
        ...

    def write(self, data: bytes) -> None:
        """One piece; empty pieces are ignored."""
        ...

    async def writable(self) -> None:
        """Returns when the client has taken enough of what was written; raises ConnectionResetError if it left."""
        ...

    def end(self) -> None:
        """Complete a chunked answer."""
        ...

    def abort(self) -> None:
        """Close without completing, so that no client can take a cut answer for a whole one."""
        ...


class Gatekeeper(Protocol):
    """Whoever remembers what clients did, on behalf of a server."""

    def bars(self, peer: str) -> bool:
        """Whether a connection of this peer is refused at once."""
        ...

    def note(self, peer: str, code: str) -> None:
        """The protocol has refused, or given up on, something of this peer."""
        ...


class Application(Protocol):
    """A server's behaviour."""

    async def handle(self, request: Request, reply: Reply) -> None:
        """Answer one request. Cancelled when the client leaves."""
        ...

    def body_bytes_max(self, method: bytes, path: bytes, headers: Sequence[Header]) -> int:
        """The largest body that this request may carry; asked before any of it is read."""
        ...

    def refuse(self, path: bytes, status: int, code: str, message: str) -> tuple[bytes, bytes]:
        """Headers and body for a refusal that the protocol itself makes (400, 408, 413, 431, 503), in the shape
        that clients of this path expect."""
        ...
