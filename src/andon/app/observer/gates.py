"""Gates on labels and scores: asks the ledger about each rollout under way, has lifecycle judge, reports the verdict.

Stands between two rooms that do not know each other: quality reads trials, lifecycle judges and stops. The observer
reports as gateways do, so that a stop is final at most once, whoever tells it twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import structlog

from andon.app.observer.part import ObserverGround
from andon.kernel.admission import Admitted, Assessed, Assessment
from andon.kernel.errors import AndonError
from andon.kernel.reports import Cut, GateReading, Progress, Report
from andon.kernel.snapshot import GateEntry
from andon.ledger.queries import Engine
from andon.lifecycle.rollouts.assessed import judge_robustness
from andon.lifecycle.rollouts.compilation import gate_entries
from andon.lifecycle.rollouts.labelled import LABELLED, OBSERVED, Trial, judge_trials
from andon.lifecycle.rollouts.model import ENDED, ROLLOUT, STOPPED, Course
from andon.lifecycle.rollouts.reports import OBSERVER, RolloutReports
from andon.lifecycle.rollouts.repository import course_of
from andon.observability.quality.model import MONITOR, MonitorSpec
from andon.observability.quality.trials import Contest, Known, read_labelled, read_scored
from andon.serving.models.model import MODEL_VERSION
from andon.store.model import Record

PERIOD_S = 5.0

_logger = structlog.get_logger("andon.gates")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One gate, and the monitor that says what a good answer is."""

    entry: GateEntry
    monitor: MonitorSpec | None
    missing: str = ""  # why there is none
    versions: tuple[Record | None, Record | None] = (None, None)  # robustness: of source and target


class ObservedGates:
    """Judges the gates that gateways cannot."""

    def __init__(self, ground: ObserverGround) -> None:
        self._ground = ground
        self._reports = RolloutReports(ground.store, ground.clock)
        self._told: dict[str, tuple[GateReading, ...]] = {}  # by rollout, what was last reported

    async def run(self) -> None:
        """Judge for ever."""
        while True:
            try:
                await self.turn()
            except AndonError as error:
                # The ledger or the store cannot be asked now: gates that hear nothing hold, and the next turn asks.
                _logger.warning("gates_not_judged", problem=error.message)
            await self._ground.clock.sleep(PERIOD_S)

    async def turn(self) -> None:
        """One look at every rollout under way."""
        rollouts, monitors, versions = await self._ground.store.transact(
            lambda unit: (unit.list(ROLLOUT), unit.list(MONITOR), unit.list(MODEL_VERSION))
        )
        courses = [(record, course_of(record)) for record in rollouts]
        under_way = [
            (record, course)
            for record, course in courses
            if course.status.phase not in (*ENDED, *STOPPED, "Pending") and course.status.cut is None
        ]
        self._told = {
            course.name: self._told[course.name] for _, course in under_way if course.name in self._told
        }
        for record, course in under_way:
            asked = asked_of(course, monitors, versions)
            if asked:
                await self._judge(record, course, asked)

    async def _judge(self, record: Record, course: Course, asked: Sequence[Asked]) -> None:
        status = course.status
        contest = Contest(
            endpoint=course.spec.endpoint,
            source=course.spec.source.id,
            target=course.spec.target.id,
            # A person who overrules a stop wants what comes after it to be judged.
            since_ns=status.resumed_ns if status.overrules else record.created_ns,
        )
        found = await self._ground.runner.run(lambda: read_all(self._ground.engine, contest, asked))
        readings = tuple(judge(one, known) for one, known in zip(asked, found, strict=True))
        if self._told.get(course.name) == readings:
            return
        await self._reports.receive(reports_of(record, course, asked, readings, self._ground.clock.now_ns()))
        self._told[course.name] = readings


