"""What the gateway counts about itself, and its Prometheus text. Label sets are closed: they come from the snapshot.

Written by every part of the room, read by `gateway/admin`. Counting is adding to integers; nothing here waits.
Source of the format: Prometheus text exposition 0.0.4.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from andon.gateway.meanings import MEANINGS

OTHER: Final = "other"  # stands for every name that no snapshot knows
_NONE: Final[Mapping[str, float]] = MappingProxyType({})
SERIES_MAX: Final = 10_000  # of one family; beyond, new label sets are counted as `other`
ADDED_BOUNDS_S: Final[tuple[float, ...]] = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    1.0,
)


class Histogram:
    """Counts below fixed bounds, in seconds."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(ADDED_BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(ADDED_BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


class Meters:
    """Every counter of one gateway process. Only ever grow, except `in_flight`."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.requests: dict[tuple[str, str, int], int] = {}  # endpoint, release, status class
        self.refused: dict[str, int] = {}  # by code
        self.events: dict[str, int] = {}  # retries, shadows, sheds, bugs and the like, by name
        self.verdicts: dict[tuple[str, str, str, str], int] = {}  # guard, place, mode, action
        self.guard_us: dict[str, int] = {}  # spent, by guard
        self.added = Histogram()

    def answered(self, endpoint: str, release: str, status: int) -> None:
        """One exchange has ended."""
        key = (endpoint, release, status // 100)
        requests = self.requests
        if key in requests:
            requests[key] += 1
        elif len(requests) < SERIES_MAX:
            requests[key] = 1
        else:
            other = (OTHER, OTHER, status // 100)
            requests[other] = requests.get(other, 0) + 1

    def judged(self, guard: str, place: str, mode: str, action: str, spent_us: int) -> None:
        """A guard has said its word on one exchange; guards come from the snapshot."""
        key = (guard, place, mode, action)
        if key not in self.verdicts and len(self.verdicts) >= SERIES_MAX:
            key, guard = (OTHER, place, mode, action), OTHER
        self.verdicts[key] = self.verdicts.get(key, 0) + 1
        self.guard_us[guard] = self.guard_us.get(guard, 0) + spent_us

    def refuse(self, code: str) -> None:
        """One request was refused; codes are a closed set of this product."""
        self.refused[code] = self.refused.get(code, 0) + 1

    def count(self, event: str) -> None:
        """Something happened that an operator may ask about; names are constants of this room."""
        self.events[event] = self.events.get(event, 0) + 1

    def exposition(self, gauges: Mapping[str, float], counters: Mapping[str, float] = _NONE) -> str:
        """All counters, and by their full names those of others and `gauges`, as Prometheus text."""
        return "\n".join([*self._lines(gauges, counters), ""])

    def _lines(self, gauges: Mapping[str, float], counters: Mapping[str, float]) -> Iterator[str]:
        yield "# HELP andon_requests_in_flight Exchanges under way."
        yield "# TYPE andon_requests_in_flight gauge"
        yield f"andon_requests_in_flight {self.in_flight}"
        yield "# HELP andon_requests_total Exchanges ended, by status class."
        yield "# TYPE andon_requests_total counter"
        for (endpoint, release, status), count in sorted(self.requests.items()):
            labels = f'endpoint="{_escape(endpoint)}",release="{_escape(release)}",status="{status}xx"'
            yield f"andon_requests_total{{{labels}}} {count}"
        yield "# HELP andon_refused_total Requests refused before dispatch, by reason."
        yield "# TYPE andon_refused_total counter"
        for code, count in sorted(self.refused.items()):
            yield f'andon_refused_total{{reason="{_escape(code)}"}} {count}'
        yield "# HELP andon_gateway_events_total Things an operator may ask about."
        yield "# TYPE andon_gateway_events_total counter"
        for event, count in sorted(self.events.items()):
            yield f'andon_gateway_events_total{{event="{_escape(event)}"}} {count}'
        yield from self._guards()
        yield from self._histogram()
        for name, value in gauges.items():
            yield f"# HELP {name} {MEANINGS.get(name, name)}"
            yield f"# TYPE {name} gauge"
            yield f"{name} {value:.6g}"
        for name, value in counters.items():
            yield f"# HELP {name} {MEANINGS.get(name, name)}"
            yield f"# TYPE {name} counter"
            yield f"{name} {value:.15g}"

    def _guards(self) -> Iterator[str]:
        if not self.verdicts:
            return
        yield "# HELP andon_guard_verdicts_total Words of guards on exchanges, by place, mode and action."
        yield "# TYPE andon_guard_verdicts_total counter"
        for (guard, place, mode, action), count in sorted(self.verdicts.items()):
            labels = f'guard="{_escape(guard)}",place="{place}",mode="{mode}",action="{action}"'
            yield f"andon_guard_verdicts_total{{{labels}}} {count}"
        yield "# HELP andon_guard_seconds_total Time that guards took."
        yield "# TYPE andon_guard_seconds_total counter"
        for guard, spent in sorted(self.guard_us.items()):
            yield f'andon_guard_seconds_total{{guard="{_escape(guard)}"}} {spent / 1e6:.6f}'

    def _histogram(self) -> Iterator[str]:
        name = "andon_added_latency_seconds"
        yield f"# HELP {name} Time that the gateway itself added to an exchange."
        yield f"# TYPE {name} histogram"
        total = 0
        for bound, count in zip((*ADDED_BOUNDS_S, "+Inf"), self.added.counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self.added.sum_s:.6f}"
        yield f"{name}_count {total}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
