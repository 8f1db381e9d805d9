"""The load generators that wrk is not: open loop at a constant rate, and many paced streams; runs on core 1.

Open loop counts latency from the moment a request was due, not from when it was sent, so that a stall is not hidden by
the generator waiting too. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import time
from pathlib import Path
from urllib.parse import urlsplit

import httptools
import uvloop


class Connection(asyncio.Protocol):
    """One keep-alive connection; times of the first and of every body piece."""

    def __init__(self) -> None:
        self.dead = False
        self.done: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.dead = True
        if self.done is not None and not self.done.done():
            self.done.set_exception(error or ConnectionResetError())

    def send(self, data: bytes) -> asyncio.Future[int]:
        """Send one request; the future is its status."""
        self.pieces: list[float] = []
        self.parser = httptools.HttpResponseParser(self)
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(data)  # type: ignore[attr-defined]  # a TCP transport
        return self.done

    def on_body(self, body: bytes) -> None:
        self.pieces.append(time.perf_counter())

    def on_message_complete(self) -> None:
        if not self.parser.should_keep_alive():
            self.dead = True
        if self.done is not None and not self.done.done():
            self.done.set_result(self.parser.get_status_code())

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self.done is not None and not self.done.done():
                self.done.set_exception(error)


class Generator:
    """Sends one request text over a pool of connections."""

    def __init__(self, url: str, body: bytes, headers: list[str]) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname, parts.port
        lines = [f"POST {parts.path} HTTP/1.1", f"host: {parts.netloc}", "content-type: application/json"]
        self.request = "\r\n".join([*lines, f"content-length: {len(body)}", *headers, "", ""]).encode() + body
        self.idle: list[Connection] = []
        self.errors = 0

    async def one(self) -> tuple[int, list[float]]:
        """One exchange: status (0 for a failure) and the times of its pieces."""
        connection = None
        while self.idle and connection is None:
            kept = self.idle.pop()
            connection = None if kept.dead else kept
        try:
            if connection is None:
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(Connection, self.host, self.port)
            async with asyncio.timeout(30):
                status = await connection.send(self.request)
        except (OSError, TimeoutError, httptools.HttpParserError):
            self.errors += 1
            return 0, []
        if status != 200:
            self.errors += 1
        if not connection.dead:
            self.idle.append(connection)
        return status, connection.pieces


def quantile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


async def open_loop(generator: Generator, rate: float, seconds: float) -> dict[str, float]:
    """Constant rate for `seconds` after one second of warm-up."""
    latencies: list[float] = []
    tasks: set[asyncio.Task[None]] = set()
    start = time.perf_counter()

    async def exchange(due: float) -> None:
        status, _ = await generator.one()
        if status == 200 and due > start + 1.0:
            latencies.append(time.perf_counter() - due)

    for place in range(int(rate * (seconds + 1.0))):
        due = start + place / rate
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.ensure_future(exchange(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    while tasks:
        await asyncio.wait(tasks, timeout=30)
    return {
        "requests": len(latencies),
        "errors": generator.errors,
        "p50_ms": quantile(latencies, 0.5) * 1e3,
        "p99_ms": quantile(latencies, 0.99) * 1e3,
    }


async def streams(
    generator: Generator, count: int, rounds: int, gap_s: float, spread_s: float
) -> dict[str, float]:
    """`count` paced streams at once, `rounds` times; lateness of a piece = its gap beyond the pace.

    They begin evenly over `spread_s`: over one stream's length, they are at all stages as real ones are; over one gap,
    all of them begin and end together, which is the worst that clients can do.
    """
    first: list[float] = []
    late: list[float] = []
    stalled = 0

    async def stream(delay: float) -> None:
        nonlocal stalled
        await asyncio.sleep(delay)
        for _ in range(rounds):
            begin = time.perf_counter()
            status, pieces = await generator.one()
            gaps = [after - before for before, after in itertools.pairwise(pieces)]
            if status != 200 or not pieces or max(gaps, default=0.0) > 10 * gap_s:
                stalled += 1
            if pieces:
                first.append(pieces[0] - begin)
                late.extend(gap - gap_s for gap in gaps)

    await asyncio.gather(*(stream(spread_s * place / count) for place in range(count)))
    return {
        "streams": count * rounds,
        "errors": generator.errors,
        "stalled": stalled,
        "ttft_p50_ms": quantile(first, 0.5) * 1e3,
        "ttft_p99_ms": quantile(first, 0.99) * 1e3,
        "late_p99_ms": quantile(late, 0.99) * 1e3,
    }


async def main() -> None:
    """Parse the command line and run one of the two."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--body", type=Path, required=True)
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--streams", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--gap-ms", type=float, default=20.0)
    parser.add_argument("--spread-ms", type=float, default=20.0)
    options = parser.parse_args()
    generator = Generator(options.url, options.body.read_bytes(), options.header)
    gc.collect()
    gc.disable()
    if options.streams:
        result = await streams(
            generator, options.streams, options.rounds, options.gap_ms / 1e3, options.spread_ms / 1e3
        )
    else:
        result = await open_loop(generator, options.rate, options.seconds)
    print(json.dumps(result))


if __name__ == "__main__":
    uvloop.run(main())
