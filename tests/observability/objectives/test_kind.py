"""The kind: what `plan` refuses, with its place."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from andon.observability.objectives.kinds import check_objective
from andon.observability.objectives.model import ObjectiveSpec
from andon.store.model import Record

GOOD: dict[str, Any] = {
    "over": {"endpoint": "credit"},
    "by": ["release"],
    "indicator": {"latency": {"above": "800ms"}},
    "objective": 0.99,
}
WORLD = {("Endpoint", "credit"): Record(kind="Endpoint", name="credit", spec={})}


def faults(**changed: Any) -> list[str]:
    spec = msgspec.convert(GOOD | changed, ObjectiveSpec)
    return [
        problem.path for problem in check_objective(spec, Record(kind="Objective", name="o", spec={}), WORLD)
    ]


def test_a_sound_objective_has_no_fault() -> None:
    assert not faults()


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"over": {"endpoint": "other"}}, "spec.over.endpoint"),
        ({"by": ["release", "release"]}, "spec.by"),
        ({"indicator": {}}, "spec.indicator"),
        ({"indicator": {"latency": {"above": "1s"}, "availability": {}}}, "spec.indicator"),
        ({"indicator": {"latency": {"above": "soon"}}}, "spec.indicator.latency.above"),
        ({"indicator": {"guard": {}}}, "spec.indicator.guard"),
        ({"indicator": {"raw": {}}}, "spec.indicator.raw"),
        (
            {"indicator": {"raw": {"bad": {"all": [{"column": "drop table", "value": 1}]}}}},
            "spec.indicator.raw.bad.all[0]",
        ),
        (
            {"indicator": {"raw": {"bad": {"all": [{"column": "status", "value": "x"}]}}}},
            "spec.indicator.raw.bad.all[0]",
        ),
        ({"period": "200d"}, "spec.period"),
        ({"alerting": {"windows": [{"long": "1h", "burn": 1000}]}}, "spec.alerting.windows[0].burn"),
        ({"alerting": {"absolute": {"bad": 5, "window": "2d"}}}, "spec.alerting.absolute.window"),
    ],
)
def test_what_cannot_be_enforced_is_refused(changed: dict[str, Any], path: str) -> None:
    assert path in faults(**changed)


@pytest.mark.parametrize("changed", [{"objective": 1.0}, {"over": {"password": "x"}}, {"slo": 1}])
def test_what_the_schema_says_is_refused_when_read(changed: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(GOOD | changed, ObjectiveSpec)
