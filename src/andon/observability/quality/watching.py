"""Looks at each monitor: new periods, labels that came or changed, references, trust in estimates, falls.

Work that blocks goes to the runner, one monitor at a time. A period is read again whenever a label of one of its
answers is learnt, however late. The controller decides when, and journals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from andon.kernel.clock import Clock
from andon.kernel.errors import Refused
from andon.kernel.ports import Runner
from andon.kernel.units import duration_s
from andon.ledger.facts.model import Fact, Label
from andon.ledger.queries import Engine
from andon.ledger.reader import Entry
from andon.observability.families import OTHER, Family
from andon.observability.quality.evaluation import Ground, evaluate_chunk, judge_trust, reconcile
from andon.observability.quality.figures import part_of
from andon.observability.quality.files import read_sample
from andon.observability.quality.keeping import BASELINE, Kept, QualityFolder, terms_of
from andon.observability.quality.model import MonitorSpec
from andon.observability.quality.references import (
    Reference,
    alarm_threshold,
    chance_of_chunk,
    make_reference,
)
from andon.observability.quality.report import (
    QualityReport,
    ReferenceView,
    ReleaseQuality,
    Trust,
)
from andon.observability.quality.repository import (
    Answers,
    Span,
    read_answers,
    read_formula,
    read_labelled,
    read_periods,
    read_touched,
)
from andon.observability.quality.telling import families_of, standing_of
from andon.observability.signals import Signal

NAMES_MAX = 1000  # of labels; those beyond are heard as one
_SECOND_NS = 1_000_000_000
_SETTLE_NS = 5 * _SECOND_NS  # after its end a period is complete in the ledger
_FRESH_NS = 30 * _SECOND_NS  # for so long after a label came it is looked for in the ledger
CHUNKS_PER_LOOK = 40  # the rest at the next look, so that a look stays short


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found."""

    report: QualityReport
    until_ns: int
    looked_ns: int
    note: str = ""


