"""Evidently on two Parquet files: prints the seconds of its default data-drift preset, reading not counted.

Run by its own interpreter, never by ours: `python evidently_drift.py REFERENCE CURRENT`.
"""

from __future__ import annotations

import sys
import time
import warnings

warnings.filterwarnings("ignore")

import pandas as pd  # noqa: E402  # warnings first
from evidently import Report  # noqa: E402
from evidently.presets import DataDriftPreset  # noqa: E402

reference, current = (pd.read_parquet(path) for path in sys.argv[1:3])
Report([DataDriftPreset()]).run(
    current.head(500), reference.head(500)
).dict()  # what it loads late is not counted
started = time.perf_counter()
snapshot = Report([DataDriftPreset()]).run(current, reference)
snapshot.dict()
print(time.perf_counter() - started)
