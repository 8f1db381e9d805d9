"""Rules for Prometheus: Sloth's names, accepted and evaluated by promtool."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

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


@needs_promtool
def test_promtool_evaluates_them_as_the_workbook_says(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules_of(OBJECTIVES, "1.0")))
    good = {"objective": "answers"}
    series = [
        # A request a second, two of a hundred bad: a burn rate of 20 against a budget of 0.1 %.
        {"series": 'andon_objective_events_total{objective="answers"}', "values": "0+6000x400"},
        {"series": 'andon_objective_bad_total{objective="answers"}', "values": "0+120x400"},
        # A slice that keeps its promise, and one that does not.
        {
            "series": 'andon_objective_events_total{objective="fast",release="a@1",team="x"}',
            "values": "0+600x400",
        },
        {"series": 'andon_objective_bad_total{objective="fast",release="a@1",team="x"}', "values": "0+6x400"},
        {
            "series": 'andon_objective_events_total{objective="fast",release="a@2",team="x"}',
            "values": "0+600x400",
        },
        {
            "series": 'andon_objective_bad_total{objective="fast",release="a@2",team="x"}',
            "values": "0+570x400",
        },
    ]
    identity = '{sloth_id="credit-answers", sloth_service="credit", sloth_slo="answers"'
    paged: dict[str, Any] = {"exp_labels": {**good, "sloth_severity": "page"}}
    del paged["exp_labels"]["objective"]
    tests = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": series,
                "promql_expr_test": [
                    {
                        "expr": f'slo:sli_error:ratio_rate1h{identity}, sloth_window="1h"}}',
                        "eval_time": "6h",
                        "exp_samples": [
                            {
                                "labels": f'slo:sli_error:ratio_rate1h{identity}, sloth_window="1h"}}',
                                "value": 0.02,
                            }
                        ],
                    },
                    {
                        "expr": "round(slo:current_burn_rate:ratio{sloth_slo='answers'}, 0.001)",
                        "eval_time": "6h",
                        "exp_samples": [{"labels": f'{identity}, sloth_window="5m"}}', "value": 20}],
                    },
                    {
                        "expr": "round(slo:period_error_budget_remaining:ratio{sloth_slo='answers'}, 0.001)",
                        "eval_time": "6h",
                        "exp_samples": [{"labels": f'{identity}, sloth_window="30d"}}', "value": -19}],
                    },
                    {
                        "expr": "slo:sli_error:ratio_rate1h{sloth_slo='fast',release='a@1'}",
                        "eval_time": "6h",
                        "exp_samples": [
                            {
                                "labels": 'slo:sli_error:ratio_rate1h{sloth_id="chat-fast", sloth_service="chat", '
                                'sloth_slo="fast", sloth_window="1h", release="a@1", team="x"}',
                                "value": 0.01,
                            }
                        ],
                    },
                    {
                        "expr": "count(ALERTS{alertname='AndonObjectiveBurns',objective='fast',alertstate='firing'}) "
                        "by (release, sloth_severity)",
                        "eval_time": "6h",
                        "exp_samples": [
                            {"labels": '{release="a@2", sloth_severity="page"}', "value": 1},
                            {"labels": '{release="a@2", sloth_severity="ticket"}', "value": 1},
                        ],
                    },
                    {
                        "expr": "count(ALERTS{objective='answers',sloth_severity='page',alertstate='firing'})",
                        "eval_time": "6h",
                        "exp_samples": [{"labels": "{}", "value": 1}],
                    },
                ],
            }
        ],
    }
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests))
    done = promtool(tmp_path, "test", "rules", "tests.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