def asked_of(course: Course, monitors: Sequence[Record], versions: Sequence[Record] = ()) -> list[Asked]:
    """The gates of a rollout that are judged here, each with its monitor."""
    found = []
    served = {record.name: record for record in versions}
    specs = {record.name: msgspec.convert(record.spec, MonitorSpec) for record in monitors}
    names = {gate.name: gate.monitor for gate in course.spec.strategy.in_force}
    own = [name for name, spec in specs.items() if spec.endpoint == course.spec.endpoint]
    for entry in gate_entries(course.spec.strategy, 1):
        if entry.metric == "robustness":
            both = (served.get(course.spec.source.deployment), served.get(course.spec.target.deployment))
            found.append(Asked(entry=entry, monitor=None, versions=both))
        if entry.metric not in OBSERVED:
            continue
        name = names[entry.name] or (own[0] if len(own) == 1 else "")
        spec, missing = specs.get(name), ""
        if entry.metric in LABELLED and spec is None:
            missing = (
                f"there is no Monitor '{name}'" if name else f"the endpoint has {len(own)} Monitors, not one"
            )
        elif entry.metric == "quality" and spec is not None and _open_ended(spec):
            missing = f"Monitor '{name}' does not say what is closeEnough"
        elif entry.metric == "calibration" and spec is not None and spec.problem == "regression":
            missing = "values are no probabilities"
        found.append(Asked(entry=entry, monitor=spec, missing=missing))
    return found


def _open_ended(spec: MonitorSpec) -> bool:
    return spec.problem == "regression" and spec.close_enough is None


def read_all(engine: Engine, contest: Contest, asked: Sequence[Asked]) -> list[list[Known]]:
    """What is known for each gate. Blocking; raises `Refused` where the ledger cannot be asked."""
    found: list[list[Known]] = []
    for one in asked:
        if one.missing or one.entry.metric == "robustness":
            found.append([])
        elif one.entry.metric == "drift":
            found.append(read_scored(engine, contest))
        else:
            assert one.monitor is not None  # else it would be missing
            found.append(read_labelled(engine, contest, one.monitor))
    return found


def judge(asked: Asked, known: Sequence[Known]) -> GateReading:
    """The verdict of one gate."""
    if asked.entry.metric == "robustness":
        source, target = (assessments_of(record) for record in asked.versions)
        return judge_robustness(asked.entry, source, target)
    calibration = asked.entry.metric == "calibration"
    reading = judge_trials(
        asked.entry,
        [
            Trial(
                canary=one.canary,
                share=one.share,
                bad=one.unsure if calibration else one.wrong,
                score=one.score,
                unit=one.unit,
            )
            for one in known
        ],
    )
    return msgspec.structs.replace(reading, reason=asked.missing) if asked.missing else reading


def assessments_of(record: Record | None) -> tuple[Assessment, ...]:
    """The assessments of the very bytes that a version is admitted with, the newest last."""
    if record is None:
        return ()
    admission = msgspec.convert(record.status, Admitted).admission
    listed = msgspec.convert(record.status, Assessed).assessments
    return tuple(one for one in listed if admission is not None and one.digest == admission.digest)


def reports_of(
    record: Record,
    course: Course,
    asked: Sequence[Asked],
    readings: Sequence[GateReading],
    now_ns: int,
) -> list[Report]:
    """How the rollout stands here, and a stop for each gate that breached."""
    status = course.status
    found: list[Report] = [
        Progress(
            rollout=course.name,
            generation=status.generation,
            gateway=OBSERVER,
            at_ns=now_ns,
            canary_requests=0,  # the gateways count requests
            stable_requests=0,
            step_canary_requests=0,
            readings=tuple(readings),
        )
    ]
    for place, (one, reading) in enumerate(zip(asked, readings, strict=True)):
        if reading.verdict != "breach":
            continue
        warns = one.entry.on_breach == "warn"
        others = [other for other in readings if other is not reading]
        found.append(
            Cut(
                rollout=course.name,
                generation=status.generation,
                release=course.spec.target.id,
                gateway=OBSERVER,
                # A warning is told once: its moment is part of what makes it one.
                at_ns=record.created_ns + status.overrules * 1000 + place if warns else now_ns,
                canary_requests=reading.canary_n,
                seconds=max(0.0, (now_ns - status.started_ns) / 1e9),
                action=one.entry.on_breach,
                readings=(reading, *others),  # the first breach is the reason that is told
            )
        )
    return found
