"""Proof `stream`: what the gateway adds to the first token and to every token of many paced streams at once.

Measured twice: with the streams at all stages, as in a running factory, which is what the last line tells; and with
all of them beginning and ending together, which the table shows beside it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.factory import KEY_HEADER, gateway
from benchmarks.harness import LOAD_CORE, PAYLOADS, QUICK, ROOT, conclude, free_port, need, running, table

STREAMS, ROUNDS, TOKENS, GAP_MS = 128, (3 if QUICK else 8), 64, 20.0
PATH = "/v1/chat/completions"


def measure(url: str, headers: dict[str, str], spread_ms: float) -> dict[str, float]:
    """All streams at once, several times over."""
    extra = [f"--header={name}: {value}" for name, value in headers.items()]
    done = subprocess.run(
        [
            *("taskset", "-c", LOAD_CORE, sys.executable, "-m", "benchmarks.client", "--url", url),
            *("--body", str(PAYLOADS / "chat_stream.json"), f"--streams={STREAMS}", f"--rounds={ROUNDS}"),
            *(f"--gap-ms={GAP_MS}", f"--spread-ms={spread_ms}", *extra),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    """Measure direct and through the gateway, in turns."""
    need("taskset")
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream, port = free_port(), free_port()
        stub = [sys.executable, "-m", "benchmarks.stub", str(upstream), str(TOKENS), str(GAP_MS)]
        stack.enter_context(running(stub, upstream, core=LOAD_CORE, cwd=ROOT))
        stack.enter_context(gateway(work, port, upstream, "acknowledged"))
        urls = {
            "direct": (f"http://127.0.0.1:{upstream}{PATH}", {}),
            "through": (f"http://127.0.0.1:{port}{PATH}", KEY_HEADER),
        }
        found = {
            (name, spread): measure(*urls[name], spread_ms)
            for spread, spread_ms in (("all stages", TOKENS * GAP_MS), ("together", GAP_MS))
            for name in urls
        }
    rows = [
        [
            f"{name}, {spread}",
            int(row["streams"]),
            row["ttft_p50_ms"],
            row["ttft_p99_ms"],
            row["late_p99_ms"],
            int(row["stalled"]),
        ]
        for (name, spread), row in found.items()
    ]
    direct, through = found["direct", "all stages"], found["through", "all stages"]
    table(["", "streams", "TTFT P50 ms", "TTFT P99 ms", "late P99 ms", "stalled"], rows)
    conclude(
        {
            "streams": STREAMS,
            "ttft_added_p99_ms": through["ttft_p99_ms"] - direct["ttft_p99_ms"],
            "chunk_added_p99_ms": through["late_p99_ms"] - direct["late_p99_ms"],
            "stalled": int(through["stalled"]),
        }
    )


if __name__ == "__main__":
    main()
