"""Watches a stream of errors for a rate above its usual one, with a stated time between false alarms.

The e-detector of Shin, Ramdas & Rinaldo (arXiv 2203.03532) of Shiryaev-Roberts kind: for each error rate worth
telling apart, M ← (M + 1)·(likelihood ratio), averaged over those rates, alarm at M ≥ T. While the rate is at most the
usual one, the expected number of observations before an alarm is at least T, whatever the stream's length: no
simulation, no approximation. `T` is the expected run time that people choose.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec
from scipy import stats

ALTERNATIVES = (1.25, 1.5, 2.0, 4.0)  # rates worth telling apart, as multiples of the usual odds
_LOG_MAX = 700.0  # e^700 is still a float; an alarm came long before


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is usual, and how seldom a false alarm may come."""

    usual_rate: float  # in (0, 1): an upper bound of the error rate in good times
    expected_run: float = 100_000.0  # observations before a false alarm, on average at least


def usual_rate(errors: int, count: int, confidence: float = 0.95) -> float:
    """An upper confidence bound of the error rate of a reference (Clopper & Pearson 1934), to be used as usual."""
    if count <= 0 or errors >= count:
        return 1.0 - 1e-9
    return float(stats.beta.ppf(confidence, errors + 1, count - errors))


class RunLengthDetector:
    """One stream. Constant time and memory; errors may be 0 or 1, or anything between (Hoeffding's embedding)."""

    def __init__(self, settings: RunSettings) -> None:
        rate = min(max(settings.usual_rate, 1e-9), 1.0 - 1e-9)
        odds = rate / (1.0 - rate)
        shifted = [odds * times / (1.0 + odds * times) for times in ALTERNATIVES]
        self._rate = rate
        self._gains = [(other / rate, (1.0 - other) / (1.0 - rate)) for other in shifted]
        self._level = math.log(settings.expected_run)
        self._logs = [-math.inf] * len(ALTERNATIVES)
        self.count = 0

    def take(self, error: float) -> bool:
        """One observation in [0, 1]; whether the rate is now above the usual one. After an alarm it begins anew."""
        error = min(max(error, 0.0), 1.0)
        self.count += 1
        for number, (gain, loss) in enumerate(self._gains):
            # The likelihood ratio is linear in the error: its mean is at most 1 wherever the rate is at most usual.
            ratio = error * gain + (1.0 - error) * loss
            self._logs[number] = min(_log_one_more(self._logs[number]) + math.log(ratio), _LOG_MAX)
        if self.evidence < self._level:
            return False
        self._logs = [-math.inf] * len(ALTERNATIVES)
        return True

    @property
    def evidence(self) -> float:
        """The logarithm of the e-detector; an alarm is at log(expected_run)."""
        top = max(self._logs)
        if top == -math.inf:
            return top
        return top + math.log(sum(math.exp(one - top) for one in self._logs) / len(self._logs))


def _log_one_more(log: float) -> float:
    """log(1 + e^log)."""
    return max(log, 0.0) + math.log1p(math.exp(-abs(log))) if log > -math.inf else 0.0


def alarms(errors: Iterable[float], settings: RunSettings) -> list[int]:
    """Places at which the detector alarmed, beginning anew after each."""
    detector = RunLengthDetector(settings)
    return [place for place, error in enumerate(errors) if detector.take(error)]
