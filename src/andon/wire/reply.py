"""One answer being made on one server connection: keeps HTTP's rules about heads, bodies and their ends.

Written to by the application, read by `wire.connection`. Each whole answer is one write to the transport.
"""

from __future__ import annotations

import asyncio
import struct
from socket import SO_LINGER, SOL_SOCKET
from typing import Final

from andon.wire.framing import BODILESS, STATUS_LINES, status_line
from andon.wire.model import Request

WAITING: Final = 0
STARTED: Final = 1
DONE: Final = 2
ABORTED: Final = 3

NONE: Final = 0  # what becomes of the pieces of a body: HEAD, 204 and 304 have none
CHUNKED: Final = 1
RAW: Final = 2  # HTTP/1.0

_COPY_BYTES_MAX: Final = (
    256 * 1024
)  # a bigger body is handed over beside its head instead of copied behind it


class Outlet:
    """The writing half of a connection: the transport and whoever waits for it to drain."""

    __slots__ = ("draining", "loop", "paused", "transport", "waiters")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.transport = transport
        self.loop = loop
        self.draining = False  # the server is: answers say `connection: close`
        self.paused = False
        self.waiters: list[asyncio.Future[None]] = []  # one per task that writes: in practice at most one

    def release(self, error: ConnectionResetError | None = None) -> None:
        """Wake everybody in `Reply.writable`, with an error if the client has left."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)


class WireReply:
    """`model.Reply` over a connection. Calls after the client left are harmless."""

    __slots__ = ("body", "gone", "is_http10", "keep_alive", "outlet", "request", "stage")

    def __init__(self, outlet: Outlet, request: Request, keep_alive: bool, is_http10: bool) -> None:
        self.outlet = outlet
        self.request = request
        self.keep_alive = keep_alive
        self.is_http10 = is_http10
        self.gone = False
        self.stage = WAITING
        self.body = NONE

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """A whole answer in one write; RuntimeError if one was begun already."""
        if self.stage:
            raise RuntimeError("This request has been answered already.")
        self.stage = DONE
        if self.gone:
            return
        outlet = self.outlet
        if (
            self.keep_alive
            and not outlet.draining
            and not self.is_http10
            and status not in BODILESS
            and len(body) < _COPY_BYTES_MAX
            and self.request.method != b"HEAD"
        ):
            outlet.transport.write(
                b"%b%bcontent-length: %d\r\n\r\n%b"
                % (STATUS_LINES.get(status) or status_line(status), headers, len(body), body)
            )
            return
        head = self._head(status, headers)
        if status not in BODILESS:
            head += b"content-length: %d\r\n" % len(body)
        if status in BODILESS or self.request.method == b"HEAD":
            body = b""
        outlet.transport.writelines((head + b"\r\n", body))

    def start(self, status: int, headers: bytes) -> None:
        """Begin an answer of unknown length: chunked, or on HTTP/1.0 delimited by the connection's end."""
        if self.stage:
            raise RuntimeError("This request has been answered already.")
        self.stage = STARTED
        if self.is_http10:
            self.keep_alive = False
        if self.gone:
            return
        head = self._head(status, headers)
        if status not in BODILESS:
            if not self.is_http10:
                head += b"transfer-encoding: chunked\r\n"
            if self.request.method != b"HEAD":
                self.body = RAW if self.is_http10 else CHUNKED
        self.outlet.transport.write(head + b"\r\n")

    def write(self, data: bytes) -> None:
        """One piece of an answer that was started."""
        if self.stage == STARTED:
            if not data or self.gone:
                return
            if self.body == CHUNKED:
                self.outlet.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
            elif self.body == RAW:
                self.outlet.transport.write(data)
        elif self.stage != ABORTED:
            raise RuntimeError("Nothing has been started, or it has ended already.")

    async def writable(self) -> None:
        """Returns when less than `write_buffer_bytes` wait for the client; ConnectionResetError if it left."""
        if self.gone:
            raise ConnectionResetError("The client has left.")
        outlet = self.outlet
        if outlet.paused:
            waiter: asyncio.Future[None] = outlet.loop.create_future()
            outlet.waiters.append(waiter)
            await waiter

    def end(self) -> None:
        """Complete a chunked answer."""
        if self.stage != STARTED:
            if self.stage == ABORTED:
                return
            raise RuntimeError("Nothing has been started, or it has ended already.")
        self.stage = DONE
        if self.body == CHUNKED and not self.gone:
            self.outlet.transport.write(b"0\r\n\r\n")

    def abort(self) -> None:
        """Cut the connection so that the client sees an incomplete answer: what was written still goes out."""
        if self.stage == DONE:
            return
        self.stage = ABORTED
        self.keep_alive = False
        transport = self.outlet.transport
        if self.body == RAW:
            # The end of the connection is the end of this body, so only a reset tells that it was cut.
            socket = transport.get_extra_info("socket")
            if socket is not None:
                socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()

    def _head(self, status: int, headers: bytes) -> bytes:
        if self.outlet.draining:
            self.keep_alive = False
        if not self.keep_alive:
            return b"%b%bconnection: close\r\n" % (status_line(status), headers)
        if self.is_http10:
            return b"%b%bconnection: keep-alive\r\n" % (status_line(status), headers)
        return status_line(status) + headers
