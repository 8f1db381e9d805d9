"""The boards that Andon ships: they keep every rule, import with no edits, and the typed model reads them back."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

pytest.importorskip("grafana_foundation_sdk")

from grafana_foundation_sdk.builders import prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from andon.observability.dashboards.boards import BOARDS
from andon.observability.dashboards.grafana import encode, render
from andon.observability.dashboards.lint import lint, panels_of, targets_of
from andon.observability.dashboards.model import WIDTH, Board
from benchmarks.dashboards import settled

PROMTOOL = shutil.which("promtool")
EACH = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)


@EACH
def test_no_rule_is_broken(board: Board) -> None:
    assert lint(render(board)) == ()


@EACH
def test_it_imports_with_no_edits(board: Board) -> None:
    document = render(board)
    assert document["uid"] == board.uid
    assert document["id"] is None
    assert document["schemaVersion"] == 39
    assert document["templating"]["list"][0] == {
        "type": "datasource", "query": "prometheus", "name": "datasource", "label": "Data source",
        "hide": 0, "skipUrlSync": False, "multi": False, "includeAll": False,
    }  # fmt: skip
    sources = {
        json.dumps(part["datasource"], sort_keys=True)
        for panel in panels_of(document)
        for part in (panel, *panel["targets"])
    }
    assert sources == {'{"type": "prometheus", "uid": "${datasource}"}'}
    assert "__inputs" not in encode(document).decode()


@EACH
def test_the_typed_model_reads_it_back(board: Board) -> None:
    document = json.loads(encode(render(board)))
    prometheus.Dataquery()  # both make themselves known to the model
    timeseries.Panel()
    again = json.loads(json.dumps(Dashboard.from_json(document), cls=JSONEncoder))
    for part in ("uid", "title", "schemaVersion", "editable", "tags", "time", "refresh"):
        assert again[part] == document[part]
    assert [panel.get("targets") for panel in panels_of(again)] == [
        panel["targets"] for panel in panels_of(document)
    ]
    assert [panel["gridPos"] for panel in again["panels"]] == [
        panel["gridPos"] for panel in document["panels"]
    ]


@EACH
def test_panels_lie_beside_each_other(board: Board) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in render(board)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= WIDTH
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells


def test_uids_and_titles_differ() -> None:
    assert len({board.uid for board in BOARDS}) == len({board.title for board in BOARDS}) == len(BOARDS)
    for board in BOARDS:
        titles = [panel.title for panel in board.panels]
        assert len(set(titles)) == len(titles)


@pytest.mark.prometheus
@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is not installed")
def test_promtool_reads_every_expression(tmp_path: Path) -> None:
    expressions = [expr for board in BOARDS for _, expr in targets_of(render(board))]
    rules = [{"record": f"q:{number}", "expr": settled(expr)} for number, expr in enumerate(expressions)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        [str(PROMTOOL), "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.prometheus
@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is not installed")
def test_a_share_without_any_bad_event_is_zero_and_a_host_without_gpu_says_so(tmp_path: Path) -> None:
    board = {board.uid: render(board) for board in BOARDS}
    wanted = {
        place: settled(expr)
        for name in ("andon-service", "andon-gpu")
        for place, expr in targets_of(board[name])
    }
    labels = 'job="andon",instance="a"'
    tests = {
        "evaluation_interval": "5s",
        "tests": [
            {
                "interval": "5s",
                "input_series": [
                    {
                        "series": f'andon_requests_total{{{labels},status_class="2xx",endpoint="e"}}',
                        "values": "0+5x20",
                    },
                    {"series": f"andon_gpus{{{labels}}}", "values": "0x20"},
                ],
                "promql_expr_test": [
                    {
                        "expr": wanted["Server errors A"],
                        "eval_time": "60s",
                        "exp_samples": [{"labels": "{}", "value": 0}],
                    },
                    {
                        "expr": wanted["Utilisation A"],
                        "eval_time": "60s",
                        "exp_samples": [{"labels": '{hw_name="no GPU"}', "value": 0}],
                    },
                ],
            }
        ],
    }
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump(tests))
    done = subprocess.run(
        [str(PROMTOOL), "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
