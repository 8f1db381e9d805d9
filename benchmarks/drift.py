"""`make prove NAME=drift`: drift of a wide table, false alarms on real stable data, anomalies on NAB, Evidently.

The wide table is compared from a Parquet file with a stored profile, in a process of its own whose peak memory is
measured; making profile and file is not timed. Evidently gets the same smaller files in an environment of its own;
its ratio is given against the stored profile, and in words against building the profile as well.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from andon.observability.quality.drift.budget import Budget
from andon.observability.quality.drift.columns import of_file, of_table
from andon.observability.quality.drift.comparison import compare_table
from andon.observability.quality.drift.performance import Errors, judge, predicted_errors, tally
from andon.observability.quality.drift.profile import build, decode, encode
from andon.observability.quality.streams import nab
from andon.observability.quality.streams.novelty import score_series
from benchmarks.drift_data import CENSUS, NAB, read_census, read_nab, write_wide
from benchmarks.harness import QUICK, ROOT, conclude, table
from benchmarks.peers import environment

ROWS, COLUMNS = (100_000, 500) if QUICK else (300_000, 1000)
PEER_ROWS, PEER_COLUMNS = (20_000, 20) if QUICK else (100_000, 60)
REFERENCE_ROWS = 20_000 if QUICK else 100_000
MOVED = 0.3
CHUNK = 5000  # rows, as in NannyML's own example on this set
EVIDENTLY = ("evidently==0.7.23", "pandas<3")


def compare_alone(profile: Path, current: Path) -> None:
    """The child: compare, print seconds, peak memory in MiB and what drifted."""
    reference = decode(profile.read_bytes())
    started = time.perf_counter()
    report = compare_table(reference, of_file(current))
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "rss_mb": peak_mb(), "drifted": sorted(report.drifted)}))


def peak_mb() -> float:
    """Peak resident memory of this program in MiB. Not `ru_maxrss`, which still holds the parent's from before exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this kernel does not tell the peak of resident memory")


def run_child(profile: Path, current: Path) -> dict[str, object]:
    """Figures of one comparison in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.drift", str(profile), str(current)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]  # it is what the child prints


def measure_wide(work: Path) -> tuple[float, float]:
    """(seconds, peak MiB) of the wide table."""
    reference, current, profile = (work / name for name in ("ref.parquet", "now.parquet", "wide.profile"))
    write_wide(reference, REFERENCE_ROWS, COLUMNS, seed=1)
    write_wide(current, ROWS, COLUMNS, seed=2, moved=MOVED)
    started = time.perf_counter()
    profile.write_bytes(encode(build(of_file(reference))))
    built = time.perf_counter() - started
    result = run_child(profile, current)
    expected = sorted(f"x{number}" for number in range(0, COLUMNS, 10))
    found = set(result["drifted"])  # type: ignore[call-overload]  # a list of names
    size_mb = profile.stat().st_size / 2**20
    print(
        f"{ROWS:,} x {COLUMNS} float32 against a profile of {REFERENCE_ROWS:,} rows ({size_mb:.1f} MiB on disk):"
    )
    print(
        f"  {len(found & set(expected))}/{len(expected)} moved columns found, {len(found - set(expected))} others;"
    )
    print(f"  profile built in {built:.1f} s")
    return float(result["seconds"]), float(result["rss_mb"])  # type: ignore[arg-type]  # numbers


def measure_evidently(work: Path) -> float | None:
    """How many times faster than Evidently; None where it cannot be installed."""
    reference, current, profile = (work / name for name in ("pr.parquet", "pn.parquet", "p.profile"))
    write_wide(reference, PEER_ROWS, PEER_COLUMNS, seed=3)
    write_wide(current, PEER_ROWS, PEER_COLUMNS, seed=4, moved=MOVED)
    try:
        python = environment("evidently", *EVIDENTLY) / "python"
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"speedup_vs_evidently is null: Evidently could not be installed ({error})")
        return None
    script = Path(__file__).resolve().parent / "served" / "evidently_drift.py"
    done = subprocess.run(
        [python, script, reference, current], check=True, capture_output=True, text=True, cwd=work
    )
    theirs = float(done.stdout.splitlines()[-1])
    started = time.perf_counter()
    profile.write_bytes(encode(build(of_file(reference))))
    built = time.perf_counter() - started
    ours = min(float(run_child(profile, current)["seconds"]) for _ in range(3))  # type: ignore[arg-type]  # a number
    print(
        f"{PEER_ROWS:,} + {PEER_ROWS:,} x {PEER_COLUMNS}: Evidently's default preset {theirs:.2f} s (reading not"
    )
    print(
        f"  counted), Andon PSI + JS + KS + W1 {ours:.3f} s (reading counted), profile built once in {built:.2f} s;"
    )
    print(
        f"  {theirs / ours:.0f}x against the stored profile, {theirs / (ours + built):.1f}x with building it"
    )
    return theirs / ours


def census_parts(rows: pa.Table, damage: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(predicted errors, wrong) of the rows; `damage` turns some predictions over."""
    score, predicted, truth = (
        rows.column(name).to_numpy() for name in ("predicted_probability", "prediction", "employed")
    )
    wrong = predicted != truth
    return predicted_errors(score, predicted), wrong if damage is None else wrong ^ damage


