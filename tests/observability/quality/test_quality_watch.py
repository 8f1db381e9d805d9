"""A quality monitor over a real ledger: late and corrected labels, estimates, falls, trust, what survives a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from andon.kernel.clock import SystemClock
from andon.kernel.errors import Refused
from andon.ledger.facts.model import Label
from andon.observability.quality.controller import QualityController, status_of
from andon.observability.quality.kinds import check_monitor
from andon.observability.quality.model import (
    MONITOR,
    AlarmSpec,
    CostSpec,
    FormulaSpec,
    MonitorSpec,
    MonitorStatus,
    ReferenceSpec,
)
from andon.observability.quality.report import ChunkQuality
from andon.observability.quality.repository import Span
from andon.observability.quality.watching import QualityWatch
from andon.store.model import Record
from tests.ledger.conftest import InlineRunner
from tests.ledger.queries.rig import BASE_NS, SECOND_NS, Rig, outcome
from tests.observability.quality.one_record import OneRecord

HOUR_S = 3600
START_NS = BASE_NS // (HOUR_S * SECOND_NS) * HOUR_S * SECOND_NS + HOUR_S * SECOND_NS
SPEC = MonitorSpec(
    endpoint="credit",
    positive="bad",
    chunk="1h",
    labels_within="2h",
    costs=CostSpec(false_negative=10.0, false_positive=1.0),
    formulas=(FormulaSpec(name="gap", sql="avg(abs(score - label))"),),
    slices=("team",),
    reference=ReferenceSpec(min_labels=500),
)


@pytest.fixture
def rig(tmp_path: Path) -> Any:
    made = Rig(tmp_path)
    yield made
    made.engine.close()


def hour(number: int, rows: int = 600, confuse: float = 0.0, release: str = "credit@1") -> tuple[Any, Any]:
    """Answers of one hour with honest scores, and their labels, known an hour later; a share of truths is flipped."""
    chance = np.random.default_rng(number)
    answers, labels = [], []
    for place in range(rows):
        score = float(chance.beta(0.5, 0.5))
        truth = bool(chance.random() < score)
        if chance.random() < confuse:
            truth = not truth
        at_ns = START_NS + number * HOUR_S * SECOND_NS + place * 5 * SECOND_NS
        answers.append(
            msgspec.structs.replace(
                outcome(0),
                id=f"h{number}-{place}",
                at_ns=at_ns,
                score=score,
                prediction="bad" if score >= 0.5 else "good",
                team="a" if place % 3 else "b",
                release=release,
            )
        )
        labels.append(
            Label(
                id=f"l{number}-{place}",
                at_ns=at_ns + HOUR_S * SECOND_NS,
                event_ns=at_ns,
                request=f"h{number}-{place}",
                value=float(truth),
            )
        )
    return answers, labels


class StandingClock(SystemClock):
    """A minute past an hour after the start."""

    def __init__(self, number: int) -> None:
        self._now_ns = START_NS + (number * HOUR_S + 60) * SECOND_NS

    def now_ns(self) -> int:  # type: ignore[override]  # a method here, a static one there
        return self._now_ns


def turn(store: OneRecord, rig: Rig, now: int) -> tuple[QualityWatch, MonitorStatus]:
    """One turn of a freshly started observer, `now` hours after the start."""
    clock = StandingClock(now)

    async def main() -> QualityWatch:
        watch = QualityWatch(rig.engine, InlineRunner(), clock, rig.world.root / "quality")
        controller = QualityController(store, clock, watch)  # type: ignore[arg-type]  # a store with one record
        (subject,) = controller.subjects(store)  # type: ignore[arg-type]  # as above
        facts = await controller.observe(subject)
        assert facts is not None
        plan = controller.plan(facts, clock.now_ns())
        for step in (*plan.steps, *plan.steps):  # doing it twice does nothing more
            await controller.act(facts, step, None)  # type: ignore[arg-type]  # it needs no lease
        for result in await controller.conclude(facts, plan, None):  # type: ignore[arg-type]  # as above
            store.record = msgspec.structs.replace(store.record, status=result.status or {})
        return watch

    watch = asyncio.run(main())
    return watch, status_of(store.record)


def chunks(watch: QualityWatch, release: str = "credit@1") -> tuple[ChunkQuality, ...]:
    return next(one.chunks for one in watch.reports["credit"].releases if one.release == release)


def write(rig: Rig, *hours: tuple[Any, Any], labels: bool = True) -> None:
    rig.write("rows", [row for answers, _ in hours for row in answers])
    if labels:
        rig.write("facts", [label for _, told in hours for label in told])


def test_labels_give_figures_and_the_estimate_before_them_is_held_against_them(rig: Rig) -> None:
    store = OneRecord(MONITOR, SPEC)
    write(rig, hour(0), hour(1))
    watch, status = turn(store, rig, 3)
    assert (status.state, status.message) == ("good", "")
    assert status.releases["credit@1"].labelled == 1200
    first = chunks(watch)[0]
    assert (first.rows, first.labelled, first.coverage, first.lag_p50_s) == (600, 600, 1.0, 3600.0)
    accuracy = first.measure("accuracy")
    assert accuracy is not None
    assert accuracy.realised is not None
    assert first.lowest == first.highest == accuracy.realised
    assert accuracy.low < accuracy.realised < accuracy.high  # type: ignore[operator]  # known, as the value is
    assert {one.metric for one in first.measures} == {*SPEC.figures}
    assert {(one.column, one.value, one.rows) for one in first.slices} == {
        ("team", "a", 400),
        ("team", "b", 200),
    }
    assert first.formulas["gap"] == pytest.approx(0.25, abs=0.06)
    late = hour(3)
    write(rig, late, labels=False)
    watch, status = turn(store, rig, 4)
    before = chunks(watch)[-1].measure("accuracy")
    assert before is not None
    assert (before.realised, before.missed) == (None, None)
    assert status.releases["credit@1"].estimated == before.estimated
    assert chunks(watch)[-1].lowest == 0.0
    rig.write("facts", late[1])
    watch, _ = turn(store, rig, 5)
    after = chunks(watch)[-1].measure("accuracy")
    assert after is not None
    assert (after.estimated, after.band, after.missed) == (before.estimated, before.band, False)
    cost = chunks(watch)[-1].measure("cost")
    assert cost is not None
    assert abs(cost.realised - cost.estimated) < (cost.band or 0.0)  # type: ignore[operator]  # both are known


def test_a_corrected_label_changes_its_chunk_however_late_and_the_past_can_be_asked_for(rig: Rig) -> None:
    store = OneRecord(MONITOR, SPEC)
    answers, labels = hour(0)
    write(rig, (answers, labels))
    watch, _ = turn(store, rig, 2)
    before = chunks(watch)[0].confusion
    corrected_ns = START_NS + 9 * HOUR_S * SECOND_NS
    rig.write(
        "facts",
        [
            msgspec.structs.replace(label, id=f"c-{label.id}", at_ns=corrected_ns, value=1.0)
            for label in labels
        ],
    )
    watch, _ = turn(store, rig, 10)
    after = chunks(watch)[0].confusion
    assert before["true_negative"] > 0
    assert (after["true_negative"], after["false_positive"]) == (0, 0)
    span = Span(from_ns=START_NS, until_ns=START_NS + HOUR_S * SECOND_NS, as_of_ns=corrected_ns - 1)
    past = asyncio.run(watch.as_of("credit", SPEC, span))
    assert past.releases[0].chunks[0].confusion == before
    none = asyncio.run(watch.as_of("credit", SPEC, msgspec.structs.replace(span, as_of_ns=START_NS)))
    assert none.releases[0].chunks[0].labelled == 0


def test_a_fall_that_scores_cannot_see_alarms_by_labels_and_switches_the_estimate_off(rig: Rig) -> None:
    store = OneRecord(MONITOR, SPEC)
    write(rig, hour(0), hour(1), hour(2))
    turn(store, rig, 4)
    write(rig, *(hour(number, confuse=0.3) for number in (4, 5)))
    watch, status = turn(store, rig, 8)
    assert status.state == "alarm"
    assert status.reasons == ("credit@1 by labels",)
    release = status.releases["credit@1"]
    assert (release.estimate_state, release.estimated) == ("off", None)
    assert "2 of the last" in release.reason
    assert [event.name for event in store.events] == ["quality.fell", "quality.estimate_off"]
    (signal,) = watch.firing()
    assert (signal.name, signal.severity, signal.slice["release"]) == ("credit", "page", "credit@1")
    families = {family.name: family for family in watch.families()}
    assert families["andon_quality_alarm"].samples[0].value == 1.0
    kinds = {dict(sample.labels)["kind"] for sample in families["andon_quality"].samples}
    assert kinds == {"realised"}
    assert families["andon_quality_estimate_error"].samples
    write(rig, hour(8))
    _, status = turn(store, rig, 10)
    assert (status.state, status.since_ns) == ("good", 0)
    assert store.events[-1].name == "quality.recovered"


def test_a_fall_that_scores_can_see_alarms_before_any_label(rig: Rig) -> None:
    store = OneRecord(MONITOR, SPEC)
    write(rig, hour(0), hour(1), hour(2))
    turn(store, rig, 4)
    unsure = [msgspec.structs.replace(row, score=0.5 + (row.score - 0.5) / 4) for row in hour(4)[0]]
    rig.write("rows", unsure)
    _, status = turn(store, rig, 5)
    assert (status.state, status.reasons) == ("alarm", ("credit@1 by estimate",))


def test_quiet_times_raise_no_alarm(rig: Rig) -> None:
    store = OneRecord(MONITOR, SPEC)
    write(rig, *(hour(number, rows=300) for number in range(40)))
    watch, status = turn(store, rig, 43)
    assert (status.state, status.episode) == ("good", 0)
    assert not [chunk for chunk in chunks(watch) if chunk.alarms]
    assert status.releases["credit@1"].estimate_state == "on"


def test_too_few_labels_judge_nothing_and_a_wrong_formula_is_told(rig: Rig) -> None:
    wrong = FormulaSpec(name="odd", sql="no_such_column")
    store = OneRecord(MONITOR, msgspec.structs.replace(SPEC, formulas=(wrong,)))
    write(rig, hour(0, rows=50))
    watch, status = turn(store, rig, 3)
    assert status.state == "waiting"
    assert "formula 'odd'" in status.message
    assert not chunks(watch)[0].alarms
    with pytest.raises(Refused, match="50 labelled answers"):
        asyncio.run(watch.refer("credit", SPEC, "credit@1", Span(from_ns=0, until_ns=START_NS * 2)))


def test_a_reference_comes_from_a_file_and_judges_the_first_chunk(rig: Rig) -> None:
    store = OneRecord(MONITOR, SPEC)
    write(rig, hour(0, confuse=0.3))
    answers, labels = hour(99)
    lines = ["score,prediction,label"]
    lines += [
        f"{row.score},{row.prediction},{'bad' if told.value else 'good'}"
        for row, told in zip(answers, labels, strict=True)
    ]
    watch = QualityWatch(rig.engine, InlineRunner(), StandingClock(0), rig.world.root / "quality")
    made = asyncio.run(watch.adopt("credit", SPEC, "credit@1", "\n".join(lines).encode()))
    assert (made.origin, made.rows) == ("a file, 600 labels", 600)
    assert made.values["accuracy"] == pytest.approx(0.82, abs=0.05)
    _, status = turn(store, rig, 3)
    assert (status.state, status.reasons) == ("alarm", ("credit@1 by labels",))
    for data, said in (
        (b"a,b\n1,2\n", "needs label"),
        (b"score,label\nhigh,1\n", "wrong kind"),
        (b"", "no CSV"),
        (b"score,label\n0.5,1\n", "1 labelled answers"),
    ):
        with pytest.raises(Refused) as refused:
            asyncio.run(watch.adopt("credit", SPEC, "credit@1", data))
        assert said in f"{refused.value.message} {refused.value.hint}".replace("It needs", "needs")


def test_a_regression_and_several_classes_have_their_figures(rig: Rig) -> None:
    answers, labels = hour(0)
    write(rig, (answers, [msgspec.structs.replace(label, value=None, text="bad") for label in labels]))
    store = OneRecord(MONITOR, MonitorSpec(endpoint="credit", problem="multiclass", chunk="1h"))
    watch, _ = turn(store, rig, 2)
    measure = chunks(watch)[0].measure("accuracy")
    share = sum(row.prediction == "bad" for row in answers) / len(answers)
    assert measure is not None
    assert measure.realised == pytest.approx(share)
    rig.write(
        "facts",
        [msgspec.structs.replace(label, id=f"v{label.id}", name="amount", value=1.0) for label in labels],
    )
    store = OneRecord(
        MONITOR, MonitorSpec(endpoint="credit", problem="regression", label="amount", chunk="1h")
    )
    watch, _ = turn(store, rig, 2)
    measure = chunks(watch)[0].measure("mae")
    assert measure is not None
    assert measure.realised == pytest.approx(1.0 - np.mean([row.score for row in answers]))


def test_what_cannot_be_is_refused_at_its_path() -> None:
    spec = MonitorSpec(
        endpoint="nowhere",
        problem="regression",
        chunk="1s",
        labels_within="soon",
        metrics=("accuracy",),
        alarm=AlarmSpec(metric="f1"),
        costs=CostSpec(),
        slices=("no_column",),
    )
    found = {problem.path for problem in check_monitor(spec, Record(kind=MONITOR, name="m", spec={}), {})}
    assert found == {
        "spec.endpoint",
        "spec.chunk",
        "spec.labelsWithin",
        "spec.metrics[0]",
        "spec.alarm.metric",
        "spec.metrics",
        "spec.costs",
        "spec.slices[0]",
    }
