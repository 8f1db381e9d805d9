"""The verbs of dashboards: written, checked, judged and made from a view, without any factory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

pytest.importorskip("grafana_foundation_sdk")

from andon.app.cli import main

VIEW = """
name: credit
title: Credit
panels:
  - {title: Requests, metric: andon_requests_total, by: [release], unit: reqps}
  - {title: P95, metric: andon_overhead_seconds, quantile: 0.95, unit: s}
"""


def test_boards_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["dashboards", "list", "-o", "name"]) == 0
    names = capsys.readouterr().out.split()
    for name in ("service", "models", "llm", "gpu", "objectives", "quality", "cost", "business"):
        assert f"andon-{name}" in names


def test_what_is_exported_is_what_grafana_provisions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "grafana"
    words = ["dashboards", "export", str(folder), "--path", "/boards", "--scrape", "andon=10.0.0.5:8793"]
    assert main.run(words) == 0
    assert capsys.readouterr().out.endswith(f"written to {folder}.\n")
    (provider,) = yaml.safe_load((folder / "provisioning/dashboards/andon.yaml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"] == {"path": "/boards", "foldersFromFilesStructure": True}
    (source,) = yaml.safe_load((folder / "provisioning/datasources/andon.yaml").read_text())["datasources"]
    assert (source["uid"], source["type"]) == ("andon-prometheus", "prometheus")
    jobs = yaml.safe_load((folder / "prometheus/andon.yml").read_text())["scrape_configs"]
    assert [(job["job_name"], job["static_configs"][0]["targets"]) for job in jobs] == [
        ("andon", ["10.0.0.5:8793"]),
        ("andon-gateway", ["127.0.0.1:8792"]),
    ]
    boards = sorted((folder / "dashboards/Andon").glob("*.json"))
    assert [json.loads(board.read_text())["uid"] for board in boards] == [board.stem for board in boards]
    assert main.run([*words, "--check"]) == 0
    assert main.run(["dashboards", "lint", *map(str, boards)]) == 0
    boards[0].write_text("{}")
    capsys.readouterr()
    assert main.run([*words, "--check"]) == 1
    assert f"1 files are missing or old: dashboards/Andon/{boards[0].name}" in capsys.readouterr().err
    assert main.run(["dashboards", "lint", str(boards[0])]) == 1
    assert "board-identity" in capsys.readouterr().err


def test_an_unknown_job_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["dashboards", "export", "x", "--scrape", "other=a:1"]) == 1
    assert "'other=a:1'" in capsys.readouterr().err


def test_a_view_becomes_a_board(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    view, out = tmp_path / "view.yaml", tmp_path / "board.json"
    view.write_text(VIEW)
    assert main.run(["dashboards", "build", str(view)]) == 0
    said = capsys.readouterr()
    assert (json.loads(said.out)["uid"], said.err) == ("andon-view-credit", "")
    assert main.run(["dashboards", "build", str(view), "--out", str(out)]) == 0
    assert out.read_text() == said.out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "is not YAML"),
        ("name: credit\ntitle: x\npanels: []", "$.panels"),
        (VIEW.replace("unit: s", "units: s"), "units"),
        (VIEW.replace("0.95", "95"), "$.panels[1].quantile"),
        (VIEW.replace("unit: s", "unit: furlong"), "furlong"),
    ],
)
def test_what_is_wrong_with_a_view_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    view = tmp_path / "view.yaml"
    view.write_text(text)
    assert main.run(["dashboards", "build", str(view)]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_files_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["dashboards", "lint", str(tmp_path / "none.json")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    (tmp_path / "bad.json").write_text("{")
    assert main.run(["dashboards", "lint", str(tmp_path / "bad.json")]) == 1
    assert "is not JSON" in capsys.readouterr().err
