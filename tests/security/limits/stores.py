"""A real Redis for tests, started on a free port, and authorities in memory with faults."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from andon.kernel.clock import SystemClock
from andon.kernel.random import SeededRandom
from andon.kernel.snapshot import LimitEntry
from andon.security.limits.accounts import Authority
from andon.security.limits.model import Counter, Rule
from andon.security.limits.shared import SharedCounters, SharedSettings


class RedisServer:
    """One redis-server in a folder of its own; may be killed, stopped and started again."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        self.words = words
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        program = shutil.which("redis-server")
        assert program is not None
        self.process = subprocess.Popen(
            [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *self.words],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 15
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                assert time.monotonic() < deadline
                assert self.process.poll() is None
                time.sleep(0.02)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def running_redis(folder: Path, *words: str) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    server = RedisServer(folder, *words)
    server.start()
    try:
        yield server
    finally:
        server.kill()


class MemoryChannel:
    """A `Channel` to an authority in memory. `cut` loses the connection, `silent` answers to nobody."""

    def __init__(self, authority: Authority, gateway: str, now_us: object = None) -> None:
        self.authority = authority
        self.gateway = gateway
        self.now_us = now_us or (lambda: time.monotonic_ns() // 1000)
        self.answers: asyncio.Queue[bytes | OSError] = asyncio.Queue()
        self.silent = False
        self.lose_answers = False
        self.refuses = False
        self.sent: list[tuple[int, list[str], bytes]] = []

    async def open(self) -> None:
        if self.refuses:
            raise OSError("refused")
        self.answers = asyncio.Queue()

    async def send(self, number: int, keys: Sequence[str], payload: bytes) -> None:
        self.sent.append((number, list(keys), payload))
        if self.silent:
            return
        answer = self.authority.apply(self.gateway, number, list(keys), payload, self.now_us())
        if not self.lose_answers:
            self.answers.put_nowait(answer)

    async def receive(self) -> bytes:
        found = await self.answers.get()
        if isinstance(found, OSError):
            raise found
        return found

    def cut(self) -> None:
        self.answers.put_nowait(OSError("cut"))

    async def close(self) -> None:
        return


def counter(name: str = "limit", subject: str = "subject", **ceilings: object) -> Counter:
    return Counter(Rule(LimitEntry(name=name, scope="key", **ceilings)), subject)


@contextlib.asynccontextmanager
async def sharing(channel: object, **settings: object) -> AsyncIterator[SharedCounters]:
    """One gateway's side, running and in touch."""
    shared = SharedCounters(
        channel,
        SharedSettings(**{"patience_s": 5.0, **settings}),
        clock=SystemClock(),
        random=SeededRandom(1),
    )
    task = asyncio.ensure_future(shared.run())
    try:
        async with asyncio.timeout(10):
            while shared.away and not getattr(channel, "refuses", False):
                await asyncio.sleep(0.005)
        yield shared
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
