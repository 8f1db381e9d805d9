"""Quantities as people write them in factory files: durations, sizes and shares.

Pure parsing; raises `ValueError` with the accepted forms, which the factory file reader turns into a located error.
"""

from __future__ import annotations

import re

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(|k|M|G|T|Ki|Mi|Gi|Ti)B?")
_BYTES = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


def duration_s(text: str) -> float:
    """Seconds of `30s`, `5m`, `1h30m`, `250ms`; raises ValueError on anything else."""
    position, total = 0, 0.0
    while position < len(text):
        match = _DURATION.match(text, position)
        if match is None:
            break
        total += float(match[1]) * _SECONDS[match[2]]
        position = match.end()
    if position == 0 or position != len(text):
        raise ValueError(f"'{text}' is not a duration; write 250ms, 30s, 5m, 1h30m or 2d")
    return total


def size_bytes(text: str) -> int:
    """Bytes of `512Mi`, `2G`, `1048576`; raises ValueError on anything else."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not a size; write 512Mi, 2Gi, 500M or a number of bytes")
    return int(float(match[1]) * _BYTES[match[2]])
