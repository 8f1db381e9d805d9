"""The words of the command line: every help text is agreed, and the first one comes fast."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from andon.app.cli.main import build, hoist, run

GOLDEN = Path(__file__).parent / "golden"


def commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [()]
    group = typer.main.get_command(build())
    for name, command in group.commands.items():
        found.append((name,))
        found += [(name, inner) for inner in getattr(command, "commands", {})]
    return found


@pytest.mark.parametrize("words", commands(), ids=lambda words: "-".join(words) or "andon")
def test_help_is_as_agreed(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--help"]) == 0
    text = capsys.readouterr().out
    golden = GOLDEN / f"{'-'.join(words) or 'andon'}.txt"
    if os.environ.get("ACCEPT"):
        golden.write_text(text)
    assert text == golden.read_text(), "the help changed; ACCEPT=1 rewrites the golden files"


def test_no_golden_file_outlives_its_command() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {
        "-".join(words) or "andon" for words in commands()
    }


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from andon.app.cli.main import run; run(['--help']);"
        "heavy = {'rich', 'sqlalchemy', 'alembic', 'starlette', 'uvicorn', 'yaml', 'asyncio', 'msgspec', 'structlog'};"
        "sys.exit(','.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["get", "x", "-o", "json"], ["-o", "json", "get", "x"]),
        (["get", "x", "--output=json"], ["--output=json", "get", "x"]),
        (["plan", "-o", "file"], ["plan", "-o", "file"]),
        (["plan", "-o", "json"], ["-o", "json", "plan"]),
        (["get", "--home", "h", "--no-color", "x"], ["--home", "h", "--no-color", "get", "x"]),
        (["get", "--", "-o", "json"], ["get", "--", "-o", "json"]),
        (["get", "-o"], ["get", "-o"]),
    ],
)
def test_global_options_may_stand_anywhere(words: list[str], expected: list[str]) -> None:
    assert hoist(words) == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plam"], "Error: No such command 'plam'"),
        (["get"], "Error: Missing argument 'kind'"),
        (["get", "x", "-o", "xml"], "Error: 'xml' is not an output format.\nNext: Use one of: table, wide"),
        (["events", "--limit", "0"], "Error: Invalid value for '--limit'"),
    ],
)
def test_wrong_usage_says_what_to_do(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(said)
    assert "Next: " in captured.err
    assert captured.out == ""
