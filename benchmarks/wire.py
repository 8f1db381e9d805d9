"""What a request costs on the wire: microseconds of CPU per request, serving alone and serving with forwarding.

Run as `python benchmarks/wire.py` with wrk in the PATH. The process under test has core 0 for itself; the load and
the upstream share core 1. Prints a table and, as its last line, one JSON object. Compare ratios within one run.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop

from andon.kernel.clock import SystemClock
from andon.kernel.snapshot import TargetEntry
from andon.wire.client import Client
from andon.wire.limits import ServerLimits
from andon.wire.model import Header, Reply, Request
from andon.wire.server import Server

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 900}]})
JSON_HEADERS = b"content-type: application/json\r\n"
ANSWER = b'{"object":"chat.completion","choices":[{"index":0,"message":{"content":"' + b"y" * 400 + b'"}}]}'
SECONDS = 1 if os.environ.get("QUICK") else 3
ROUNDS = 2 if os.environ.get("QUICK") else 3


class Fixed:
    """Answers at once, or forwards and answers what came."""

    def __init__(self, upstream: str) -> None:
        self.clock = SystemClock()
        self.client = Client(self.clock)
        self.target = TargetEntry(id="stub", url=upstream, protocol="openai") if upstream else None

    async def handle(self, request: Request, reply: Reply) -> None:
        """Answer one request; `/cpu` tells the processor time used so far, in seconds."""
        if request.path == b"/cpu":
            usage = resource.getrusage(resource.RUSAGE_SELF)
            reply.send(
                200, JSON_HEADERS, json.dumps([usage.ru_utime + usage.ru_stime, usage.ru_maxrss]).encode()
            )
        elif self.target is None:
            reply.send(200, JSON_HEADERS, ANSWER)
        else:
            answer = await self.client.send(
                self.target,
                request.method,
                request.path,
                [(b"content-type", b"application/json"), (b"x-request-id", b"0190")],
                request.body,
                connect_timeout_s=2.0,
                first_byte_timeout_s=30.0,
                idle_timeout_s=30.0,
                deadline_at=self.clock.monotonic() + 60.0,
            )
            reply.send(answer.status, JSON_HEADERS, answer.body)

    def body_bytes_max(self, method: bytes, path: bytes, headers: Sequence[Header]) -> int:
        """One limit for all."""
        return 1 << 20

    def refuse(self, path: bytes, status: int, code: str, message: str) -> tuple[bytes, bytes]:
        """Plain."""
        return JSON_HEADERS, code.encode()


async def serve(upstream: str) -> None:
    """Serve on a free port, said on standard output, until standard input ends."""
    server = Server(Fixed(upstream), ServerLimits(), SystemClock())
    await server.start("127.0.0.1", 0)
    print(server.port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.drain(1.0)


def start(core: int, upstream: str = "") -> tuple[subprocess.Popen[str], int]:
    """A server process pinned to a core, and its port."""
    process = subprocess.Popen(
        ["taskset", "-c", str(core), sys.executable, __file__, "serve", upstream],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


async def used(port: int) -> tuple[float, int]:
    """Processor seconds and peak memory in kilobytes of a server so far."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /cpu HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    _, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    seconds, peak_kb = json.loads(body)
    return seconds, peak_kb


def load(port: int, script: Path) -> tuple[float, int]:
    """Requests per second and count of one burst of 32 connections."""
    command = ["taskset", "-c", "1", "wrk", "-t1", "-c32", f"-d{SECONDS}s", "-s", str(script)]
    out = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/v1/chat"], capture_output=True, text=True, check=True
    ).stdout
    count = re.search(r"(\d+) requests in", out)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    if count is None or rate is None or "Non-2xx" in out or "Socket errors" in out:
        raise SystemExit(f"The load failed:\n{out}")
    return float(rate[1]), int(count[1])


def main() -> None:
    """Interleave rounds of both and print medians."""
    if not shutil.which("wrk"):
        raise SystemExit("This needs wrk: apt-get install wrk")
    upstream, upstream_port = start(1)
    alone, alone_port = start(0)
    forward, forward_port = start(0, f"http://127.0.0.1:{upstream_port}")
    figures: dict[str, list[tuple[float, float]]] = {"serve": [], "forward": []}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "post.lua")
        script.write_text(
            f"wrk.method='POST'\nwrk.body={json.dumps(BODY)}\nwrk.headers['Content-Type']='application/json'\n"
            "wrk.headers['Authorization']='Bearer key'\n"
        )
        for _ in range(ROUNDS):
            for name, port in (("serve", alone_port), ("forward", forward_port)):
                before, _ = asyncio.run(used(port))
                rate, count = load(port, script)
                after, _ = asyncio.run(used(port))
                figures[name].append(((after - before) / count * 1e6, rate))
    result: dict[str, float] = {}
    for name, rows in figures.items():
        result[f"{name}_us"] = round(statistics.median(row[0] for row in rows), 1)
        result[f"{name}_rps"] = round(statistics.median(row[1] for row in rows))
        print(f"{name:10} {result[f'{name}_us']:7.1f} us CPU/request {result[f'{name}_rps']:8.0f} requests/s")
    result["rss_mb"] = round(asyncio.run(used(forward_port))[1] / 1024, 1)
    for process in (alone, forward, upstream):
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=10)
    print(json.dumps(result))


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        uvloop.run(serve(sys.argv[2] if len(sys.argv) > 2 else ""))
    else:
        main()
