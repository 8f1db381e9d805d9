"""Looks at each monitor's periods: makes or takes its baseline, compares, keeps the latest report.

Work that blocks goes to the runner, one monitor at a time. Reports and profiles lie in one folder, so that a restart
shows what was known. The controller decides when, and journals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.errors import Refused
from andon.kernel.ports import Runner
from andon.kernel.units import duration_s
from andon.ledger.queries import Engine
from andon.observability.families import Family, Sample
from andon.observability.quality.drift.budget import Budget
from andon.observability.quality.drift.comparison import compare_table
from andon.observability.quality.drift.model import DriftMonitorSpec
from andon.observability.quality.drift.profile import Profile, ProfileFolder, build, decode
from andon.observability.quality.drift.report import DriftReport
from andon.observability.quality.drift.repository import Unseal, Window, read_chunk
from andon.observability.signals import Signal

SERIES_MAX = 200  # columns of one monitor that have series of their own
_SECOND_NS = 1_000_000_000
_SETTLE_NS = 5 * _SECOND_NS  # after its end a period is complete in the ledger


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at one period found."""

    until_ns: int
    rows: int = 0
    report: DriftReport | None = None
    baseline: str = ""
    message: str = ""


class DriftWatch:
    """Every monitor's profile and latest report."""

    def __init__(
        self, engine: Engine, runner: Runner, clock: Clock, folder: Path, unseal: Unseal | None = None
    ) -> None:
        self._unseal = unseal
        self._engine = engine
        self._runner = runner
        self._clock = clock
        self._profiles = ProfileFolder(folder)
        self._one = asyncio.Lock()  # a comparison may take half of a gigabyte; two would take one
        self.looks: dict[str, Looked] = {}  # the latest with a report, by monitor
        self.origins: dict[str, str] = {}  # baselines that were set since the last look
        self.since: dict[str, int] = {}  # since when a monitor is in drift; told by the controller

    def due(self, spec: DriftMonitorSpec, until_ns: int) -> Window | None:
        """The last whole period, if it has ended and was not looked at."""
        period_ns = int(duration_s(spec.period) * _SECOND_NS)
        end = (self._clock.now_ns() - _SETTLE_NS) // period_ns * period_ns
        return Window(from_ns=end - period_ns, until_ns=end) if end > until_ns else None

    async def look(self, name: str, spec: DriftMonitorSpec, window: Window) -> Looked:
        """Compare one period. Raises `Refused` where the ledger cannot be asked or columns changed their kind."""
        async with self._one:
            found = await self._runner.run(lambda: self._look(name, spec, window))
        if found.report is not None:
            self.looks[name] = found
        return found

    def _look(self, name: str, spec: DriftMonitorSpec, window: Window) -> Looked:
        profile = self._profiles.load(name)
        if profile is None:
            if not spec.baseline.automatic:
                return Looked(until_ns=window.until_ns, message="andon drift baseline makes one")
            profile = self._first(name, spec, window)
            if profile is None:
                message = f"fewer than {spec.min_rows} rows in the {spec.baseline.since} before"
                return Looked(until_ns=window.until_ns, message=message)
        chunk = read_chunk(self._engine, spec, window, unseal=self._unseal)
        found = Looked(until_ns=window.until_ns, rows=chunk.rows, baseline=profile.origin)
        if chunk.rows < spec.min_rows:
            return msgspec.structs.replace(found, message=f"{chunk.rows} of {spec.min_rows} rows")
        budget = Budget(alarms_per_month=spec.false_alarms_per_month, chunk_s=duration_s(spec.period))
        report = compare_table(profile, chunk.columns.items(), budget, spec.limits)
        found = msgspec.structs.replace(found, report=report)
        self._keep(name, found)
        return found

    def _first(self, name: str, spec: DriftMonitorSpec, window: Window) -> Profile | None:
        span = int(duration_s(spec.baseline.since) * _SECOND_NS)
        before = Window(from_ns=window.from_ns - span, until_ns=window.from_ns)
        try:
            return self._make(name, spec, before, spec.baseline.release)
        except Refused as error:
            if error.code not in ("reference_empty", "reference_small"):
                raise
            return None

    async def baseline(self, name: str, spec: DriftMonitorSpec, release: str, since: str) -> Profile:
        """Make the reference from a window that ends now. Raises `Refused` where it holds too few rows."""
        now_ns = self._clock.now_ns()
        window = Window(from_ns=now_ns - int(duration_s(since) * _SECOND_NS), until_ns=now_ns)
        async with self._one:
            return await self._runner.run(lambda: self._make(name, spec, window, release))

    def _make(self, name: str, spec: DriftMonitorSpec, window: Window, release: str) -> Profile:
        chunk = read_chunk(self._engine, spec, window, release, self._unseal)
        if chunk.rows < spec.min_rows:
            raise Refused(
                "reference_small",
                f"The window holds {chunk.rows} rows; a reference needs {spec.min_rows}.",
                hint="Name a longer window with --since, or lower minRows.",
            )
        hours = (window.until_ns - window.from_ns) / _SECOND_NS / 3600
        origin = f"{release or spec.release or spec.endpoint}, {chunk.rows} rows in {hours:.4g} h"
        profile = build(
            chunk.columns.items(), errors=chunk.errors, origin=origin, made_ns=self._clock.now_ns()
        )
        self._profiles.save(name, profile)
        if release:
            self._profiles.save(f"{name}~{release}", profile)
        self.origins[name] = origin
        return profile

    async def adopt(self, name: str, data: bytes) -> Profile:
        """Take a profile that was made elsewhere. Raises `Refused` if it is none."""
        profile = decode(data)
        await self._runner.run(lambda: self._profiles.save(name, profile))
        self.origins[name] = profile.origin
        return profile

    def _keep(self, name: str, found: Looked) -> None:
        path = self._profiles.path(name).with_suffix(".report")
        fresh = path.with_suffix(".new-report")
        fresh.write_bytes(msgspec.json.encode(found))
        fresh.replace(path)

    async def latest(self, name: str) -> Looked | None:
        """The latest look that has a report, from disk after a restart."""
        if name not in self.looks:
            kept = await self._runner.run(lambda: self._kept(name))
            if kept is not None:
                self.looks.setdefault(name, kept)
        return self.looks.get(name)

    def _kept(self, name: str) -> Looked | None:
        path = self._profiles.path(name).with_suffix(".report")
        try:
            return msgspec.json.decode(path.read_bytes(), type=Looked)
        except (OSError, msgspec.MsgspecError):
            # A report of another version, or none: the next period brings one.
            return None

    def forget(self, names: Sequence[str]) -> None:
        """Monitors that are gone have no series; their profiles stay on disk."""
        for name in set(self.looks) - set(names):
            del self.looks[name]
            self.since.pop(name, None)

    def firing(self) -> Sequence[Signal]:
        """Columns that page by impact, and monitors in drift as tickets."""
        found = []
        for name, looked in self.looks.items():
            report, since = looked.report, self.since.get(name, 0)
            if report is None or not since:
                continue
            worst = next((one for one in report.columns if one.column in report.paging), None)
            page = worst is not None
            found.append(
                Signal(
                    name=name,
                    severity="page" if page else "ticket",
                    slice={"column": worst.column if worst else ",".join(report.drifted[:5])},
                    value=float(worst.impact or 0.0) if worst else float(len(report.drifted)),
                    threshold=0.0,
                    window="period",
                    why="expected errors rise" if page else f"{len(report.drifted)} columns drifted",
                    since_ns=since,
                )
            )
        return found

    def families(self) -> tuple[Family, ...]:
        """Distances of the latest reports, and who is in drift."""
        distances, alarms = [], []
        for name, looked in self.looks.items():
            report = looked.report
            if report is None:
                continue
            alarms.append(Sample((("monitor", name),), float(bool(report.drifted or report.paging))))
            for one in report.columns[:SERIES_MAX]:
                labels = (("monitor", name), ("column", one.column))
                distances += [
                    Sample((*labels, ("statistic", reading.statistic)), reading.value)
                    for reading in one.readings
                ]
        return (
            Family(
                "andon_drift_distance", "gauge", "Distance of a column to its reference.", tuple(distances)
            ),
            Family(
                "andon_drift_alarm", "gauge", "Whether the last period of a monitor was drift.", tuple(alarms)
            ),
        )
