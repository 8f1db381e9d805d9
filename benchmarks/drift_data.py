"""Data of the drift proof: series and labels of NAB, the Census replay, and a wide table made from a seed.

Real data lie beside the repository (`../shared/data`); without them what needs them is skipped with a word.
"""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from andon.observability.quality.streams.nab import Labelled
from benchmarks.harness import ROOT

DATA = ROOT.parent / "shared" / "data"
NAB = DATA / "incidents" / "nab"
CENSUS = DATA / "drift" / "acs_ma_employment"


def read_nab() -> list[tuple[Labelled, np.ndarray]]:
    """Every series that is here, artificial ones too: its labelled windows and values, (rows,)."""
    windows = json.loads((NAB / "combined_windows.json").read_text())
    found = []
    for name in sorted(windows):
        path = NAB / f"{name}.gz"
        if not path.exists():
            continue
        with gzip.open(path, "rt") as file:
            rows = list(csv.reader(file))[1:]
        places: dict[str, int] = {}
        for place, row in enumerate(rows):
            places.setdefault(row[0], place)
        marked = tuple((places[first[:19]], places[last[:19]]) for first, last in windows[name])
        series = Labelled(name=name, rows=len(rows), windows=marked)
        found.append((series, np.array([float(row[1]) for row in rows])))
    return found


def read_census() -> tuple[pa.Table, pa.Table]:
    """(2015, 2016 and 2017 in order), with scores and labels of a real model."""
    return tuple(  # type: ignore[return-value]  # it is a pair
        pyarrow.csv.read_csv(CENSUS / name) for name in ("reference_2015.csv.gz", "analysis_2016_2017.csv.gz")
    )


def wide_column(number: int, rows: int, seed: int, moved: float) -> np.ndarray:
    """One column as monitored tables have them, float32: normal, skewed, counts or few values; 1 in 10 moves."""
    chance = np.random.default_rng((seed, number))
    shift = moved if number % 10 == 0 else 0.0
    kind = number % 4
    if kind == 0:
        values = chance.normal(shift, 1, rows)
    elif kind == 1:
        values = chance.lognormal(shift, 0.8, rows)
    elif kind == 2:
        values = chance.poisson(4 * (1 + shift), rows)
    else:
        values = chance.integers(0, 12, rows) + shift * 2
    return values.astype(np.float32)


def write_wide(path: Path, rows: int, columns: int, seed: int, moved: float = 0.0) -> None:
    """A Parquet file (rows, columns) of float32, one row group."""
    names = [f"x{number}" for number in range(columns)]
    table = pa.table(
        [pa.array(wide_column(number, rows, seed, moved)) for number in range(columns)], names=names
    )
    pq.write_table(
        table, path, compression="none", use_dictionary=False, row_group_size=rows, write_statistics=False
    )
