"""`andon drift` on files: what a person reads, exit codes, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from andon.app.cli import main


@pytest.fixture
def files(tmp_path: Path) -> Path:
    chance = np.random.default_rng(2)
    for name, mean, plans in (("good.csv", 0.0, "ab"), ("same.csv", 0.0, "ab"), ("moved.csv", 1.0, "abc")):
        lines = [
            f"{x:.6f},{1 / (1 + np.exp(-x)):.6f},{plan}"
            for x, plan in zip(chance.normal(mean, 1, 900), chance.choice(list(plans), 900), strict=True)
        ]
        (tmp_path / name).write_text("income,score,plan\n" + "\n".join(lines) + "\n")
    return tmp_path


def test_files_that_differ_exit_with_2_and_say_what_is_new(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["drift", "compare", str(files / "good.csv"), str(files / "moved.csv"), "--score", "score"]
    assert main.run(words) == 2
    said = capsys.readouterr().out
    assert "900 rows against 900: 3 of 3 columns drifted" in said
    assert "plan has new categories: c" in said
    assert said.index("income") < said.index("plan")
    assert main.run(["-o", "json", *words]) == 2
    assert sorted(json.loads(capsys.readouterr().out)["drifted"]) == ["income", "plan", "score"]


def test_files_that_are_alike_exit_with_0(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["drift", "compare", str(files / "good.csv"), str(files / "same.csv")]) == 0
    assert "0 of 3 columns drifted" in capsys.readouterr().out


def test_what_cannot_be_compared_is_refused_in_words(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["drift", "compare", str(files / "none.csv"), str(files / "same.csv")]) == 1
    assert "cannot be read as a table" in capsys.readouterr().err
    both = [
        "--home",
        str(files),
        "drift",
        "baseline",
        "x",
        "--from",
        str(files / "good.csv"),
        "--release",
        "x@1",
    ]
    assert main.run(both) == 1
    assert "--from or --release" in capsys.readouterr().err
