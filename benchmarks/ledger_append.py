"""What a durable row costs: microseconds per append and commit at 1, 32 and 256 at once, on this machine's disk.

`closed loop` is the log alone: each task appends an intent and an outcome and waits for the commit, again and again.
Prints a table and, as its last line, one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from pathlib import Path

import uvloop

from andon.kernel.clock import SystemClock
from andon.ledger.folder import open_log
from andon.ledger.log import Log
from andon.ledger.row import Intent, Outcome

QUICK = bool(os.environ.get("QUICK"))
SECONDS = 1.0 if QUICK else 4.0
ID = "0192f3a4-5b6c-7d8e-9f01-23456789abcd"


def intent(id_: str) -> Intent:
    """An intent as the gateway writes it."""
    return Intent(
        id_,
        0,
        1_700_000_000_000_000_000,
        "credit",
        "chat",
        "openai",
        "key-1",
        "team",
        "credit@2",
        "stable",
        0.9,
    )


def outcome(id_: str) -> Outcome:
    """An outcome with every field that a gateway fills."""
    return Outcome(
        id_,
        at_ns=1_700_000_000_000_000_000,
        status=200,
        endpoint="credit",
        release="credit@2",
        arm="stable",
        target="credit-2-a1b2",
        operation="chat",
        dialect="openai",
        key="key-1",
        team="team",
        propensity=0.9,
        unit=123456789,
        duration_us=1500,
        overhead_us=200,
        upstream_us=1300,
        first_byte_us=1200,
        input_tokens=180,
        output_tokens=120,
        usage_source="provider",
        request_bytes=1024,
        response_bytes=900,
        durability="acknowledged",
        gateway="0",
        traceparent="00-6727d8275b6c7d8e9f0123456789abcd-9f0123456789abcd-01",
        response_id="chatcmpl-9f0123456789abcd",
        model="gpt-4.1-mini-2025-04-14",
        finish_reason="stop",
        queue_us=0,
        client_retry=0,
        snapshot=7,
    )


async def closed_loop(log: Log, clients: int) -> dict[str, float]:
    """Rows as fast as `clients` tasks can commit them."""
    waits: list[float] = []
    until = time.perf_counter() + SECONDS

    async def client() -> None:
        while (started := time.perf_counter()) < until:
            log.append(intent(ID))
            log.append(outcome(ID))
            await log.committed()
            waits.append(time.perf_counter() - started)

    before, cpu, commits = time.perf_counter(), time.process_time(), log.counters.commits
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds, cpu = time.perf_counter() - before, time.process_time() - cpu
    waits.sort()
    return {
        "clients": clients,
        "per_s": len(waits) / seconds,
        "cpu_us": cpu / len(waits) * 1e6,
        "p50_us": waits[len(waits) // 2] * 1e6,
        "p99_us": waits[len(waits) * 99 // 100] * 1e6,
        "batch": len(waits) / max(1, log.counters.commits - commits),
    }


def append_us() -> dict[str, float]:
    """The price of `append` alone, rows made beforehand."""

    async def main() -> float:
        with tempfile.TemporaryDirectory() as folder:
            async with open_log(Path(folder), SystemClock(), "gateway-0") as log:
                row, count, took = outcome(ID), 500, 0.0
                for _ in range(40):
                    started = time.perf_counter()
                    for _ in range(count):
                        log.append(row)
                    took += time.perf_counter() - started
                    await log.committed()
                return took / (40 * count) * 1e6

    return {"append_us": uvloop.run(main())}


def main() -> None:
    """Measure and print."""

    async def measure() -> list[dict[str, float]]:
        with tempfile.TemporaryDirectory(dir=os.environ.get("ON")) as folder:
            async with open_log(Path(folder), SystemClock(), "gateway-0") as log:
                return [await closed_loop(log, clients) for clients in (1, 32, 256)]

    result = append_us()
    print(f"append alone: {result['append_us']:.2f} us a row")
    print(
        f"{'clients':>8} {'commits/s':>10} {'cpu us':>8} {'p50 us':>8} {'p99 us':>8} {'rows x2 in a batch':>19}"
    )
    for line in uvloop.run(measure()):
        clients = int(line["clients"])
        print(
            f"{clients:>8} {line['per_s']:>10.0f} {line['cpu_us']:>8.1f} {line['p50_us']:>8.0f} "
            f"{line['p99_us']:>8.0f} {line['batch']:>19.1f}"
        )
        result |= {
            f"{name}_{clients}": round(line[name], 1) for name in ("per_s", "cpu_us", "p50_us", "p99_us")
        }
    print(json.dumps({name: round(value, 2) for name, value in result.items()}))


if __name__ == "__main__":
    main()
