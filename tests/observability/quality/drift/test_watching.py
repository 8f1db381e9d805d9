"""A monitor over a real ledger: baseline, periods, alarms once each, what is told, what survives a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from andon.kernel.clock import SystemClock
from andon.kernel.errors import Refused
from andon.ledger.bodies import Body
from andon.observability.quality.drift.controller import (
    DriftController,
    MonitorFacts,
    changes,
    settle,
    status_of,
)
from andon.observability.quality.drift.kinds import check_monitor
from andon.observability.quality.drift.model import MONITOR, BaselineSpec, DriftMonitorSpec, MonitorStatus
from andon.observability.quality.drift.offline import compare_files, profile_bytes
from andon.observability.quality.drift.watching import DriftWatch
from andon.store.model import Record
from tests.ledger.conftest import InlineRunner
from tests.ledger.queries.rig import BASE_NS, SECOND_NS, Rig, outcome
from tests.observability.quality.one_record import OneRecord

HOUR_S = 3600
START_NS = BASE_NS // (HOUR_S * SECOND_NS) * HOUR_S * SECOND_NS + HOUR_S * SECOND_NS


@pytest.fixture
def rig(tmp_path: Path) -> Any:
    made = Rig(tmp_path)
    yield made
    made.engine.close()


def hour(number: int, shift: float, rows: int = 400) -> list[Any]:
    """One hour of answers whose scores come from Beta(2 + shift, 2)."""
    chance = np.random.default_rng(number)
    return [
        msgspec.structs.replace(
            outcome(0),
            id=f"h{number}-{place}",
            at_ns=START_NS + (number * HOUR_S + place * 9) * SECOND_NS,
            score=float(chance.beta(2.0 + shift, 2.0)),
            prediction="yes" if chance.random() < 0.5 else "no",
            request_bytes=int(chance.poisson(300)),
        )
        for place in range(rows)
    ]


class StandingClock(SystemClock):
    """A minute past an hour after the start."""

    def __init__(self, number: int) -> None:
        self._now_ns = START_NS + (number * HOUR_S + 60) * SECOND_NS

    def now_ns(self) -> int:  # type: ignore[override]  # a method here, a static one there
        return self._now_ns


def turn(store: OneRecord, engine: Any, folder: Path, now: int) -> tuple[DriftWatch, MonitorStatus]:
    """One turn of a freshly started observer, `now` hours after the start."""
    clock = StandingClock(now)

    async def main() -> DriftWatch:
        watch = DriftWatch(engine, InlineRunner(), clock, folder)
        controller = DriftController(store, clock, watch)  # type: ignore[arg-type]  # a store with one record
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


def test_a_drift_is_told_once_when_it_begins_and_once_when_it_ends(rig: Rig, tmp_path: Path) -> None:
    store = OneRecord(
        MONITOR, DriftMonitorSpec(endpoint="credit", columns=("score", "prediction", "request_bytes"))
    )
    folder = tmp_path / "drift"
    rig.write("rows", [row for number in (0, 1) for row in hour(number, 0.0)])
    _, status = turn(store, rig.engine, folder, 2)
    assert (status.state, status.rows) == ("stable", 400)
    assert status.baseline == "credit, 400 rows in 168 h"
    rig.write("rows", [row for number in (2, 3) for row in hour(number, 4.0)])
    watch, status = turn(store, rig.engine, folder, 3)
    assert (status.state, status.drifted, status.episode) == ("drift", ("score",), 1)
    (signal,) = watch.firing()
    assert (signal.name, signal.severity) == ("credit", "ticket")
    distances, alarms = watch.families()
    assert alarms.samples[0].value == 1.0
    assert {"psi", "js", "ks", "w1"} <= {dict(sample.labels)["statistic"] for sample in distances.samples}
    _, status = turn(store, rig.engine, folder, 4)
    assert status.state == "drift"
    rig.write("rows", hour(4, 0.0))
    watch, status = turn(store, rig.engine, folder, 5)
    assert (status.state, status.since_ns) == ("stable", 0)
    assert not watch.firing()
    assert [event.name for event in store.events] == ["drift.detected", "drift.cleared"]


def test_a_period_is_looked_at_once_and_too_few_rows_judge_nothing(rig: Rig, tmp_path: Path) -> None:
    store = OneRecord(MONITOR, DriftMonitorSpec(endpoint="credit"))
    rig.write("rows", [*hour(0, 0.0), *hour(1, 0.0, rows=20)])
    _, status = turn(store, rig.engine, tmp_path / "drift", 2)
    assert (status.state, status.message) == ("waiting", "20 of 300 rows")
    before = status.until_ns
    _, status = turn(store, rig.engine, tmp_path / "drift", 2)
    assert status.until_ns == before


def test_without_rows_there_is_no_baseline_and_it_is_said(rig: Rig, tmp_path: Path) -> None:
    store = OneRecord(MONITOR, DriftMonitorSpec(endpoint="credit"))
    rig.write("rows", hour(0, 0.0, rows=10))
    _, status = turn(store, rig.engine, tmp_path / "drift", 2)
    assert status.state == "no baseline"
    assert "fewer than 300 rows" in status.message
    by_hand = OneRecord(MONITOR, DriftMonitorSpec(endpoint="credit", baseline=BaselineSpec(automatic=False)))
    _, status = turn(by_hand, rig.engine, tmp_path / "drift", 2)
    assert "andon drift baseline" in status.message


def test_a_baseline_is_set_from_a_release_or_from_a_file_and_survives(rig: Rig, tmp_path: Path) -> None:
    spec = DriftMonitorSpec(endpoint="credit", columns=("score",))
    rig.write("rows", hour(0, 0.0))
    file = tmp_path / "good.csv"
    file.write_text("score\n" + "\n".join(str(value) for value in np.random.default_rng(0).beta(2, 2, 500)))

    async def main() -> None:
        watch = DriftWatch(rig.engine, InlineRunner(), StandingClock(1), tmp_path / "drift")
        made = await watch.baseline("credit", spec, "credit@1", "2h")
        assert made.origin == "credit@1, 400 rows in 2 h"
        assert made.columns[0].counts.errors.shape[0] == 3
        with pytest.raises(Refused, match="holds 0 rows"):
            await watch.baseline("credit", spec, "credit@9", "2h")
        taken = await watch.adopt("credit", profile_bytes(file, "score"))
        assert taken.rows == 500
        with pytest.raises(Refused):
            await watch.adopt("credit", b"nothing")

    asyncio.run(main())
    assert {path.name for path in (tmp_path / "drift").iterdir()} == {
        "credit.profile",
        "credit_credit_1.profile",
    }


def test_recorded_inputs_are_watched_by_their_tensors(rig: Rig, tmp_path: Path) -> None:
    def bodies(number: int, mean: float) -> list[Body]:
        chance = np.random.default_rng(number)
        return [
            Body(
                row.id,
                at_ns=row.at_ns,
                endpoint="credit",
                data=msgspec.json.encode(
                    {
                        "inputs": [
                            {
                                "name": "income",
                                "shape": [1],
                                "datatype": "FP64",
                                "data": [chance.normal(mean)],
                            },
                            {"name": "plan", "shape": [1], "datatype": "BYTES", "data": [names[number % 2]]},
                        ]
                    }
                ),
            )
            for row, names in zip(hour(number, 0.0), [["a", "b"]] * 400, strict=True)
        ]

    store = OneRecord(MONITOR, DriftMonitorSpec(endpoint="credit", source="bodies"))
    rig.write("rows", [*hour(0, 0.0), *hour(1, 0.0)])
    rig.write("bodies", [*bodies(0, 0.0), *bodies(1, 1.0)])
    watch, status = turn(store, rig.engine, tmp_path / "drift", 2)
    assert set(status.drifted) == {"income", "plan"}
    report = watch.looks["credit"].report
    assert report is not None
    assert next(one for one in report.columns if one.column == "plan").new == ("b",)
    assert all(one.impact is not None for one in report.columns)


def test_a_column_of_another_kind_is_told_in_the_status(rig: Rig, tmp_path: Path) -> None:
    store = OneRecord(MONITOR, DriftMonitorSpec(endpoint="credit", columns=("score",)))
    rig.write("rows", [*hour(0, 0.0), *hour(1, 0.0)])
    (tmp_path / "drift").mkdir()
    (tmp_path / "drift" / "credit.profile").write_bytes(b"broken")
    _, status = turn(store, rig.engine, tmp_path / "drift", 2)
    assert "no reference profile" in status.message


def test_a_period_that_was_not_judged_leaves_a_drift_standing() -> None:
    drifting = MonitorStatus(state="drift", since_ns=5, episode=1, drifted=("score",))
    record = Record(kind=MONITOR, name="credit", spec={"endpoint": "credit"})
    from andon.observability.quality.drift.watching import Looked

    looked = Looked(until_ns=9, baseline="b", message="too few")
    assert settle(drifting, looked).since_ns == 5
    assert changes(MonitorFacts(record=record, status=drifting, looked=looked)) == ()


def test_what_cannot_be_enforced_is_a_problem_of_the_file() -> None:
    spec = DriftMonitorSpec(
        endpoint="nowhere", period="soon", columns=("scores",), baseline=BaselineSpec(since="1s")
    )
    record = Record(kind=MONITOR, name="credit", spec={})
    paths = [problem.path for problem in check_monitor(spec, record, {})]
    assert paths == ["spec.endpoint", "spec.period", "spec.baseline.since", "spec.columns[0]"]
    fine = DriftMonitorSpec(endpoint="credit", columns=("score",))
    assert check_monitor(fine, record, {("Endpoint", "credit"): record}) == []


def test_files_are_compared_without_a_factory(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    for name, mean in (("a.csv", 0.0), ("b.csv", 1.0)):
        rows = "\n".join(
            f"{x},{p}" for x, p in zip(chance.normal(mean, 1, 900), chance.random(900), strict=True)
        )
        (tmp_path / name).write_text("x,p\n" + rows)
    report = compare_files(tmp_path / "a.csv", tmp_path / "b.csv", score="p")
    assert report["drifted"] == ("x",) or report["drifted"] == ["x"]
    profile = tmp_path / "a.profile"
    profile.write_bytes(profile_bytes(tmp_path / "a.csv"))
    assert compare_files(profile, tmp_path / "a.csv")["drifted"] in ((), [])
    with pytest.raises(Refused, match="no column"):
        compare_files(tmp_path / "a.csv", tmp_path / "b.csv", score="q")
    with pytest.raises(Refused, match="does not hold probabilities"):
        compare_files(tmp_path / "a.csv", tmp_path / "b.csv", score="x")
