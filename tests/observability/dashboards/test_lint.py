"""The linter: each rule has a board that breaks it, and a good board breaks none."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.observability.dashboards.lint import RULES, lint

SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def variable(name: str) -> dict[str, Any]:
    return {
        "type": "query",
        "name": name,
        "label": name,
        "datasource": SOURCE,
        "query": f'label_values({{__name__=~"andon_.+"}}, {name})',
        "refresh": 2,
        "multi": True,
        "allValue": ".+",
    }


GOOD: dict[str, Any] = {
    "uid": "a-board",
    "id": None,
    "title": "A board",
    "editable": False,
    "schemaVersion": 39,
    "templating": {
        "list": [
            {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"},
            variable("job"),
            variable("instance"),
        ]
    },
    "panels": [
        {"type": "row", "id": 1, "title": "Row", "panels": []},
        {
            "type": "timeseries",
            "id": 2,
            "title": "Requests",
            "description": "How many.",
            "datasource": SOURCE,
            "fieldConfig": {"defaults": {"unit": "reqps"}},
            "targets": [
                {
                    "refId": "A",
                    "datasource": SOURCE,
                    "expr": 'sum by (endpoint) (rate(andon_requests_total{job=~"$job", instance=~"$instance"}'
                    "[$__rate_interval]))",
                }
            ],
        },
    ],
}


def panel(board: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = board["panels"][1]
    return found


def expr(text: str) -> Callable[[dict[str, Any]], None]:
    def breaks(board: dict[str, Any]) -> None:
        panel(board)["targets"][0]["expr"] = text

    return breaks


def into(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def breaks(board: dict[str, Any]) -> None:
        place: Any = board
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return breaks


SCOPE = 'job=~"$job", instance=~"$instance"'
VARIABLES = ("templating", "list")
BAD: list[tuple[str, Callable[[dict[str, Any]], None]]] = [
    ("template-datasource-rule", into(*VARIABLES, 0, "type", value="custom")),
    ("template-datasource-rule", into(*VARIABLES, 0, "query", value="loki")),
    ("template-datasource-rule", into(*VARIABLES, 0, "name", value="ds")),
    ("template-datasource-rule", into(*VARIABLES, 0, "label", value="Source")),
    ("template-job-rule", into(*VARIABLES, 1, "name", value="jobs")),
    ("template-job-rule", into(*VARIABLES, 1, "multi", value=False)),
    ("template-job-rule", into(*VARIABLES, 1, "allValue", value=".*")),
    ("template-job-rule", into(*VARIABLES, 1, "datasource", value={"uid": "fixed"})),
    ("template-instance-rule", into(*VARIABLES, 2, "label", value="host")),
    ("template-instance-rule", into(*VARIABLES, 2, "type", value="custom")),
    ("template-label-promql-rule", into(*VARIABLES, 1, "query", value="label_values(up{, job)")),
    ("template-label-promql-rule", into(*VARIABLES, 1, "query", value="values(up, job)")),
    ("template-label-promql-rule", into(*VARIABLES, 1, "query", value="up")),
    ("template-on-time-change-reload-rule", into(*VARIABLES, 1, "refresh", value=1)),
    ("panel-datasource-rule", into("panels", 1, "datasource", value={"uid": "fixed"})),
    ("panel-datasource-rule", into("panels", 1, "targets", 0, "datasource", value="Prometheus")),
    ("panel-title-description-rule", into("panels", 1, "title", value="")),
    ("panel-title-description-rule", into("panels", 1, "description", value="")),
    ("panel-units-rule", into("panels", 1, "fieldConfig", value={})),
    ("panel-units-rule", into("panels", 1, "fieldConfig", "defaults", "unit", value="furlong")),
    ("panel-no-targets-rule", into("panels", 1, "targets", value=[])),
    ("target-promql-rule", expr(f"sum(rate(x_total{{{SCOPE}}}[$__rate_interval])")),
    ("target-promql-rule", expr("")),
    ("target-rate-interval-rule", expr(f"sum(rate(x_total{{{SCOPE}}}[5m]))")),
    ("target-job-rule", expr('sum(up{instance=~"$instance"})')),
    ("target-job-rule", expr('sum(up{job="andon", instance=~"$instance"})')),
    ("target-instance-rule", expr('sum(up{job=~"$job"})')),
    ("target-counter-agg-rule", expr(f"sum(x_total{{{SCOPE}}})")),
    ("target-counter-agg-rule", expr(f"sum(max_over_time(x_total{{{SCOPE}}}[$__rate_interval]))")),
    ("uneditable-dashboard", into("editable", value=True)),
    ("board-identity", into("uid", value="u" * 41)),
    ("board-identity", into("id", value=3)),
    ("board-identity", into("schemaVersion", value=22)),
    ("board-identity", into("panels", 0, "id", value=2)),
    ("no-inputs", into("__inputs", value=[])),
    ("no-angular", into("panels", 1, "type", value="graph")),
]


KEYS = (
    "panels", "targets", "templating", "list", "datasource", "fieldConfig", "defaults", "options", "reduceOptions",
    "type", "uid", "id", "schemaVersion", "query", "expr", "unit", "title",
)  # fmt: skip


def test_a_good_board_breaks_no_rule() -> None:
    assert lint(GOOD) == ()


@pytest.mark.parametrize(("rule", "breaks"), BAD, ids=[f"{rule}-{n}" for n, (rule, _) in enumerate(BAD)])
def test_a_bad_board_breaks_just_that_rule(rule: str, breaks: Callable[[dict[str, Any]], None]) -> None:
    board = copy.deepcopy(GOOD)
    breaks(board)
    assert {finding.rule for finding in lint(board)} == {rule}


def test_every_rule_has_a_board_that_breaks_it() -> None:
    assert {rule for rule, _ in BAD} == set(RULES)


def test_panels_inside_collapsed_rows_are_judged_too() -> None:
    board = copy.deepcopy(GOOD)
    inner = board["panels"].pop(1)
    inner["description"] = ""
    board["panels"][0]["panels"] = [inner]
    (finding,) = lint(board)
    assert str(finding) == "panel-title-description-rule: A board / Requests: has no description"


def test_a_panel_of_words_needs_no_unit() -> None:
    board = copy.deepcopy(GOOD)
    panel(board)["fieldConfig"] = {"defaults": {"mappings": [{"type": "value"}]}}
    assert lint(board) == ()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=25,
)


@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=8))
def test_boards_of_any_shape_are_judged(document: dict[str, Any]) -> None:
    assert all(finding.rule in RULES for finding in lint(document))
