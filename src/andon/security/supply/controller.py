"""Scans what is installed and what models need, whenever vulnerability data, judgements or packages change.

Run by control's driver. Reads files only: data comes by whoever puts it there. A finding is told once, as an event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import msgspec

from andon.control.controller import Result
from andon.kernel.clock import Clock
from andon.kernel.decision import Plan, Step
from andon.kernel.errors import AndonError
from andon.kernel.events import Event
from andon.security.supply.osv import read_database
from andon.security.supply.requirements import Package, packages_of_model
from andon.security.supply.scanning import Found, Report, read_judgements, scan
from andon.store.model import Lease, Store, Unit

SUBJECT = "Factory/vulnerabilities"
FOUND = "vulnerability.found"
PERIOD_S = 60.0
_TOLD_MAX = 150  # in one turn; the rest comes in the next
_FILES_MAX = 100_000
MODEL_VERSION = "ModelVersion"


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where things lie."""

    root: Path  # sources of models are relative to it
    data: Path  # OSV records: a folder or a file; nothing is scanned while it is absent
    judgements: Path  # JSON; may be absent
    report: Path  # where the report is written


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """A new report, or that nothing is new."""

    report: Report | None = None
    problem: str = ""


class VulnerabilityController:
    """Tells of vulnerabilities. `installed` gives the packages beside Andon."""

    name = "vulnerabilities"
    period_s = PERIOD_S

    def __init__(
        self, store: Store, clock: Clock, places: Places, installed: Callable[[], Sequence[Package]]
    ) -> None:
        self._store = store
        self._clock = clock
        self._places = places
        self._installed = installed
        self._seen = ""
        self._told: set[str] = set()  # by this life; the journal holds each once whoever tells it

    def subjects(self, unit: Unit) -> Sequence[str]:
        """One: everything."""
        return (SUBJECT,)

    async def observe(self, subject: str) -> Facts | None:
        """Scan, if anything is new."""
        records = await self._store.transact(lambda unit: unit.list(MODEL_VERSION))
        sources = sorted({str(record.spec.get("source", "")) for record in records})
        return await asyncio.to_thread(self._look, sources)

    def _look(self, sources: Sequence[str]) -> Facts:
        if not self._places.data.exists():
            return Facts()
        today = datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC).date()
        try:
            packages = [*self._installed(), *self._of_models(sources)]
            key = _identity(self._places, packages, today.isoformat())
            if key == self._seen:
                return Facts()
            judged = self._places.judgements
            judgements = read_judgements(judged.read_bytes()) if judged.is_file() else []
            report = scan(packages, read_database(self._places.data), judgements, today)
            partial = self._places.report.with_suffix(".part")
            partial.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
            partial.replace(self._places.report)
        except AndonError as error:
            return Facts(problem=str(error))
        except OSError as error:
            return Facts(problem=f"{self._places.data} cannot be read: {error.strerror or error}.")
        if len([one for one in report.open if _key(one) not in self._told]) <= _TOLD_MAX:
            self._seen = key
        return Facts(report=report)

    def _of_models(self, sources: Sequence[str]) -> list[Package]:
        found: list[Package] = []
        for source in sources:
            folder = self._places.root / source
            if folder.is_dir():
                found += [
                    msgspec.structs.replace(one, source=f"{source}/{one.source}")
                    for one in packages_of_model(folder)
                ]
        return found

    def plan(self, facts: Facts, now_ns: int) -> Plan:
        """One step for each finding that is news."""
        steps: list[Step] = []
        if facts.problem and facts.problem not in self._told:
            steps.append(Step(verb="vulnerability.unknown", subject=SUBJECT, reason=facts.problem))
        for one in facts.report.open if facts.report else ():
            if _key(one) not in self._told and len(steps) < _TOLD_MAX:
                reason = f"{one.package} {one.version} has {one.id}: {one.summary}"
                steps.append(Step(verb=FOUND, subject=SUBJECT, reason=reason, data=_data(one)))
        return Plan(controller=self.name, subject=SUBJECT, generation=0, steps=tuple(steps))

    def veto(self, facts: Facts, plan: Plan) -> str | None:
        """Telling harms nobody."""
        return None

    async def act(self, facts: Facts, step: Step, lease: Lease) -> None:
        """Write the event, once for ever."""
        key = str(step.data.get("key", step.reason))
        event = Event(
            name=step.verb,
            subject=step.subject,
            actor="controller:vulnerabilities",
            data={"reason": step.reason, **step.data},
            unique=f"{step.verb}/{key}",
        )
        await self._store.transact(lambda unit: unit.append(event))
        self._told.add(key)

    async def conclude(self, facts: Facts, plan: Plan, lease: Lease) -> Sequence[Result]:
        """It has no status; the report is a file."""
        return ()


def _key(one: Found) -> str:
    return f"{one.id}/{one.package}@{one.version}/{one.source}"[:300]


def _data(one: Found) -> dict[str, object]:
    return {
        "key": _key(one),
        "id": one.id,
        "package": one.package,
        "version": one.version,
        "fixed": one.fixed,
        "level": one.level,
        "source": one.source,
    }


def _identity(places: Places, packages: Sequence[Package], day: str) -> str:
    """What the report depends on, cheap to compare."""
    whole = sha256(day.encode())
    files = sorted(places.data.rglob("*"))[:_FILES_MAX] if places.data.is_dir() else [places.data]
    for path in (*files, places.judgements):
        try:
            seen = path.stat()
        except OSError:  # judgements may be absent, and files may go while we look
            continue
        whole.update(f"{path}\0{seen.st_size}\0{seen.st_mtime_ns}\n".encode(errors="surrogateescape"))
    for package in packages:
        whole.update(f"{package.purl}\0{package.source}\n".encode())
    return whole.hexdigest()