class QualityWatch:
    """Every monitor's memory and report; a consumer of the feed for the sake of labels."""

    name = "quality"

    def __init__(self, engine: Engine, runner: Runner, clock: Clock, folder: Path) -> None:
        self._engine = engine
        self._runner = runner
        self._clock = clock
        self._folder = QualityFolder(folder)
        self._kept: dict[str, Kept] = {}
        self._heard: dict[str, int] = {}  # when a label of a name last came
        self._one = asyncio.Lock()  # a look may take half of a gigabyte; two would take one
        self.reports: dict[str, QualityReport] = {}
        self.specs: dict[str, MonitorSpec] = {}
        self.since: dict[str, int] = {}  # since when a monitor alarms; told by the controller

    def take_rows(self, entries: Sequence[Entry]) -> None:
        """Rows are read from the ledger when their period is over."""

    def take_facts(self, facts: Sequence[Fact]) -> None:
        """Labels are read from the ledger too; here it is only heard that there are some."""
        now_ns = self._clock.now_ns()
        for fact in facts:
            if isinstance(fact, Label):
                known = fact.name in self._heard or len(self._heard) < NAMES_MAX
                self._heard[fact.name if known else OTHER] = now_ns

    async def look(self, name: str, spec: MonitorSpec) -> Looked:
        """Take in what is new. Raises `Refused` where the ledger cannot be asked."""
        async with self._one:
            looked = await self._runner.run(lambda: self._look(name, spec))
        self.reports[name], self.specs[name] = looked.report, spec
        return looked

    def _memory(self, name: str, spec: MonitorSpec) -> Kept:
        kept = self._kept.get(name)
        if kept is None or kept.terms != terms_of(spec):
            kept = self._kept[name] = self._folder.load(name, spec)
        return kept

    def _look(self, name: str, spec: MonitorSpec) -> Looked:
        kept, now_ns = self._memory(name, spec), self._clock.now_ns()
        period_ns = int(duration_s(spec.chunk) * _SECOND_NS)
        end_ns = (now_ns - _SETTLE_NS) // period_ns * period_ns
        oldest = Span(from_ns=max(0, end_ns - spec.keep * period_ns), until_ns=end_ns)
        new = Span(from_ns=max(kept.until_ns, oldest.from_ns), until_ns=end_ns)
        due = set(read_periods(self._engine, spec, new, period_ns)) if new.from_ns < end_ns else set()
        # What came while no observer ran is found at the first look; then a silence needs no query.
        quiet = name in self.reports and self._last_heard(spec.label) < now_ns - _FRESH_NS
        if kept.until_ns and not quiet:
            # Labels are learnt in order, but a batch may still be on its way to the tables: look back a little.
            since_ns = kept.looked_ns - _SETTLE_NS
            seen = Span(from_ns=oldest.from_ns, until_ns=kept.until_ns)
            due |= set(read_touched(self._engine, spec, seen, period_ns, since_ns))
        todo = sorted(due)
        before = (len(kept.references), kept.until_ns, bool(todo))
        if todo:
            self._refer(kept, spec, now_ns)
        for number in todo[:CHUNKS_PER_LOOK]:
            span = Span(from_ns=number * period_ns, until_ns=(number + 1) * period_ns)
            self._take(kept, spec, span, now_ns)
        if len(todo) <= CHUNKS_PER_LOOK:
            kept.until_ns, kept.looked_ns = end_ns, now_ns
        else:
            kept.until_ns = max(kept.until_ns, (todo[CHUNKS_PER_LOOK - 1] + 1) * period_ns)
        changed = self._settle(kept, spec, now_ns)
        if changed or before != (len(kept.references), kept.until_ns, False):
            self._folder.save(name, kept)
        return Looked(
            report=self._report(name, spec, kept),
            until_ns=kept.until_ns,
            looked_ns=kept.looked_ns,
            note=kept.note,
        )

    def _last_heard(self, label: str) -> int:
        return max(self._heard.get(label, 0), self._heard.get(OTHER, 0))

    def _ground(self, spec: MonitorSpec, kept: Kept, release: str, trust: Trust | None = None) -> Ground:
        return Ground(
            spec=spec,
            chunk_s=duration_s(spec.chunk),
            baseline=kept.references.get(BASELINE),
            own=kept.references.get(release),
            trusted=trust is None or trust.state == "on",
        )

    def _take(self, kept: Kept, spec: MonitorSpec, span: Span, now_ns: int) -> None:
        found = read_answers(self._engine, spec, span)
        formulas = self._formulas(kept, spec, span) if spec.formulas else {}
        for release, answers in found.items():
            chunks = kept.releases.setdefault(release, [])
            before = next((chunk for chunk in chunks if chunk.from_ns == span.from_ns), None)
            chunk = evaluate_chunk(self._ground(spec, kept, release), release, span, answers, before)
            chunk = msgspec.structs.replace(chunk, formulas=formulas.get(release, {}), evaluated_ns=now_ns)
            chunks[:] = sorted(
                [*(one for one in chunks if one.from_ns != span.from_ns), chunk], key=lambda one: one.from_ns
            )[-spec.keep :]

    def _formulas(self, kept: Kept, spec: MonitorSpec, span: Span) -> dict[str, dict[str, float | None]]:
        found: dict[str, dict[str, float | None]] = {}
        for formula in spec.formulas:
            try:
                told = read_formula(self._engine, spec, span, formula.sql)
            except Refused as error:
                kept.note = f"formula '{formula.name}': {error.message}"
                continue
            for release, value in told.items():
                found.setdefault(release, {})[formula.name] = value
        return found

    def _settle(self, kept: Kept, spec: MonitorSpec, now_ns: int) -> bool:
        """Hold estimates against labels, judge; whether anything changed."""
        within_ns = int(duration_s(spec.labels_within) * _SECOND_NS)
        changed = False
        for release, chunks in kept.releases.items():
            trust = judge_trust(kept.references.get(release), spec.leading, chunks)
            ground = self._ground(spec, kept, release, trust)
            fresh = [
                reconcile(ground, chunk, settled=chunk.until_ns + within_ns <= now_ns) for chunk in chunks
            ]
            changed = changed or fresh != chunks
            chunks[:] = fresh
        return changed

    def _refer(self, kept: Kept, spec: MonitorSpec, now_ns: int) -> None:
        """Make the references for which enough labels have come."""
        if not spec.reference.automatic:
            return
        since_ns = int(duration_s(spec.reference.since) * _SECOND_NS)
        span = Span(from_ns=max(0, now_ns - since_ns), until_ns=now_ns)
        counts = read_labelled(self._engine, spec, span)
        wanted = [
            release
            for release, labelled in counts.items()
            if release not in kept.references and labelled >= spec.reference.min_labels
        ]
        if not wanted:
            return
        found = read_answers(self._engine, spec, span, labelled_only=True)
        for release in sorted(wanted, key=lambda name: int(found[name].at_ns[0]) if name in found else 0):
            if release in found:
                self._adopt(kept, spec, release, found[release], now_ns)

    def _adopt(self, kept: Kept, spec: MonitorSpec, release: str, answers: Answers, now_ns: int) -> None:
        # The first labels only: what comes after them is to be judged.
        rows = np.flatnonzero(answers.labelled)[: 4 * spec.reference.min_labels]
        if len(rows) < spec.reference.min_labels:
            return
        made = make_reference(
            spec.problem,
            part_of(answers.sample, rows),
            spec.costs,
            origin=f"{release}, {len(rows)} labels",
            made_ns=now_ns,
            until_ns=int(answers.at_ns[rows[-1]]) + 1,
        )
        kept.references[release] = made
        kept.references.setdefault(BASELINE, made)

    async def refer(self, name: str, spec: MonitorSpec, release: str, span: Span) -> ReferenceView:
        """Make the baseline, and the release's own reference, from a window. Raises `Refused` for too few labels."""
        async with self._one:
            return await self._runner.run(lambda: self._refer_to(name, spec, release, span))

    def _refer_to(self, name: str, spec: MonitorSpec, release: str, span: Span) -> ReferenceView:
        kept = self._memory(name, spec)
        found = read_answers(self._engine, spec, span, labelled_only=True)
        answers = found.get(release)
        labelled = 0 if answers is None else answers.sample.rows
        if answers is None or labelled < spec.reference.min_labels:
            raise Refused(
                "reference_small",
                f"The window holds {labelled} labelled answers of '{release}'; a reference needs "
                f"{spec.reference.min_labels}.",
                hint="Name a longer window with --since, or lower reference.minLabels.",
            )
        made = make_reference(
            spec.problem,
            answers.sample,
            spec.costs,
            origin=f"{release}, {labelled} labels",
            made_ns=self._clock.now_ns(),
            until_ns=int(answers.at_ns[-1]) + 1,
        )
        kept.references[release] = kept.references[BASELINE] = made
        self._folder.save(name, kept)
        return view_of(BASELINE, made)

    async def adopt(self, name: str, spec: MonitorSpec, release: str, data: bytes) -> ReferenceView:
        """Take the baseline, and the release's own reference, from a file. Raises `Refused` if it holds none."""
        async with self._one:
            return await self._runner.run(lambda: self._adopt_file(name, spec, release, data))

    def _adopt_file(self, name: str, spec: MonitorSpec, release: str, data: bytes) -> ReferenceView:
        sample = read_sample(data, spec)
        if sample.rows < spec.reference.min_labels:
            raise Refused(
                "reference_small",
                f"The file holds {sample.rows} labelled answers; a reference needs {spec.reference.min_labels}.",
                hint="Send more rows, or lower reference.minLabels.",
            )
        origin = f"a file, {sample.rows} labels"
        made = make_reference(spec.problem, sample, spec.costs, origin=origin, made_ns=self._clock.now_ns())
        kept = self._memory(name, spec)
        kept.references[release] = kept.references[BASELINE] = made
        self._folder.save(name, kept)
        return view_of(BASELINE, made)

    async def as_of(self, name: str, spec: MonitorSpec, span: Span) -> QualityReport:
        """The report of a span as it would have been with the labels known at a moment; nothing is kept."""
        async with self._one:
            return await self._runner.run(lambda: self._as_of(name, spec, span))

    def _as_of(self, name: str, spec: MonitorSpec, span: Span) -> QualityReport:
        kept = self._memory(name, spec)
        period_ns = int(duration_s(spec.chunk) * _SECOND_NS)
        past = Kept(terms=kept.terms, references=kept.references)
        for number in read_periods(self._engine, spec, span, period_ns)[-CHUNKS_PER_LOOK:]:
            part = Span(from_ns=number * period_ns, until_ns=(number + 1) * period_ns, as_of_ns=span.as_of_ns)
            self._take(past, spec, part, span.as_of_ns)
        self._settle(past, spec, span.as_of_ns)
        return self._report(name, spec, past)

    def _report(self, name: str, spec: MonitorSpec, kept: Kept) -> QualityReport:
        baseline = kept.references.get(BASELINE)
        chunk_s = duration_s(spec.chunk)
        newest = max(
            (chunk for chunks in kept.releases.values() for chunk in chunks),
            key=lambda chunk: chunk.from_ns,
            default=None,
        )
        threshold = None
        if baseline is not None and newest is not None:
            chance = chance_of_chunk(spec.alarm.false_alarms_per_month, chunk_s, 2)
            threshold = alarm_threshold(baseline, spec.leading, newest.rows, spec.alarm.tolerance, chance)
        return QualityReport(
            monitor=name,
            endpoint=spec.endpoint,
            problem=spec.problem,
            leading=spec.leading,
            threshold=threshold,
            references=tuple(view_of(release, one) for release, one in sorted(kept.references.items())),
            releases=tuple(
                ReleaseQuality(
                    release=release,
                    trust=judge_trust(kept.references.get(release), spec.leading, chunks),
                    chunks=tuple(chunks),
                )
                for release, chunks in sorted(kept.releases.items())
            ),
        )

    def forget(self, names: Sequence[str]) -> None:
        """Monitors that are gone have no series; their files stay."""
        for name in set(self.reports) - set(names):
            del self.reports[name]
            self._kept.pop(name, None)
            self.specs.pop(name, None)
            self.since.pop(name, None)

    def firing(self) -> Sequence[Signal]:
        """Monitors whose figure fell."""
        found: list[Signal] = []
        for name, report in self.reports.items():
            since_ns, spec = self.since.get(name, 0), self.specs[name]
            found += [
                Signal(
                    name=name,
                    severity=spec.alarm.severity,
                    slice={"release": fall.release, "by": fall.by},
                    value=fall.value,
                    threshold=0.0 if report.threshold is None else report.threshold,
                    window="chunk",
                    why=f"{report.leading} fell, by {fall.by}",
                    since_ns=since_ns,
                )
                for fall in (standing_of(report).falls if since_ns else ())
            ]
        return found

    def families(self) -> tuple[Family, ...]:
        """The last figures of every monitor."""
        return families_of(self.reports, self.since)


def view_of(release: str, reference: Reference) -> ReferenceView:
    """A reference in brief."""
    return ReferenceView(
        release=release,
        origin=reference.origin,
        made_ns=reference.made_ns,
        rows=reference.rows,
        calibrated=reference.calibration is not None,
        values=reference.values,
    )
