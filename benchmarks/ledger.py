"""The ledger in figures: rows written by the real log, sealed by the real sealer, asked through the engine.

10 M rows (1 M with QUICK=1), a tenth of them in the last hour of the data; then a million labels. Every question is
asked several times: the first run is told beside the median. Prints tables and, last, one JSON object.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import uvloop

from andon.kernel.clock import SystemClock
from andon.kernel.random import SystemRandom
from andon.ledger.facts.model import Fact, Label
from andon.ledger.folder import open_log
from andon.ledger.queries import Bounds
from andon.ledger.row import Outcome
from andon.ledger.tables.delta import Tables
from andon.ledger.tables.engine import TableEngine, open_engine
from andon.ledger.tables.quarantine import Quarantine
from andon.ledger.tables.sealer import Sealer
from andon.ledger.tables.segments import LogFolder
from andon.ledger.tables.sources import settle_source
from benchmarks.harness import QUICK, conclude, table

ROWS = int(os.environ.get("ROWS") or (1_000_000 if QUICK else 10_000_000))
LABELS = min(1_000_000, ROWS)
RUNS = 5 if QUICK else 7
VISIBLE_RUNS = 20
HOUR_NS = 3_600_000_000_000
DAYS = 7
LOGS = ("rows", "facts", "bodies")
WINDOW = f"the last hour of {DAYS} days, a tenth of all rows"


def moments() -> Iterator[int]:
    """Times of the rows: nine tenths over a week, the last tenth over its last hour."""
    end = time.time_ns() // HOUR_NS * HOUR_NS
    start, late = end - DAYS * 24 * HOUR_NS, ROWS // 10
    early = ROWS - late
    for number in range(early):
        yield start + number * (DAYS * 24 * HOUR_NS - HOUR_NS) // early
    for number in range(late):
        yield end - HOUR_NS + number * HOUR_NS // late


def identify(at_ns: int, number: int) -> str:
    """An id as the gateway makes them: a UUIDv7, ordered by time, the rest mixed."""
    mixed = (number * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    text = f"{at_ns // 1_000_000:012x}7{mixed & 0xFFF:03x}8{mixed >> 4 & 0xFFF:03x}{mixed >> 16:012x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:32]}"


def outcome(number: int, at_ns: int) -> Outcome:
    """A row with what a gateway fills in for a chat request."""
    mixed = (number * 2654435761) & 0xFFFFFFFF
    duration = 20_000 + mixed % 400_000 + (mixed >> 9) % 97 * (mixed >> 21) % 30_000
    failed = mixed % 101 == 0
    return Outcome(
        identify(at_ns, number),
        at_ns=at_ns,
        status=502 if failed else 200,
        error_code="upstream_reset" if failed else None,
        provider_error=failed,
        endpoint="assistant",
        release=f"assistant@{1 + mixed % 4}",
        arm="canary" if mixed % 10 == 0 else "stable",
        target=f"provider-{mixed % 3}",
        operation="chat",
        dialect="openai",
        key=f"key-{mixed % 200}",
        team=f"team-{mixed % 20}",
        propensity=0.9,
        unit=mixed * 4294967291 >> 1,
        stream=mixed % 3 == 0,
        duration_us=duration,
        overhead_us=180 + mixed % 90,
        queue_us=mixed % 40,
        upstream_us=duration - 300,
        first_byte_us=duration // 4,
        input_tokens=100 + mixed % 3000,
        output_tokens=10 + (mixed >> 7) % 800,
        usage_source="provider",
        request_bytes=400 + mixed % 9000,
        response_bytes=300 + (mixed >> 5) % 4000,
        durability="acknowledged",
        cost_micros=mixed % 90_000,
        currency="USD",
        price_version="2026-11",
        gateway="0",
        traceparent=f"00-{mixed * 0x9E3779B97F4A7C15:032x}-{mixed * 0x9E3779B1 & (1 << 64) - 1:016x}-01",
        response_id=f"chatcmpl-{number:x}",
        model=f"model-{mixed % 4}",
        finish_reason="stop",
        snapshot=12,
    )


async def append(folder: Path, count: int, make: Callable[[int], object]) -> float:
    """Append `count` rows through the real log, a commit for every thousand; seconds, making the rows left out.

    The log's own thread writes and syncs meanwhile; what it still has to do at the end is counted.
    """
    took = 0.0
    async with open_log(folder, SystemClock(), "gateway-0") as log:
        for start in range(0, count, 1000):
            rows = [make(number) for number in range(start, min(start + 1000, count))]
            begun = time.perf_counter()
            for row in rows:
                log.append(row)
            await log.committed()
            took += time.perf_counter() - begun
    return took


def seal(home: Path) -> tuple[float, int]:
    """Seal everything that is closed: seconds, and rows in tables."""
    logs = [LogFolder(log, home / log, settle_source(home / log, SystemRandom())) for log in LOGS]
    sealer = Sealer(Tables(str(home / "tables")), logs, Quarantine(home / "quarantine"), SystemClock())
    begun = time.perf_counter()
    while sealer.turn().segments:
        pass
    return time.perf_counter() - begun, sealer.counters.rows


def ask(
    engine: TableEngine, sql: str, parameters: Callable[[int], Sequence[object]] = lambda run: ()
) -> list[float]:
    """Milliseconds of every run, the first one first."""
    took = []
    for run in range(RUNS + 1):
        begun = time.perf_counter()
        engine.query(sql, parameters(run), Bounds(seconds=100))
        took.append((time.perf_counter() - begun) * 1e3)
    return took


async def visible(engine: TableEngine, folder: Path) -> list[float]:
    """Milliseconds from handing an outcome to the log until a query returns it."""
    took = []
    async with open_log(folder, SystemClock(), "gateway-0") as log:
        for number in range(VISIBLE_RUNS):
            row = outcome(number, time.time_ns())
            row = msgspec.structs.replace(row, id=f"seen-{number}")
            begun = time.perf_counter()
            log.append(row)
            await log.committed()
            while not (
                await asyncio.to_thread(engine.query, "SELECT 1 FROM requests WHERE id = ?", [row.id])
            ).num_rows:
                assert time.perf_counter() - begun < 30, "an outcome never became visible"
            took.append((time.perf_counter() - begun) * 1e3)
    return took


QUANTILES = """
SELECT release, date_trunc('minute', at) AS minute, count(*) AS requests,
       quantile_cont(duration_us, [0.5, 0.95, 0.99]) AS us
