"""Verbs that need no factory, and what is said when there is none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from andon.app.cli import main
from andon.app.cli.session import Session
from andon.app.cli.table import age, at_path, cell, paint, render_table
from andon.app.cli.traffic import address
from andon.kernel.errors import Refused


def test_init_writes_a_factory_file_that_parses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["init", str(tmp_path / "new")]) == 0
    documents = list(yaml.safe_load_all((tmp_path / "new" / "factory.yaml").read_text()))
    assert all(document["apiVersion"] == "andon/v1" for document in documents)
    assert ".andon/" in (tmp_path / "new" / ".gitignore").read_text()
    assert main.run(["init", str(tmp_path / "new")]) == 1
    assert "--force" in capsys.readouterr().err
    assert main.run(["init", "--force", str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / ".gitignore").read_text().count(".andon/") == 1


@pytest.mark.parametrize("words", [["status"], ["get", "widgets"], ["events"], ["keys", "list"]])
def test_without_a_factory_the_way_to_one_is_said(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["--home", str(tmp_path), *words]) == 1
    captured = capsys.readouterr()
    assert captured.err == f"Error: No factory is running in {tmp_path}.\nNext: Start it with: andon up\n"
    assert captured.out == ""


def test_a_factory_that_went_away_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".andon" / "run").mkdir(parents=True)
    (tmp_path / ".andon" / "run" / "control.json").write_text(json.dumps({"url": "http://127.0.0.1:9"}))
    (tmp_path / ".andon" / "admin.key").write_text("key")
    assert main.run(["--home", str(tmp_path), "status"]) == 1
    assert "andon up" in capsys.readouterr().err


def test_plan_without_a_file_says_how_to_get_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--home", str(tmp_path), "plan"]) == 1
    assert "andon init" in capsys.readouterr().err


def test_the_nearest_factory_above_is_meant(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "factory.yaml").write_text("")
    before = Path.cwd()
    os.chdir(inner)
    try:
        assert Session().home() == tmp_path
    finally:
        os.chdir(before)


def test_version_is_printed_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["version", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"]


@pytest.mark.parametrize(
    ("body", "path", "model"),
    [
        ({"inputs": []}, "/v2/models/credit/infer", None),
        ({"messages": []}, "/v1/chat/completions", "credit"),
        ({"prompt": ""}, "/v1/completions", "credit"),
        ({"input": ""}, "/v1/embeddings", "credit"),
    ],
)
def test_the_body_says_which_dialect(body: dict[str, object], path: str, model: str | None) -> None:
    got, sent = address("credit", dict(body))
    assert (got, sent.get("model")) == (path, model)


def test_a_body_in_no_dialect_is_refused() -> None:
    with pytest.raises(Refused, match="neither dialect"):
        address("credit", {"data": []})


@pytest.mark.parametrize("data", ["{", "[1]", "@/nowhere/at/all"])
def test_a_body_that_cannot_be_read_is_refused(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["--home", str(tmp_path), "invoke", "credit", "-d", data]) == 1
    assert capsys.readouterr().err.startswith("Error: ")


def test_tables_are_aligned_and_never_cut() -> None:
    text = render_table(("NAME", "N"), [["a", "1"], ["much-longer", "-"]])
    assert text == "NAME          N\na             1\nmuch-longer   -"


def test_colour_never_says_more_than_the_word() -> None:
    assert paint("Aborted", "Aborted", True) == "\x1b[31mAborted\x1b[0m"
    assert paint("Aborted", "Aborted", False) == "Aborted"
    assert "\x1b" not in render_table(("A",), [["Aborted"]])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0"),
        (0.0, "0"),
        (True, "true"),
        ([], "-"),
        (["a", "b"], "a,b"),
        ({"a": 1}, '{"a":1}'),
    ],
)
def test_unknown_never_looks_like_zero(value: object, text: str) -> None:
    assert cell(value) == text


def test_values_are_found_at_paths() -> None:
    value = {"spec": {"steps": [{"weight": 5}]}}
    assert at_path(value, "spec.steps.0.weight") == 5
    assert at_path(value, "spec.steps.9.weight") is None


@pytest.mark.parametrize(("seconds", "text"), [(-5, "0s"), (59, "59s"), (300, "5m"), (86400 * 3, "3d")])
def test_ages_are_short(seconds: float, text: str) -> None:
    assert age(seconds) == text
