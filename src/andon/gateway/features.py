"""How long each feature took to compute, as clients and upstreams tell it. Pure; never raises over what it reads.

An upstream says `Server-Timing: feature;desc="age";dur=1.2, feature.income;dur=0.3` (milliseconds, W3C Server Timing);
a client that computes features itself says `x-andon-features: age=1200,income=340` (microseconds).
"""

from __future__ import annotations

import re
from typing import Final

FEATURES_MAX: Final = 64  # of one request; the rest is added up under OTHER
OTHER: Final = "other"
NAME_MAX: Final = 64
_DURATION_MAX_US: Final = 3_600_000_000  # an hour: more is no time that a request can have taken
_VALUE_BYTES_MAX: Final = 16_384
_METRIC: Final = "feature"
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")
_NUMBER: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?")
# Pieces of a header: a quoted string, or anything up to the next separator.
_PIECE: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[,;]|[^",;]+|"')

Features = dict[str, int]


def add(known: Features | None, more: Features) -> Features | None:
    """Both together, bounded; None where there is nothing."""
    if not known:
        return more or None
    total = dict(known)
    for name, duration_us in more.items():
        _put(total, name, duration_us)
    return total


def read_declared(value: bytes) -> tuple[Features | None, int]:
    """The features of `x-andon-features` and how many entries could not be read."""
    found: Features = {}
    unread = 0
    if len(value) > _VALUE_BYTES_MAX:
        return None, 1
    for entry in value.decode("latin-1").split(","):
        name, equals, text = entry.strip().partition("=")
        duration_us = _micros(text.strip(), 1)
        if not name or not equals or duration_us is None:
            unread += 1
        else:
            _put(found, name.strip(), duration_us)
    return found or None, unread


def read_timing(value: bytes) -> Features:
    """The features among the metrics of a `Server-Timing` header; other metrics and what is malformed are left out."""
    found: Features = {}
    if len(value) > _VALUE_BYTES_MAX:
        return found
    for metric in _split(value.decode("latin-1")):
        name = metric[0].strip()
        parameters: dict[str, str] = {}
        for part in metric[1:]:
            key, _, text = part.partition("=")
            # Of a parameter given twice the first counts (W3C Server Timing, 4.2).
            parameters.setdefault(key.strip().lower(), _unquoted(text.strip()))
        if name.startswith(_METRIC + "."):
            name = name[len(_METRIC) + 1 :]
        elif name == _METRIC:
            name = parameters.get("desc", "")
        else:
            continue
        duration_us = _micros(parameters.get("dur", ""), 1000)
        if duration_us is not None:
            _put(found, name, duration_us)
    return found


def _put(found: Features, name: str, duration_us: int) -> None:
    if name not in found and (
        len(found) >= FEATURES_MAX - 1 or len(name) > NAME_MAX or _NAME.fullmatch(name) is None
    ):
        name = OTHER
    found[name] = found.get(name, 0) + duration_us


def _micros(text: str, factor: int) -> int | None:
    if _NUMBER.fullmatch(text) is None:
        return None
    duration_us = round(float(text) * factor)
    return duration_us if duration_us <= _DURATION_MAX_US else None


def _split(text: str) -> list[list[str]]:
    """Metrics, each its name and parameters, with quoted strings left whole."""
    metrics: list[list[str]] = [[""]]
    for match in _PIECE.finditer(text):
        piece = match[0]
        if piece == ",":
            metrics.append([""])
        elif piece == ";":
            metrics[-1].append("")
        else:
            metrics[-1][-1] += piece
    return metrics


def _unquoted(text: str) -> str:
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    return re.sub(r"\\(.)", r"\1", text[1:-1])
