"""Drift of files, without a factory: what `andon drift compare` and `andon drift baseline --from` run.

Columns are read as they are needed, so a wide Parquet file is never held whole; only the score is read first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from andon.kernel.errors import Refused
from andon.observability.quality.drift.budget import Budget
from andon.observability.quality.drift.columns import of_file
from andon.observability.quality.drift.comparison import compare_table
from andon.observability.quality.drift.performance import predicted_errors
from andon.observability.quality.drift.profile import Profile, build, decode, encode
from andon.observability.quality.drift.report import PROFILE_TYPE
from andon.observability.quality.drift.sketch import numbers

PROFILE_SUFFIX = ".profile"
MEDIA_TYPE = PROFILE_TYPE  # of what `profile_bytes` gives
MONTH_S = 30 * 86_400.0


def make_profile(path: Path, score: str = "") -> Profile:
    """The profile of a file; with a column of probabilities, drift can be ranked by its impact."""
    if path.suffix == PROFILE_SUFFIX:
        return decode(_bytes(path))
    return build(of_file(path), errors=_errors(path, score) if score else None, origin=path.name)


def profile_bytes(path: Path, score: str = "") -> bytes:
    """The profile of a file, as it lies on disk."""
    return encode(make_profile(path, score))


def compare_files(
    reference: Path, current: Path, *, score: str = "", false_alarms: float = 0.01
) -> dict[str, Any]:
    """The report on a file against another, or against a .profile, as the API would give it.

    `false_alarms` is the chance of any false alarm in this one comparison.
    """
    profile = make_profile(reference, score)
    budget = Budget(alarms_per_month=false_alarms, chunk_s=MONTH_S)
    report: dict[str, Any] = msgspec.to_builtins(compare_table(profile, of_file(current), budget))
    return report


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(
            "file_unreadable", f"{path} cannot be read: {error.strerror}.", hint="Check the path."
        ) from error


def _errors(path: Path, score: str) -> np.ndarray:
    for _, values in of_file(path, only=[score]):
        known, which = numbers(values)
        if len(known) and known.min() >= 0.0 and known.max() <= 1.0:
            errors = np.full(len(values), np.nan)
            errors[slice(None) if which is None else which] = predicted_errors(known)
            return errors
        raise Refused(
            "score_invalid",
            f"Column '{score}' does not hold probabilities.",
            hint="Name a column within [0, 1].",
        )
    raise Refused("score_invalid", f"{path} has no column '{score}'.", hint="Name a column of the reference.")
