"""Rules for Prometheus: Sloth's names, accepted and evaluated by promtool."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from andon.observability.objectives.model import AvailabilitySpec, IndicatorSpec, LatencySpec, ObjectiveSpec
from andon.observability.objectives.rules import rules_of

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is not installed")

OBJECTIVES = {
    "answers": ObjectiveSpec(
        indicator=IndicatorSpec(availability=AvailabilitySpec()),
        objective=0.999,
        period="30d",
        over={"endpoint": "credit"},
    ),
    "fast": ObjectiveSpec(
        indicator=IndicatorSpec(latency=LatencySpec(above="1s")),
        objective=0.9,
        service="chat",
        by=("release", "team"),
    ),
}


def test_names_and_labels_are_sloths() -> None:
    groups = rules_of(OBJECTIVES, "1.0")["groups"]
    assert [group["name"] for group in groups[:3]] == [
        "sloth-slo-sli-recordings-credit-answers",
        "sloth-slo-meta-recordings-credit-answers",
        "sloth-slo-alerts-credit-answers",
    ]
    recorded = [rule["record"] for group in groups[:2] for rule in group["rules"]]
    assert recorded == [
        *(f"slo:sli_error:ratio_rate{span}" for span in ("5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d")),
        "slo:objective:ratio",
        "slo:error_budget:ratio",
        "slo:time_period:days",
        "slo:current_burn_rate:ratio",
        "slo:period_burn_rate:ratio",
        "slo:period_error_budget_remaining:ratio",
        "sloth_slo_info",
    ]
    assert groups[0]["rules"][0]["labels"] == {
        "sloth_id": "credit-answers",
        "sloth_service": "credit",
        "sloth_slo": "answers",
        "sloth_window": "5m",
    }


def promtool(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run(
        [PROMTOOL, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )


@needs_promtool
def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules_of(OBJECTIVES, "1.0")))
    done = promtool(tmp_path, "check", "rules", "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


# A request a second, two of a hundred bad: a burn rate of 20 against a budget of 0.1 %. Then a slice that keeps its
# promise of 90 %, and one that does not.
SERIES = [
    {"series": f"andon_objective_{name}_total{{{labels}}}", "values": f"0+{step}x400"}
    for labels, events, bad in (
        ('objective="answers"', 6000, 120),
        ('objective="fast",release="a@1",team="x"', 600, 6),
        ('objective="fast",release="a@2",team="x"', 600, 570),
    )
    for name, step in (("events", events), ("bad", bad))
]
IDENTITY = 'sloth_id="credit-answers", sloth_service="credit", sloth_slo="answers"'
FAST = 'sloth_id="chat-fast", sloth_service="chat", sloth_slo="fast", sloth_window="1h"'
EXPECTED: list[tuple[str, list[tuple[str, float]]]] = [
    (
        'slo:sli_error:ratio_rate1h{sloth_slo="answers"}',
        [(f'slo:sli_error:ratio_rate1h{{{IDENTITY}, sloth_window="1h"}}', 0.02)],
    ),
    (
        'round(slo:current_burn_rate:ratio{sloth_slo="answers"}, 0.001)',
        [(f'{{{IDENTITY}, sloth_window="5m"}}', 20)],
    ),
    (
        'round(slo:period_error_budget_remaining:ratio{sloth_slo="answers"}, 0.001)',
        [(f'{{{IDENTITY}, sloth_window="30d"}}', -19)],
    ),
    (
        'slo:sli_error:ratio_rate1h{sloth_slo="fast", release="a@1"}',
        [(f'slo:sli_error:ratio_rate1h{{{FAST}, release="a@1", team="x"}}', 0.01)],
    ),
    (
        'count(ALERTS{objective="fast", alertstate="firing"}) by (release, sloth_severity)',
        [
            ('{release="a@2", sloth_severity="page"}', 1),
            ('{release="a@2", sloth_severity="ticket"}', 1),
        ],
    ),
    ('count(ALERTS{objective="answers", sloth_severity="page", alertstate="firing"})', [("{}", 1)]),
]


@needs_promtool
def test_promtool_evaluates_them_as_the_workbook_says(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules_of(OBJECTIVES, "1.0")))
    asked = [
        {
            "expr": expression,
            "eval_time": "6h",
            "exp_samples": [{"labels": labels, "value": value} for labels, value in samples],
        }
        for expression, samples in EXPECTED
    ]
    tests = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": SERIES, "promql_expr_test": asked}],
    }
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests))
    done = promtool(tmp_path, "test", "rules", "tests.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
