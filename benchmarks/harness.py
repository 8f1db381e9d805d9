"""What every proof needs: pinned processes, a load generator, CPU and memory readings, tables and the last line.

The server under test runs on core 0; load generator and stub upstream share core 1. Nothing here judges a figure.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

QUICK = bool(os.environ.get("QUICK"))
PEERS = bool(os.environ.get("PEERS"))
SECURED = bool(os.environ.get("SECURED"))
SERVER_CORE, LOAD_CORE = "0", "1"
ROOT = Path(__file__).resolve().parent.parent
PAYLOADS = Path(__file__).resolve().parent / "payloads"

WRK_SCRIPT = """
local f = io.open(os.getenv("BODY"), "rb"); wrk.body = f:read("*a"); f:close()
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
for line in string.gmatch(os.getenv("HEADERS") or "", "[^\\n]+") do
  local name, value = string.match(line, "([^:]+): (.*)")
  wrk.headers[name] = value
end
local mark, count = os.getenv("FRESH") or "", 0
if mark ~= "" then
  local from, to = wrk.body:find(mark, 1, true)
  local before, after = wrk.body:sub(1, from - 1), wrk.body:sub(to + 1)
  local base, digits = mark:match("^(.-)(%d+)$")
  request = function()
    count = count + 1
    local number = (tonumber(os.getenv("SEED")) + count) % 10 ^ #digits
    return wrk.format(nil, nil, nil, before .. base .. string.format("%0" .. #digits .. "d", number) .. after)
  end
end
done = function(s, l, r)
  local e = s.errors
  local errors = e.status + e.connect + e.read + e.write + e.timeout
  io.write(string.format('RESULT {"requests":%d,"seconds":%.6f,"p50_us":%d,"p99_us":%d,"errors":%d}\\n',
    s.requests, s.duration / 1e6, l:percentile(50), l:percentile(99), errors))
end
"""


def need(*programs: str) -> None:
    """Install Debian packages for programs that are missing, or say which to install and end."""
    packages = {"wrk": "wrk", "nginx": "nginx-light", "taskset": "util-linux"}
    missing = [
        name for name in programs if shutil.which(name) is None and not Path(f"/usr/sbin/{name}").exists()
    ]
    if not missing:
        return
    names = [packages[name] for name in missing]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-q"], check=False, capture_output=True)
        subprocess.run(["apt-get", "install", "-y", "-q", *names], check=False, capture_output=True)
    still = [
        name for name in missing if shutil.which(name) is None and not Path(f"/usr/sbin/{name}").exists()
    ]
    if still:
        sys.exit(f"This proof needs {', '.join(still)}: install the Debian packages {' '.join(names)}.")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Load:
    """One run of the load generator."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    errors: int
    cpu_s: float = 0.0  # of the server under test

    @property
    def rps(self) -> float:
        """Requests a second on the wall clock."""
        return self.requests / self.seconds

    @property
    def per_core(self) -> float:
        """Requests per CPU second of the server under test."""
        return self.requests / self.cpu_s if self.cpu_s else float("nan")


@dataclass
class Server:
    """A started process with everything that it started."""

    process: subprocess.Popen[bytes]
    log: Path
    children: list[int] = field(default_factory=list)

    def tree(self) -> list[psutil.Process]:
        """The process and its descendants that are still there."""
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.Error:
            return []

    def cpu_s(self) -> float:
        """CPU seconds used so far, user and system."""
        total = 0.0
        for process in self.tree():
            with contextlib.suppress(psutil.Error):  # it may end between listing and reading
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def rss_mb(self) -> float:
        """Resident memory in MiB."""
        total = 0
        for process in self.tree():
            with contextlib.suppress(psutil.Error):  # it may end between listing and reading
                total += process.memory_info().rss
        return total / 2**20

    def stop(self) -> None:
        """End it and everything that it started."""
        processes = self.tree()
        for process in processes:
            with contextlib.suppress(psutil.Error):  # already gone
                process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=5)
        for process in alive:
            with contextlib.suppress(psutil.Error):  # already gone
                process.kill()
        self.process.wait(timeout=10)


@contextlib.contextmanager
def running(
    command: Sequence[str],
    port: int,
    *,
    core: str = SERVER_CORE,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    wait_s: float = 60.0,
) -> Iterator[Server]:
    """Start a server pinned to a core, wait until its port answers, stop it at the end."""
    with tempfile.NamedTemporaryFile(suffix=".log", delete=False) as log:
        process = subprocess.Popen(
            ["taskset", "-c", core, *command],
            env={**os.environ, **(environment or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(process, Path(log.name))
    try:
        deadline = time.perf_counter() + wait_s
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                if process.poll() is not None or time.perf_counter() > deadline:
                    words = server.log.read_text(errors="replace")[-800:]
                    raise RuntimeError(f"{command[:4]} did not start: {words}") from None
                time.sleep(0.02)
        yield server
    finally:
        server.stop()
        server.log.unlink(missing_ok=True)


def wrk(
    url: str,
    body: Path,
    *,
    connections: int,
    seconds: float,
    headers: Mapping[str, str] | None = None,
    server: Server | None = None,
    fresh: str = "",
) -> Load:
    """Closed loop: `connections` requests in flight for `seconds`; CPU of `server` over the same span.

    The number at the end of `fresh`, where that stands in the body, is another one in each request.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK_SCRIPT)
        script.flush()
        lines = "\n".join(f"{name}: {value}" for name, value in (headers or {}).items())
        before = server.cpu_s() if server else 0.0
        done = subprocess.run(
            [
                *(
                    "taskset",
                    "-c",
                    LOAD_CORE,
                    "wrk",
                    "-t1",
                    f"-c{connections}",
                    f"-d{max(1, round(seconds))}s",
                ),
                *("--timeout", "10s", "-s", script.name, url),
            ],
            env={
                **os.environ,
                "BODY": str(body),
                "HEADERS": lines,
                "FRESH": fresh,
                "SEED": str(int(time.perf_counter() * 1e5)),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        cpu = server.cpu_s() - before if server else 0.0
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return Load(**json.loads(line.removeprefix("RESULT ")), cpu_s=cpu)
    raise RuntimeError(f"wrk against {url}: {done.stdout}{done.stderr}")


def median(rows: Sequence[Load], figure: Callable[[Load], float]) -> float:
    """The middle of a figure over the rounds."""
    return statistics.median(figure(row) for row in rows)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under headings, columns aligned, figures right."""
    cells = [[f"{cell:,.3g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[place]) for row in [list(headings), *cells]) for place in range(len(headings))]
    for row in [list(headings), ["-" * width for width in widths], *cells]:
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print(row[0].ljust(widths[0]), *rest, sep="  ")


def conclude(figures: Mapping[str, float | int | None]) -> None:
    """The last line: one JSON object with exactly the keys of the proof."""
    print(
        json.dumps(
            {
                # A small figure keeps its three leading digits: 1e-9 is not nothing.
                key: round(value, 4) if isinstance(value, float) and abs(value) >= 0.01 else value
                for key, value in figures.items()
            }
        )
    )
