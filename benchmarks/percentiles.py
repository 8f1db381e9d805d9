"""Live percentiles against exact ones, on every window of a real day's traffic: is the promised 1 % kept?

Replays the Azure LLM inference trace of 2023 (one hour of conversations: arrival, tokens in, tokens out) on its own
clock through the observer's live windows. The trace has no latencies; they follow from the tokens by a stated model:
first token after 40 ms + 0.25 ms a prompt token, then 28 ms an output token, each times seeded lognormal noise (sigma
0.35 and 0.15). At every 10 s of the trace the windows of 10 s, 1, 5 and 60 minutes are read and compared with the exact
nearest rank (the ⌈q·n⌉-th smallest, `quantile_disc` of SQL) over the rows of the same span, at P50, P90, P95 and P99,
for the duration, the first token and the time per output token. The last line is the worst relative error of all.
Beside it stands what the bucket bounds of OpenTelemetry's GenAI conventions would have said, interpolated linearly.
"""

from __future__ import annotations

import csv
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from andon.ledger.histogram import nearest_rank
from andon.ledger.reader import Entry
from andon.ledger.row import Outcome
from andon.ledger.summary import Reading, Spread
from andon.observability.windows.service import Windows
from benchmarks.harness import QUICK, ROOT, conclude

TRACE = ROOT.parent / "shared" / "data" / "load" / "azure-llm-2023" / "AzureLLMInferenceTrace_conv.csv"
WINDOWS_S = (10, 60, 300, 3600)
SHARES = (50, 90, 95, 99)
STEP_NS = 10 * 10**9
SEED = 20231116
FIRST_MS, PROMPT_TOKEN_MS, OUTPUT_TOKEN_MS = 40.0, 0.25, 28.0
# OpenTelemetry GenAI semantic conventions, gen_ai.server.request.duration, in seconds.
OTEL_BOUNDS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)


class TraceClock:
    """The trace's own time."""

    def __init__(self) -> None:
        self.at_ns = 0

    def now_ns(self) -> int:
        """Where the replay stands."""
        return self.at_ns

    def monotonic(self) -> float:
        """The same in seconds."""
        return self.at_ns / 1e9

    async def sleep(self, seconds: float) -> None:
        """Nobody waits here."""


