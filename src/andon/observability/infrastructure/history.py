"""The last 24 hours of a few figures, one point a minute, in memory. Pure; never in the ledger.

For a look at what led here without a metrics store; who wants more scrapes the metrics.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import msgspec

from andon.observability.infrastructure.model import Host, Moment

STEP_NS = 60 * 10**9
POINTS_MAX = 24 * 60
SERIES_MAX = 256


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One figure over time; both lists are as long. A gap is where nothing was measured."""

    name: str
    at_ns: tuple[int, ...]
    values: tuple[float, ...]


class History:
    """A ring of points by name."""

    def __init__(self) -> None:
        self._points: deque[tuple[int, dict[str, float]]] = deque(maxlen=POINTS_MAX)
        self._before: Moment | None = None

    def take(self, moment: Moment) -> None:
        """Keep a moment, if the last one kept is a minute old."""
        before = self._before
        if before is None:
            self._before = moment
        elif moment.at_ns - before.at_ns >= STEP_NS:
            self._points.append((moment.at_ns, figures(before, moment)))
            self._before = moment

    def series(self, since_ns: int = 0) -> tuple[Series, ...]:
        """All figures since then, by name."""
        found: dict[str, tuple[list[int], list[float]]] = {}
        for at_ns, values in self._points:
            if at_ns < since_ns:
                continue
            for name, value in values.items():
                if name in found or len(found) < SERIES_MAX:
                    times, held = found.setdefault(name, ([], []))
                    times.append(at_ns)
                    held.append(value)
        return tuple(
            Series(name=name, at_ns=tuple(times), values=tuple(values))
            for name, (times, values) in sorted(found.items())
        )


def figures(before: Moment, now: Moment) -> dict[str, float]:
    """What is worth a line on a picture, from two moments."""
    seconds = max(1e-9, (now.at_ns - before.at_ns) / 1e9)
    host = now.host
    values: dict[str, float | None] = {
        "cpu_busy_ratio": busy_ratio(before.host, host),
        "memory_used_ratio": 1 - host.memory_available_bytes / max(1, host.memory_total_bytes),
        "load_1m": host.load[0],
        "ledger_lag_s": now.gateway.ledger_lag_s,
        "rows_behind_s": now.rows_behind_s,
        "in_flight": now.gateway.in_flight,
    }
    for direction, at in (("receive", 0), ("transmit", 1)):
        total = sum(one.bytes[at] for one in host.networks) - sum(
            one.bytes[at] for one in before.host.networks
        )
        values[f"network_{direction}_bytes_per_s"] = max(0.0, total / seconds)
    for direction, at in (("read", 0), ("write", 1)):
        total = sum(one.bytes[at] for one in host.disks) - sum(one.bytes[at] for one in before.host.disks)
        values[f"disk_{direction}_bytes_per_s"] = max(0.0, total / seconds)
    for system in host.file_systems:
        values[f"file_system_used_ratio{{{system.mount}}}"] = system.used_ratio
    for log in now.logs:
        values[f"log_bytes{{{log.log}}}"] = float(log.bytes)
    for device in now.devices.readings:
        values[f"gpu_utilisation_ratio{{{device.index}}}"] = device.utilisation
        values[f"gpu_power_watts{{{device.index}}}"] = device.power_watts
        values[f"gpu_memory_used_bytes{{{device.index}}}"] = device.memory_used_bytes
    return {name: float(value) for name, value in values.items() if value is not None}


def busy_ratio(before: Host, now: Host) -> float | None:
    """Share of all processors that worked between two looks. `guest` modes are part of `user` and not counted twice."""
    spent = {mode: max(0.0, value - before.cpu_s.get(mode, 0.0)) for mode, value in now.cpu_s.items()}
    total = _all_but(spent, ("guest", "guest_nice"))
    return _all_but(spent, ("guest", "guest_nice", "idle", "iowait")) / total if total > 0 else None


def _all_but(spent: Mapping[str, float], left_out: tuple[str, ...]) -> float:
    return sum(value for mode, value in spent.items() if mode not in left_out)