FROM requests WHERE at_ns >= ? GROUP BY ALL ORDER BY ALL"""
LOOKUP = "SELECT * FROM requests WHERE id = ?"
COST = """
SELECT team, release, at::DATE AS day, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
       sum(cost_micros) AS cost_micros
FROM requests GROUP BY ALL"""
JOIN = """
SELECT r.release, count(*) AS labelled, avg(l.value) AS truth
FROM labels l JOIN requests r ON r.id = l.request_id GROUP BY ALL"""


def measure(home: Path) -> dict[str, float | int]:
    """All figures of one home."""
    times = list(moments())
    for log in LOGS:
        (home / log).mkdir()
    append_s = uvloop.run(append(home / "rows", ROWS, lambda number: outcome(number, times[number])))
    log_bytes = sum(path.stat().st_size for path in (home / "rows").glob("*.log"))
    seal_s, sealed = seal(home)
    assert sealed == ROWS, f"{sealed} rows are in the tables"
    table_bytes = sum(path.stat().st_size for path in (home / "tables" / "attempts").rglob("*.parquet"))
    step = ROWS // LABELS

    def label(number: int) -> Fact:
        at = number * step
        id_ = identify(times[at], at)
        return Label(
            f"l-{number}", at_ns=times[at] + HOUR_NS, event_ns=times[at], request=id_, value=number % 2.0
        )

    uvloop.run(append(home / "facts", LABELS, label))
    seal(home)
    engine = open_engine(*(home / log for log in LOGS), str(home / "tables"))
    try:
        since = times[-1] - HOUR_NS
        spread = [times[(run * 7919 + 13) * ROWS // 100_003 % ROWS] for run in range(RUNS + 1)]
        places = {at: number for number, at in enumerate(times) if at in set(spread)}
        asked = {
            "quantiles": ask(engine, QUANTILES, lambda run: [since]),
            "lookup": ask(engine, LOOKUP, lambda run: [identify(spread[run], places[spread[run]])]),
            "cost": ask(engine, COST),
            "join": ask(engine, JOIN),
        }
        seen = uvloop.run(visible(engine, home / "rows"))
    finally:
        engine.close()
    middle = {name: statistics.median(runs[1:]) for name, runs in asked.items()}
    table(
        ("question", "first ms", "median ms", "worst ms"),
        [
            *((name, runs[0], middle[name], max(runs[1:])) for name, runs in asked.items()),
            ("visible", seen[0], statistics.median(seen), max(seen)),
        ],
    )
    print(f"quantiles: by release and minute over {WINDOW}; log {log_bytes / ROWS:.0f} bytes a row")
    return {
        "append_rows_per_s": round(ROWS / append_s),
        "seal_rows_per_s": round(ROWS / seal_s),
        "rows": ROWS,
        "quantiles_ms": middle["quantiles"],
        "lookup_ms": middle["lookup"],
        "cost_group_ms": middle["cost"],
        "label_join_s": middle["join"] / 1e3,
        "visible_ms": max(seen),
        "bytes_per_row": table_bytes / ROWS,
    }


def main() -> None:
    """Make a home, measure, and leave nothing behind."""
    home = Path(tempfile.mkdtemp(dir=os.environ.get("ON")))
    try:
        conclude(measure(home))
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
