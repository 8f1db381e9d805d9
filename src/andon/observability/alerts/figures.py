"""What a rule compares: one figure of a reading, and whether it is beyond the threshold. Pure.

The same names serve the live windows and the back-test, so a rule means the same on both.
"""

from __future__ import annotations

from andon.ledger.summary import Reading
from andon.observability.alerts.model import MEASURES, METRICS

_MS = 1000.0


def figure_of(reading: Reading, metric: str) -> float | None:
    """The value of a metric of `model.METRICS`; None where nothing had it. Raises ValueError for another name."""
    if metric not in METRICS:
        raise ValueError(f"there is no metric '{metric}'")
    if "." in metric:
        measure, quantile = metric.split(".")
        spread = getattr(reading, MEASURES[measure])
        return None if spread is None else float(getattr(spread, f"{quantile}_ms"))
    plain = {
        "requests": reading.requests,
        "requestsPerS": reading.requests_per_s,
        "errors": reading.errors,
        "tokensPerS": reading.tokens_per_s,
        "costMicros": reading.cost_micros,
    }
    if metric in plain:
        return float(plain[metric])
    bad, total = {
        "errorRate": (reading.errors, reading.requests),
        "attemptErrorRate": (reading.attempt_errors, reading.attempts),
        "refusedRate": (reading.refused, reading.requests),
        "cancelledRate": (reading.cancelled, reading.requests),
    }[metric]
    return bad / total if total else None


def is_beyond(value: float, above: float | None, below: float | None) -> bool:
    """Whether a rule with these thresholds is true of a value."""
    return value > above if above is not None else below is not None and value < below


def why_of(metric: str, value: float, above: float | None, below: float | None, over: str) -> str:
    """One line for people."""
    side = f"above {above:g}" if above is not None else f"below {below:g}"
    return f"{metric} is {value:.4g}, {side}{f', over {over}' if over else ''}"
