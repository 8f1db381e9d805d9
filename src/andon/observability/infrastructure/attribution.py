"""Whose work a device did: its busy seconds and joules divided by what each endpoint had in flight on it. Pure.

For each interval between two samples of a device, an endpoint's share is the device's busy seconds times the endpoint's
in-flight seconds on replicas that use the device, over all in-flight seconds on it. What ran while nothing was in
flight stays unattributed. The shares and the unattributed rest add up to the device, always. Counters per workload from
the driver cannot do this: processes that share a device all show the whole of it (dcgm-exporter #642).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from andon.kernel.devices import DeviceReading

SECOND = 10**9
KEPT_NS = 24 * 3600 * SECOND
SETTLE_NS = 60 * SECOND  # after which an interval is counted; what comes later is told as late
INTERVALS_MAX = 20_000
PENDING_MAX = 50_000  # rows that end after the newest sample
UNATTRIBUTED = ""  # the endpoint of what nobody can be named for


class Work(msgspec.Struct, frozen=True):
    """One exchange on one replica."""

    endpoint: str
    target: str
    since_ns: int
    until_ns: int
    tokens: int = 0


class EndpointShare(msgspec.Struct, frozen=True, kw_only=True):
    """What one endpoint had of all devices."""

    endpoint: str  # empty for what is unattributed
    gpu_s: float
    joules: float
    tokens: int
    tokens_per_gpu_s: float | None
    joules_per_token: float | None


class DeviceShare(msgspec.Struct, frozen=True, kw_only=True):
    """How one device was used. `gpu_s` by endpoint adds up to `busy_s`; the empty name is what is unattributed."""

    device: str  # uuid
    index: int
    busy_s: float
    joules: float
    gpu_s: dict[str, float]
    joules_by: dict[str, float]


@dataclass
class _Use:
    """One device in one interval."""

    index: int
    busy_s: float
    joules: float
    in_flight_ns: dict[str, int] = field(default_factory=dict)  # by endpoint

    def shares(self) -> tuple[dict[str, float], dict[str, float]]:
        return split(self.busy_s, self.in_flight_ns), split(self.joules, self.in_flight_ns)


@dataclass
class _Interval:
    since_ns: int
    until_ns: int
    uses: dict[str, _Use]
    devices_of: Mapping[str, Sequence[str]]  # by target, as it was then
    tokens: dict[str, int] = field(default_factory=dict)

    def add(self, work: Work) -> bool:
        """Count the part of it that lies here; whether there was one on a device."""
        overlap = min(self.until_ns, work.until_ns) - max(self.since_ns, work.since_ns)
        used = [uuid for uuid in self.devices_of.get(work.target, ()) if uuid in self.uses]
        if overlap <= 0 or not used:
            return False
        for uuid in used:
            held = self.uses[uuid].in_flight_ns
            held[work.endpoint] = held.get(work.endpoint, 0) + overlap
        if self.since_ns < work.until_ns <= self.until_ns and work.tokens:
            self.tokens[work.endpoint] = self.tokens.get(work.endpoint, 0) + work.tokens
        return True


def split(amount: float, weights: Mapping[str, int]) -> dict[str, float]:
    """`amount` in proportion to the weights; all of it under UNATTRIBUTED where they are nothing."""
    total = sum(weights.values())
    if total <= 0:
        return {UNATTRIBUTED: amount}
    return {name: amount * (weight / total) for name, weight in weights.items() if weight > 0}


class Attribution:
    """The last 24 hours in intervals, and counters of everything that is settled."""

    def __init__(self) -> None:
        self._intervals: deque[_Interval] = deque(maxlen=INTERVALS_MAX)
        self._pending: deque[Work] = deque(maxlen=PENDING_MAX)
        self._last: tuple[int, dict[str, DeviceReading]] | None = None
        self._settled_to = 0
        self.settled_s: dict[tuple[str, str], float] = {}  # by endpoint and device
        self.settled_joules: dict[tuple[str, str], float] = {}
        self.late_s = 0.0  # of exchanges that were told of after their interval was counted

    def sample(
        self, at_ns: int, readings: Sequence[DeviceReading], devices_of: Mapping[str, Sequence[str]]
    ) -> None:
        """The devices now, and which of them each target uses: closes an interval."""
        now = {reading.uuid: reading for reading in readings}
        if self._last is not None and at_ns > self._last[0] and now:
            since, before = self._last
            uses = {
                uuid: _use(before[uuid], reading, (at_ns - since) / SECOND)
                for uuid, reading in now.items()
                if uuid in before
            }
            interval = _Interval(since, at_ns, uses, devices_of)
            self._intervals.append(interval)
            for work in self._pending:
                interval.add(work)
            waiting = [work for work in self._pending if work.until_ns > at_ns]
            self._pending = deque(waiting, maxlen=PENDING_MAX)
        self._last = (at_ns, now)
        self._settle(at_ns - SETTLE_NS)
        while self._intervals and self._intervals[0].until_ns < at_ns - KEPT_NS:
            self._intervals.popleft()

    def add(self, works: Iterable[Work]) -> None:
        """Exchanges that have ended. Nothing is kept where there are no devices."""
        if self._last is None or not self._last[1]:
            return
        newest = self._last[0]
        ends = [interval.until_ns for interval in self._intervals]
        for work in works:
            for place in range(bisect_right(ends, work.since_ns), len(ends)):
                interval = self._intervals[place]
                if interval.since_ns >= work.until_ns:
                    break
                if interval.add(work) and interval.until_ns <= self._settled_to:
                    self.late_s += (
                        min(interval.until_ns, work.until_ns) - max(interval.since_ns, work.since_ns)
                    ) / SECOND
            if work.until_ns > newest:
                self._pending.append(work)

    def devices(self, since_ns: int = 0) -> list[DeviceShare]:
        """Each device over the intervals that began at `since_ns` or later, by index."""
        found: dict[str, DeviceShare] = {}
        for interval in self._intervals:
            if interval.since_ns < since_ns:
                continue
            for uuid, use in interval.uses.items():
                seconds, joules = use.shares()
                held = found.get(uuid)
                gpu_s = held.gpu_s if held else {}
                joules_by = held.joules_by if held else {}
                _add(gpu_s, seconds)
                _add(joules_by, joules)
                found[uuid] = DeviceShare(
                    device=uuid,
                    index=use.index,
                    busy_s=(held.busy_s if held else 0.0) + use.busy_s,
                    joules=(held.joules if held else 0.0) + use.joules,
                    gpu_s=gpu_s,
                    joules_by=joules_by,
                )
        return sorted(found.values(), key=lambda one: one.index)

    def endpoints(self, since_ns: int = 0) -> list[EndpointShare]:
        """Each endpoint over all devices, the busiest first; what is unattributed last."""
        seconds: dict[str, float] = {}
        joules: dict[str, float] = {}
        tokens: dict[str, int] = {}
        for device in self.devices(since_ns):
            _add(seconds, device.gpu_s)
            _add(joules, device.joules_by)
        for interval in self._intervals:
            if interval.since_ns >= since_ns:
                for name, count in interval.tokens.items():
                    tokens[name] = tokens.get(name, 0) + count
        shares = [
            _endpoint(name, seconds[name], joules.get(name, 0.0), tokens.get(name, 0)) for name in seconds
        ]
        return sorted(shares, key=lambda one: (one.endpoint == UNATTRIBUTED, -one.gpu_s, one.endpoint))

    def _settle(self, until_ns: int) -> None:
        for interval in self._intervals:
            if not self._settled_to < interval.until_ns <= until_ns:
                continue
            for uuid, use in interval.uses.items():
                for held, amounts in zip((self.settled_s, self.settled_joules), use.shares(), strict=True):
                    for name, amount in amounts.items():
                        held[name, uuid] = held.get((name, uuid), 0.0) + amount
        self._settled_to = max(self._settled_to, until_ns)


def _use(before: DeviceReading, now: DeviceReading, seconds: float) -> _Use:
    """Busy seconds by the mean of both samples; energy by the counter, else by the mean power."""
    busy = _mean(before.utilisation, now.utilisation) * seconds
    if before.energy_joules is not None and now.energy_joules is not None:
        joules = max(0.0, now.energy_joules - before.energy_joules)  # it begins anew with the driver
    else:
        joules = _mean(before.power_watts, now.power_watts) * seconds
    return _Use(now.index, busy, joules)


def _mean(one: float | None, other: float | None) -> float:
    known = [value for value in (one, other) if value is not None]
    return sum(known) / len(known) if known else 0.0


def _add(held: dict[str, float], amounts: Mapping[str, float]) -> None:
    for name, amount in amounts.items():
        held[name] = held.get(name, 0.0) + amount


def _endpoint(name: str, seconds: float, joules: float, tokens: int) -> EndpointShare:
    return EndpointShare(
        endpoint=name,
        gpu_s=seconds,
        joules=joules,
        tokens=tokens,
        tokens_per_gpu_s=tokens / seconds if tokens and seconds > 0 else None,
        joules_per_token=joules / tokens if tokens else None,
    )
