"""What the tests of the wire share: an application that records, a server around it, raw clients and raw upstreams."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from andon.kernel.clock import SystemClock
from andon.kernel.snapshot import TargetEntry
from andon.wire.client import Client, ClientAnswer
from andon.wire.limits import ServerLimits
from andon.wire.model import Header, Reply, Request
from andon.wire.server import Server

BODY_MAX = 1000
PATIENCE_S = 10.0  # a test that waits longer has failed


class Recorder:
    """Answers with what it understood, unless given a behaviour of its own."""

    def __init__(self, behave: Callable[[Request, Reply], Awaitable[None]] | None = None) -> None:
        self.behave = behave
        self.requests: list[tuple[bytes, bytes, bytes, list[Header], bytes]] = []

    async def handle(self, request: Request, reply: Reply) -> None:
        self.requests.append((request.method, request.path, request.query, request.headers, request.body))
        if self.behave is not None:
            await self.behave(request, reply)
        else:
            reply.send(200, b"x-path: " + request.path + b"\r\n", request.body)

    def body_bytes_max(self, method: bytes, path: bytes, headers: Sequence[Header]) -> int:
        return BODY_MAX

    def refuse(self, path: bytes, status: int, code: str, message: str) -> tuple[bytes, bytes]:
        return b"x-code: " + code.encode() + b"\r\n", message.encode()


@asynccontextmanager
async def serving(application: Any, **limits: Any) -> AsyncIterator[Server]:
    """A server on a free port, drained at the end."""
    server = Server(application, ServerLimits(**limits), SystemClock())
    await server.start("127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.drain(0.2)


async def talk(port: int, *pieces: bytes, half_close: bool = False) -> bytes:
    """Everything the server says to these bytes until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if half_close:
            writer.write_eof()
        async with asyncio.timeout(PATIENCE_S):
            return await reader.read()
    finally:
        writer.close()
        await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    """Wait for a stream's end, however rude."""
    try:
        await writer.wait_closed()
    except ConnectionError:
        return


def statuses(answer: bytes) -> list[int]:
    """The status codes of all answers in a stream whose bodies hold no status lines."""
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


@asynccontextmanager
async def upstream(
    *scripts: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[TargetEntry]:
    """A raw server: each connection runs the next script, the last one again and again."""
    turn = iter(range(10**6))
    writers: list[asyncio.StreamWriter] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            await scripts[min(next(turn), len(scripts) - 1)](reader, writer)
        except ConnectionError:
            pass  # the client under test may leave whenever it likes
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield TargetEntry(id="t", url=f"http://127.0.0.1:{port}", protocol="openai")
    finally:
        server.close()
        for writer in writers:
            writer.close()
            await closed(writer)
        await asyncio.sleep(0)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One request with a content-length or none."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b": ")
        if name == b"content-length":
            return head + await reader.readexactly(int(value))
    return head


def script(answer: bytes, *, hold: asyncio.Event | None = None, reset: bool = False) -> Any:
    """A raw upstream that reads one request, says this, and closes (or resets, or holds)."""

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()
        if hold is not None:
            await hold.wait()
        if reset:
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    return run


async def ask(client: Client, target: TargetEntry, method: bytes = b"POST", **options: Any) -> ClientAnswer:
    """One request with generous time-outs unless told otherwise."""
    settings: dict[str, Any] = {
        "connect_timeout_s": 2.0,
        "first_byte_timeout_s": PATIENCE_S,
        "idle_timeout_s": PATIENCE_S,
        "deadline_at": SystemClock().monotonic() + PATIENCE_S,
        "path": b"/v1",
        "headers": [(b"content-type", b"text/plain")],
        "body": b"question" if method == b"POST" else b"",
    }
    settings |= options
    path, headers, body = settings.pop("path"), settings.pop("headers"), settings.pop("body")
    return await client.send(target, method, path, headers, body, **settings)