def rows_of(path: Path) -> list[Outcome]:
    """The trace as the ledger would have it, in the order of the ends."""
    draw = np.random.default_rng(SEED)
    rows = []
    with path.open() as file:
        for number, line in enumerate(csv.DictReader(file)):
            begun = datetime.strptime(line["TIMESTAMP"][:26], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
            tokens_in, tokens_out = int(line["ContextTokens"]), int(line["GeneratedTokens"])
            first_ms = (FIRST_MS + PROMPT_TOKEN_MS * tokens_in) * draw.lognormal(0, 0.35)
            rest_ms = OUTPUT_TOKEN_MS * max(0, tokens_out - 1) * draw.lognormal(0, 0.15)
            upstream_us = int((first_ms + rest_ms) * 1000)
            rows.append(
                Outcome(
                    id=f"{number:08d}",
                    at_ns=int(begun.timestamp() * 1e6) * 1000 + upstream_us * 1000,
                    status=200,
                    endpoint="chat",
                    release=f"chat@{1 + number % 2}",
                    arm="stable" if number % 2 == 0 else "canary",
                    stream=True,
                    duration_us=upstream_us + 180,
                    upstream_us=upstream_us,
                    first_byte_us=int(first_ms * 1000),
                    input_tokens=tokens_in,
                    output_tokens=tokens_out,
                )
            )
    return sorted(rows, key=lambda row: row.at_ns)


class Exact:
    """Every value of one measure in order of time."""

    def __init__(self, rows: Sequence[Outcome], values: Sequence[float | None]) -> None:
        known = [(row.at_ns, value) for row, value in zip(rows, values, strict=True) if value is not None]
        self.at_ns = [at for at, _ in known]
        self.values = np.array([value for _, value in known])

    def between(self, since_ns: int, until_ns: int) -> np.ndarray:
        """The span's values, sorted. Shape (n,)."""
        begin, end = bisect_left(self.at_ns, since_ns), bisect_right(self.at_ns, until_ns)
        return np.sort(self.values[begin:end])


def bucketed(ordered: np.ndarray, share: float) -> float:
    """What Prometheus' `histogram_quantile` makes of the standard buckets, microseconds."""
    bounds = [bound * 1e6 for bound in OTEL_BOUNDS_S]
    counts = np.searchsorted(ordered, bounds, side="right")
    rank = share * len(ordered)
    place = int(np.searchsorted(counts, rank))
    if place >= len(bounds):
        return bounds[-1]
    low, below = (bounds[place - 1], counts[place - 1]) if place else (0.0, 0)
    return float(low + (bounds[place] - low) * (rank - below) / max(1, counts[place] - below))


class Worst:
    """The worst relative error and how many were compared."""

    def __init__(self) -> None:
        self.error = 0.0
        self.compared = 0

    def take(self, found: float, exact: float) -> None:
        """One comparison."""
        self.compared += 1
        self.error = max(self.error, abs(found - exact) / exact)


def compare(
    reading: Reading, exact: dict[str, Exact], until_ns: int, worst: dict[tuple[str, int], Worst]
) -> None:
    """Every percentile of one reading; windows without rows have none on either side."""
    for measure, values in exact.items():
        ordered = values.between(reading.since_ns, until_ns)
        spread: Spread | None = getattr(reading, measure)
        if (spread.count if spread else 0) != len(ordered):
            raise RuntimeError(f"{measure}: {spread} counts other rows than the {len(ordered)} of the span")
        for share in SHARES if spread else ():
            truth = float(ordered[nearest_rank(share / 100, len(ordered)) - 1])
            worst[measure, share].take(1000 * getattr(spread, f"p{share}_ms"), truth)
            if measure == "duration":
                worst["otel buckets", share].take(bucketed(ordered, share / 100), truth)


def replay(rows: Sequence[Outcome]) -> dict[tuple[str, int], Worst]:
    """Feed the rows as they end and read every window at every step."""
    clock = TraceClock()
    clock.at_ns = rows[0].at_ns // STEP_NS * STEP_NS
    windows = Windows(clock)
    exact = {
        "duration": Exact(rows, [row.duration_us for row in rows]),
        "first_token": Exact(rows, [row.first_byte_us for row in rows]),
        "per_token": Exact(rows, [_per_token(row) for row in rows]),
    }
    worst = {(name, share): Worst() for name in (*exact, "otel buckets") for share in SHARES}
    fed = 0
    while fed < len(rows):
        clock.at_ns += STEP_NS
        batch = fed
        while fed < len(rows) and rows[fed].at_ns < clock.at_ns:
            fed += 1
        windows.take_rows([Entry(at + 1, rows[at]) for at in range(batch, fed)])
        for seconds in WINDOWS_S:
            compare(windows.window("chat", seconds=seconds), exact, clock.at_ns - 1, worst)
    return worst


def _per_token(row: Outcome) -> float | None:
    tokens = row.output_tokens or 0
    if tokens < 2 or row.upstream_us is None or row.first_byte_us is None:
        return None
    # Below a microsecond a token is none that anybody waits for; the windows count it as one.
    return max(1.0, (row.upstream_us - row.first_byte_us) / (tokens - 1))


def main() -> None:
    """The whole trace, or its first quarter of an hour; both releases are read together."""
    if not TRACE.exists():
        sys.exit(f"This proof replays {TRACE.name} of Azure's public dataset, expected at {TRACE}.")
    rows = rows_of(TRACE)
    rows = rows[: len(rows) // 4] if QUICK else rows
    worst = replay(rows)
    print(f"{len(rows):,} requests; worst relative error over every window", file=sys.stderr)
    print(
        f"{'':<14}" + "".join(f"{f'P{share}':>10}" for share in SHARES) + f"{'compared':>12}", file=sys.stderr
    )
    for name in dict.fromkeys(name for name, _ in worst):
        line = [worst[name, share] for share in SHARES]
        figures = "".join(f"{one.error:>10.2%}" for one in line)
        print(f"{name:<14}{figures}{sum(one.compared for one in line):>12,}", file=sys.stderr)
    conclude({"max_rel_error": max(one.error for (name, _), one in worst.items() if name != "otel buckets")})


if __name__ == "__main__":
    main()
