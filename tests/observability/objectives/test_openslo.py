"""OpenSLO in: what is taken exactly, and what is refused by name."""

from __future__ import annotations

import msgspec
import pytest

from andon.kernel.errors import Refused
from andon.observability.objectives.kinds import check_objective
from andon.observability.objectives.model import ObjectiveSpec
from andon.observability.objectives.openslo import convert, parse
from andon.store.model import Record

SLO = """
apiVersion: openslo/v1
kind: SLO
metadata: {name: credit-availability, displayName: Credit answers}
spec:
  description: 99.9 % of decisions are answered
  service: credit
  indicatorRef: answered
  timeWindow: [{duration: 4w, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{displayName: good, target: 0.999}]
  alertPolicies: [{alertPolicyRef: fast}]
---
apiVersion: openslo/v1
kind: SLI
metadata: {name: answered}
spec:
  ratioMetric:
    counter: true
    bad: {metricSource: {type: andon, spec: {where: [{column: status, op: ge, value: 500}]}}}
    total: {metricSource: {type: andon, spec: {over: {endpoint: credit}}}}
---
apiVersion: openslo/v1
kind: AlertPolicy
metadata: {name: fast}
spec:
  alertWhenNoData: false
  conditions:
    - kind: AlertCondition
      metadata: {name: burns}
      spec:
        severity: page
        condition: {kind: burnrate, op: gte, threshold: 2, lookbackWindow: 1h, alertAfter: 5m}
  notificationTargets: [{targetRef: on-call}]
"""


def test_a_ratio_of_our_own_rows_becomes_an_objective() -> None:
    converted = convert(parse(SLO))
    (document,) = converted.documents
    assert document["metadata"] == {"name": "credit-availability"}
    assert document["spec"] == {
        "description": "99.9 % of decisions are answered",
        "service": "credit",
        "over": {"endpoint": "credit"},
        "indicator": {"raw": {"bad": {"all": [{"column": "status", "op": "ge", "value": 500}]}}},
        "objective": 0.999,
        "period": "28d",
        "alerting": {
            "windows": [{"severity": "page", "long": "1h", "short": "1h", "burn": 2.0, "after": "5m"}]
        },
    }
    assert "notificationTargets" in converted.notes[0]
    spec = msgspec.convert(document["spec"], ObjectiveSpec)
    record = Record(kind="Objective", name="o", spec={})
    world = {("Endpoint", "credit"): Record(kind="Endpoint", name="credit", spec={})}
    assert not check_objective(spec, record, world)


def test_a_threshold_says_which_side_is_good() -> None:
    text = """
apiVersion: openslo/v1
kind: SLO
metadata: {name: fast}
spec:
  service: chat
  indicator:
    metadata: {name: i}
    spec: {thresholdMetric: {metricSource: {type: andon, spec: {column: first_byte_us, over: {endpoint: chat}}}}}
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{op: lte, value: 400000, targetPercent: 99}, {op: lt, value: 200000, target: 0.9}]
"""
    first, second = convert(parse(text)).documents
    assert [first["metadata"]["name"], second["metadata"]["name"]] == ["fast-1", "fast-2"]
    assert first["spec"]["objective"] == 0.99
    raw = first["spec"]["indicator"]["raw"]
    assert raw["bad"]["all"] == [{"column": "first_byte_us", "op": "gt", "value": 400000}]
    assert raw["total"]["all"] == [{"column": "first_byte_us", "op": "present"}]
    assert second["spec"]["indicator"]["raw"]["bad"]["all"][0]["op"] == "ge"


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("Occurrences", "Timeslices", "budgetingMethod Timeslices cannot be enforced"),
        ("type: andon, spec: {over", "type: Prometheus, spec: {over", "type 'Prometheus' cannot be enforced"),
        ("target: 0.999", "target: 0.999, timeSliceTarget: 0.9", "timeSliceTarget cannot be enforced"),
        ("duration: 4w, isRolling: true", "duration: 1Q, isRolling: true", "'1Q' cannot be enforced"),
        (
            "{duration: 4w, isRolling: true}",
            "{duration: 1M, isRolling: false, calendar: {startTime: 2026-01-01 00:00:00, timeZone: Asia/Tokyo}}",
            "a calendar window can be enforced only",
        ),
        ("indicatorRef: answered", "indicatorRef: other", "'other' is in no document"),
        ("kind: burnrate", "kind: anomaly", "only a burnrate"),
        ("target: 0.999}", "target: 1.0}", "between 0 and 1"),
        ("openslo/v1\nkind: SLI", "openslo/v2\nkind: SLI", "openslo/v1 is accepted"),
        ("alertPolicyRef: fast", "alertPolicyRef: slow", "'slow' is in no document"),
    ],
)
def test_what_cannot_be_enforced_is_named(before: str, after: str, why: str) -> None:
    assert before in SLO
    with pytest.raises(Refused) as refusal:
        convert(parse(SLO.replace(before, after)))
    assert refusal.value.code == "openslo_refused"
    assert why in refusal.value.message


def test_a_calendar_month_in_utc_is_taken() -> None:
    month = "{duration: 1M, calendar: {startTime: 2026-01-01 00:00:00, timeZone: UTC}}"
    (document,) = convert(parse(SLO.replace("{duration: 4w, isRolling: true}", month))).documents
    assert document["spec"]["period"] == "month"


@pytest.mark.parametrize("text", ["a: [", "- 1", "apiVersion: openslo/v1\nkind: SLO\nspec: 3", ""])
def test_what_is_no_openslo_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        convert(parse(text))