def replay_census() -> int | None:
    """Performance alarms on chunks of 2016 and 2017 against 2015; also how a real loss would be seen."""
    if not CENSUS.exists():
        print("census_false_alarms is null: ../shared/data is not here")
        return None
    reference, current = read_census()
    features = [
        name for name in reference.column_names if name not in ("id", "employed", "year", "prediction")
    ]
    errors, wrong = census_parts(reference)
    usual, alpha = tally(errors, wrong), Budget().alpha
    profile = build(of_table(reference.select(features)), errors=errors)
    alarms, tickets, pages, chunks, caught = 0, 0, 0, 0, 0
    chance = np.random.default_rng(5)
    for start in range(0, len(current) - CHUNK + 1, CHUNK):
        rows = current.slice(start, CHUNK)
        chunks += 1
        alarms += judge(usual, tally(*census_parts(rows)), alpha=alpha).verdict == "worse"
        report = compare_table(profile, of_table(rows.select(features)))
        tickets, pages = tickets + bool(report.drifted), pages + bool(report.paging)
        caught += _judge_damaged(usual, rows, chance, alpha)
    print(
        f"Census 2016-17 in {chunks} chunks of {CHUNK}: {alarms} performance alarms, {tickets} chunks with a drift"
    )
    print(
        f"  ticket, {pages} with an impact page; with 8 % of predictions turned over, {caught}/{chunks} chunks alarm"
    )
    return alarms + pages


def _judge_damaged(usual: Errors, rows: pa.Table, chance: np.random.Generator, alpha: float) -> bool:
    errors, wrong = census_parts(rows, chance.random(len(rows)) < 0.08)
    return judge(usual, tally(errors, wrong), alpha=alpha).verdict == "worse"


def score_nab() -> float | None:
    """The standing on the series that are here, one threshold for all; also with the threshold of other folders."""
    if not NAB.exists():
        print("nab_score is null: ../shared/data is not here")
        return None
    data = read_nab()
    corpus = [series for series, _ in data]
    started = time.perf_counter()
    scores = [score_series(values) for _, values in data]
    seconds = time.perf_counter() - started
    standing = nab.score_corpus(corpus, scores)
    folders = sorted({series.name.partition("/")[0] for series in corpus})
    rows, apart = [], 0.0
    for folder in folders:
        inside = [place for place, series in enumerate(corpus) if series.name.startswith(folder)]
        outside = [place for place in range(len(corpus)) if place not in inside]
        verdicts = [standing.by_series[corpus[place].name] for place in inside]
        caught, windows = sum(one.caught for one in verdicts), sum(one.windows for one in verdicts)
        rows.append((folder, len(inside), f"{caught}/{windows}", sum(one.false_alarms for one in verdicts)))
        elsewhere, _ = nab.sweep([corpus[place] for place in outside], [scores[place] for place in outside])
        apart += sum(nab.judge(corpus[place], scores[place], elsewhere).score for place in inside)
    table(("folder", "series", "windows caught", "false alarms"), rows)
    count = sum(len(series.windows) for series in corpus)
    print(
        f"NAB standard score {standing.score:.2f} on {len(corpus)} of 58 series at {standing.threshold:.3f};"
    )
    print(
        f"  {100 * (apart + count) / (2 * count):.2f} when each folder is judged at the threshold of the others;"
    )
    print(f"  {seconds / sum(series.rows for series in corpus) * 1e6:.0f} µs a row")
    return standing.score


def main() -> None:
    """All of it, then the figures."""
    with tempfile.TemporaryDirectory(prefix="andon-drift-") as name:
        work = Path(name)
        seconds, rss = measure_wide(work)
        speedup = measure_evidently(work)
    if QUICK:
        print(f"QUICK: seconds_300k_x_1000 and rss_mb are of {ROWS:,} x {COLUMNS}")
    conclude(
        {
            "seconds_300k_x_1000": seconds,
            "rss_mb": rss,
            "census_false_alarms": replay_census(),
            "nab_score": score_nab(),
            "speedup_vs_evidently": speedup,
        }
    )


if __name__ == "__main__":
    if len(sys.argv) > 2:
        compare_alone(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        main()
