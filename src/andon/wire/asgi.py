"""The same application under any ASGI server: for those who want uvicorn's features rather than our speed.

Stands where `wire.server` stands. Framing, time-outs and connection limits are then the ASGI server's own; the body
limit, streaming, back-pressure and cancellation hold here as they do there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from andon.wire.framing import BODILESS
from andon.wire.model import Application, Header, Request
from andon.wire.reply import ABORTED, DONE, STARTED, WAITING

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_WAITING_BYTES_MAX: Final = (
    64 * 1024
)  # beyond: `writable` waits until the ASGI server has taken what was written


class AsgiReply:
    """`model.Reply` whose pieces are passed on by a pump, since ASGI's `send` must be awaited."""

    __slots__ = ("changed", "gone", "is_head", "messages", "size", "stage")

    def __init__(self, is_head: bool) -> None:
        self.gone = False
        self.is_head = is_head
        self.stage = WAITING
        self.messages: deque[Message] = deque()  # bounded by the application awaiting `writable`
        self.size = 0
        self.changed = asyncio.Event()

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """A whole answer."""
        if self.stage:
            raise RuntimeError("This request has been answered already.")
        lines = _split_headers(headers)
        if status in BODILESS:
            body = b""
        else:
            lines.append((b"content-length", b"%d" % len(body)))
        self._push({"type": "http.response.start", "status": status, "headers": lines})
        self.stage = DONE
        self._push({"type": "http.response.body", "body": b"" if self.is_head else body})

    def start(self, status: int, headers: bytes) -> None:
        """Begin an answer of unknown length."""
        if self.stage:
            raise RuntimeError("This request has been answered already.")
        self.stage = STARTED
        self._push({"type": "http.response.start", "status": status, "headers": _split_headers(headers)})

    def write(self, data: bytes) -> None:
        """One piece."""
        if self.stage == STARTED:
            if data and not self.is_head:
                self._push({"type": "http.response.body", "body": data, "more_body": True})
        elif self.stage != ABORTED:
            raise RuntimeError("Nothing has been started, or it has ended already.")

    async def writable(self) -> None:
        """Returns when the server has taken enough; ConnectionResetError if the client left."""
        while self.size > _WAITING_BYTES_MAX and not self.gone:
            self.changed.clear()
            await self.changed.wait()
        if self.gone:
            raise ConnectionResetError("The client has left.")

    def end(self) -> None:
        """Complete a started answer."""
        if self.stage == STARTED:
            self.stage = DONE
            self._push({"type": "http.response.body", "body": b""})
        elif self.stage != ABORTED:
            raise RuntimeError("Nothing has been started, or it has ended already.")

    def abort(self) -> None:
        """Leave the answer incomplete: the ASGI server then closes the connection."""
        if self.stage != DONE:
            self.stage = ABORTED
            self.changed.set()

    def _push(self, message: Message) -> None:
        if not self.gone:
            self.messages.append(message)
            self.size += len(message.get("body", b""))
            self.changed.set()

    async def pump(self, send: Send) -> None:
        """Pass messages on until the answer has ended."""
        while True:
            while self.messages:
                message = self.messages.popleft()
                await send(message)
                self.size -= len(message.get("body", b""))
                self.changed.set()
            if self.stage in (DONE, ABORTED):
                return
            self.changed.clear()
            await self.changed.wait()


class AsgiBridge:
    """An ASGI 3 application around `Application`."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one scope: http and lifespan; anything else is refused by returning."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _serve(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        headers: list[Header] = [(bytes(name), bytes(value)) for name, value in scope["headers"]]
        method = scope["method"].encode("ascii")
        path = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0]
        reply = AsgiReply(method == b"HEAD")
        size_max = self._application.body_bytes_max(method, path, headers)
        body = await _read_body(receive, size_max)
        if body is None:
            return
        if len(body) > size_max:
            message = f"The body is larger than {size_max} bytes."
            reply.send(413, *self._application.refuse(path, 413, "body_too_large", message))
            await reply.pump(send)
            return
        peer = scope.get("client")
        request = Request(
            method,
            path,
            scope.get("query_string", b""),
            headers,
            body,
            f"{peer[0]}:{peer[1]}" if peer else "",
        )
        await self._answer(request, reply, receive, send)

    async def _answer(self, request: Request, reply: AsgiReply, receive: Receive, send: Send) -> None:
        handler = asyncio.ensure_future(self._application.handle(request, reply))
        leaving = asyncio.ensure_future(_until_disconnect(receive))
        pump = asyncio.ensure_future(reply.pump(send))
        tasks = (handler, leaving, pump)
        try:
            await asyncio.wait((handler, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not handler.done() and reply.stage != DONE:
                reply.gone = True
                handler.cancel()
            await asyncio.wait((handler,))
            if reply.stage in (WAITING, STARTED):
                self._fail(request, reply)
            if not reply.gone:
                await pump
            if not handler.cancelled():
                handler.result()  # a bug of the application is the ASGI server's to log
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _fail(self, request: Request, reply: AsgiReply) -> None:
        if reply.stage == STARTED:
            reply.abort()
        else:
            message = "The server failed to answer; its log says why."
            reply.send(500, *self._application.refuse(request.path, 500, "internal", message))


async def _read_body(receive: Receive, size_max: int) -> bytes | None:
    """The whole body, or a little more than `size_max` of it; None if the client left."""
    pieces = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces += message.get("body", b"")
        if len(pieces) > size_max or not message.get("more_body", False):
            return bytes(pieces)


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _split_headers(headers: bytes) -> list[Header]:
    lines: list[Header] = []
    for line in headers.split(b"\r\n"):
        name, separator, value = line.partition(b":")
        if separator:
            lines.append((name.lower(), value.strip()))
    return lines
