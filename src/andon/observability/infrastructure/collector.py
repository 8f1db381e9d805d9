"""Looks at everything every few seconds and remembers: the latest moment, a day of figures, whose work the GPUs did.

The host and the devices are asked through `measure`, which blocks and is handed to a runner; everything else is memory.
A look that fails is told once and tried again: what cannot be measured must not stop what can be seen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from andon.kernel.clock import Clock
from andon.kernel.ports import Runner
from andon.ledger.facts.model import Fact
from andon.ledger.reader import Entry
from andon.ledger.row import Outcome
from andon.ledger.summary import SHADOW
from andon.observability.families import Family
from andon.observability.infrastructure.attribution import Attribution, Work
from andon.observability.infrastructure.figures import families_of, family
from andon.observability.infrastructure.gpu_figures import attribution_families, device_families
from andon.observability.infrastructure.history import History
from andon.observability.infrastructure.model import Gateway, Moment, Wanted

PERIOD_S = 5.0

_logger = structlog.get_logger("andon.infrastructure")


@dataclass(frozen=True)
class Census:
    """What the factory says it runs: processes to look at, and what it serves."""

    wanted: Sequence[Wanted] = ()
    replicas: Mapping[str, int] = field(default_factory=dict)  # pid by target
    endpoints: frozenset[str] = frozenset()


Measure = Callable[[Sequence[Wanted], Mapping[int, tuple[float, float]]], Moment]


class Collector:
    """The loop, a `feed.Consumer` for what was in flight, and a `MetricSource`."""

    name = "infrastructure"

    def __init__(
        self,
        clock: Clock,
        runner: Runner,
        measure: Measure,
        census: Callable[[], Awaitable[Census]],
        gateway: Callable[[], Awaitable[Gateway]],
    ) -> None:
        self._clock = clock
        self._runner = runner
        self._measure = measure
        self._census = census
        self._gateway = gateway
        self._cpu: dict[int, tuple[float, float]] = {}  # CPU seconds and moment by pid
        self._endpoints: frozenset[str] = frozenset()
        self._newest_row_ns = 0
        self._is_failing = False
        self.history = History()
        self.attribution = Attribution()
        self.moment: Moment | None = None  # before the first look there is none
        self.failures = 0

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                await self.look()
                self._is_failing = False
            # Whatever psutil, a driver or the store raises, the next look may succeed: counted, told once.
            except Exception:
                self.failures += 1
                if not self._is_failing:
                    _logger.exception("look_failed")
                self._is_failing = True
            await self._clock.sleep(PERIOD_S)

    async def look(self) -> Moment:
        """One look at everything."""
        census = await self._census()
        gateway = await self._gateway()
        cpu = self._cpu
        measured = await self._runner.run(lambda: self._measure(census.wanted, cpu))
        behind = (measured.at_ns - self._newest_row_ns) / 1e9 if self._newest_row_ns else None
        moment = Moment(
            at_ns=measured.at_ns,
            host=measured.host,
            processes=measured.processes,
            logs=measured.logs,
            devices=measured.devices,
            gateway=gateway,
            rows_behind_s=behind,
        )
        self._cpu = {one.pid: (one.cpu_s, measured.at_ns / 1e9) for one in moment.processes}
        self._endpoints = census.endpoints
        self.attribution.sample(moment.at_ns, moment.devices.readings, _devices_of(census, moment))
        self.history.take(moment)
        self.moment = moment
        return moment

    def take_rows(self, entries: Sequence[Entry]) -> None:
        """What was in flight where, from rows of attempts that reached a target."""
        works = []
        for entry in entries:
            row = entry.row
            self._newest_row_ns = max(self._newest_row_ns, row.at_ns)
            if isinstance(row, Outcome) and row.target is not None and row.upstream_us:
                tokens = (row.input_tokens or 0) + (row.output_tokens or 0)
                counted = tokens if row.final or row.arm == SHADOW else 0
                since_ns = row.at_ns - row.upstream_us * 1000
                works.append(Work(row.endpoint or "", row.target, since_ns, row.at_ns, counted))
        self.attribution.add(works)

    def take_facts(self, facts: Sequence[Fact]) -> None:
        """Facts change nothing here."""

    def families(self) -> tuple[Family, ...]:
        """The latest moment as metrics; before the first look, none."""
        moment = self.moment
        if moment is None:
            return ()
        failed = family(
            "andon_infrastructure_failed_looks_total", "counter", "Looks that failed.", [((), self.failures)]
        )
        found = (*families_of(moment), *device_families(moment.devices), failed)
        if not moment.devices.readings:
            return found
        return (*found, *attribution_families(self.attribution, self._endpoints))


def _devices_of(census: Census, moment: Moment) -> dict[str, tuple[str, ...]]:
    """The devices that each replica computes on, by the pids that the driver names.

    A driver in another pid namespace names none of ours: with one device, everything local is on it or on nothing.
    """
    found: dict[str, tuple[str, ...]] = {}
    readings = moment.devices.readings
    named = {pid for reading in readings for pid in reading.pids}
    for target, pid in census.replicas.items():
        used = tuple(reading.uuid for reading in readings if pid in reading.pids)
        if not used and len(readings) == 1 and not named:
            used = (readings[0].uuid,)
        if used:
            found[target] = used
    return found
