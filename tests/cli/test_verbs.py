"""The command line against a real server with the real factory on SQLite."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from andon.app.cli import main
from tests.web.house import serving

GOLDEN = Path(__file__).parent / "golden" / "output"
FILE = """\
apiVersion: andon/v1
kind: Widget
metadata: {name: door, labels: {room: hall}}
spec: {size: 3}
---
apiVersion: andon/v1
kind: Widget
metadata: {name: window}
"""


@dataclass
class Shell:
    home: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *words: str, code: int = 0) -> tuple[str, str]:
        got = main.run(["--home", str(self.home), *words])
        out, err = self.capsys.readouterr()
        assert got == code, (out, err)
        return out, err

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "-o", "json", code=code)[0])

    def apply(self, text: str = FILE) -> None:
        (self.home / "factory.yaml").write_text(text)
        self("apply", "--yes", "-m", "why")


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    with serving(tmp_path):
        yield Shell(tmp_path, capsys)


def agreed(name: str, text: str) -> None:
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("ACCEPT"):
        GOLDEN.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text(), "the output changed; ACCEPT=1 rewrites the golden file"


def test_plan_apply_get_undo(shell: Shell) -> None:
    (shell.home / "factory.yaml").write_text(FILE)
    out, _ = shell("plan", code=2)
    agreed("plan-create", out)
    out, err = shell("apply", "--yes")
    assert out == "Applied as revision 1.\n"
    assert "Plan: 2 to create, 0 to change, 0 to destroy." in err
    assert shell("plan")[0] == "No changes. The factory is what the files say.\n"
    shell.apply(FILE.replace("size: 3", "size: 4").partition("---")[0])
    assert shell.json("get", "widgets")["items"][0]["spec"]["size"] == 4
    assert shell("diff")[0] == (
        "Revision 1 -> 2\n\n~ Widget/door will be changed\n    ~ spec.size = 3 -> 4\n\n"
        "- Widget/window will be destroyed\n"
    )
    assert shell("undo", "--to", "1", "--yes")[0] == "Applied as revision 3.\n"
    assert shell("get", "wi", "-o", "name")[0] == "door\nwindow\n"
    assert [item["number"] for item in shell.json("history")["items"]] == [3, 2, 1]


def test_a_saved_plan_is_applied_exactly_or_refused(shell: Shell, tmp_path: Path) -> None:
    (shell.home / "factory.yaml").write_text(FILE)
    first, second = tmp_path / "first.plan", tmp_path / "second.plan"
    shell("plan", "-o", str(first), code=2)
    shell("plan", "--out", str(second), code=2)
    assert shell("apply", str(first))[0] == "Applied as revision 1.\n"
    _, err = shell("apply", str(second), code=1)
    assert "Error: The world has moved since the plan" in err
    assert "Next: Plan again." in err
    second.write_text(second.read_text().replace('"door"', '"gate"'))
    assert "not what was saved" in shell("apply", str(second), code=1)[1]


def test_a_plan_is_json_for_scripts(shell: Shell) -> None:
    (shell.home / "factory.yaml").write_text(FILE)
    for words in (("plan", "--json"), ("plan", "-o", "json"), ("-o", "json", "plan")):
        assert [action["verb"] for action in json.loads(shell(*words, code=2)[0])["actions"]] == [
            "create",
            "create",
        ]


def test_nothing_is_applied_that_nobody_confirmed(shell: Shell) -> None:
    (shell.home / "factory.yaml").write_text(FILE)
    _, err = shell("apply", code=1)
    assert "Nobody is at the terminal" in err
    assert shell("get", "widgets")[0] == "Nothing here.\n"


def test_wrong_files_are_told_by_line(shell: Shell) -> None:
    wrong = FILE.replace("size", "sise").replace("Widget\nmetadata: {name: w", "Wid\nmetadata: {name: w")
    (shell.home / "factory.yaml").write_text(wrong)
    _, err = shell("plan", code=1)
    assert err.startswith("Error: 2 things are wrong.\n")
    assert "factory.yaml:4: spec.sise" in err
    assert "factory.yaml:7: kind" in err


def test_a_check_that_fails_names_the_line(shell: Shell) -> None:
    (shell.home / "factory.yaml").write_text(FILE.replace("size: 3", "size: 13"))
    _, err = shell("plan", code=1)
    assert "factory.yaml:4: spec.size: 13 cannot be enforced" in err


def test_get_prints_the_columns_of_the_kind(shell: Shell) -> None:
    shell.apply()
    out, _ = shell("get", "widgets")
    lines = out.splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "PHASE", "AGE"]
    assert lines[1].split()[:3] == ["door", "3", "-"]
    wide = shell("get", "widget", "door", "-o", "wide")[0].splitlines()
    assert wide[0].split()[-3:] == ["GENERATION", "OWNER", "LABELS"]
    assert wide[1].split()[-1] == "room=hall"
    assert yaml.safe_load(shell("get", "wi", "door", "-o", "yaml")[0])["metadata"]["name"] == "door"
    agreed("get-kinds", shell("get", "kinds")[0])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("get", "wigdets"), "Error: There is no kind 'wigdets'.\nNext: Did you mean 'widgets'?"),
        (("get", "widgets", "dor"), "Error: There is no Widget 'dor'.\nNext: Did you mean 'door'?"),
        (("describe", "widgets", "xyz"), "Error: There is no Widget 'xyz'.\nNext: andon get Widget lists"),
        (("explain", "widget.sise"), "Error: Widget has no field 'sise'.\nNext: Did you mean size?"),
        (("abort", "nothing"), "Error: There is no Rollout 'nothing'."),
        (("undo", "--to", "99", "--yes"), "Error: There is no revision 99."),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(shell: Shell, words: tuple[str, ...], said: str) -> None:
    shell.apply()
    out, err = shell(*words, code=1)
    assert out == ""
    assert err.startswith(said)


def test_describe_ends_with_what_happened(shell: Shell) -> None:
    shell.apply()
    out, _ = shell("describe", "widget", "door")
    assert out.index("Spec:") < out.index("Status:") < out.index("Events:")
    assert "resource.created" in out
    assert shell.json("describe", "widget", "door")["events"][0]["name"] == "resource.created"


def test_explain_says_what_fields_mean(shell: Shell) -> None:
    agreed("explain-widget", shell("explain", "widget")[0])
    agreed("explain-field", shell("explain", "Widget.spec.size")[0])


def test_explain_rollout_prints_the_verdicts(shell: Shell) -> None:
    agreed("explain-rollout", shell("explain", "rollout", "credit-3")[0])
    assert shell.json("explain", "rollout", "credit-3")["readings"][0]["evidence"] == 412.3


def test_release_verbs_say_what_they_did(shell: Shell) -> None:
    assert shell("abort", "credit-3", "--reason", "no")[0] == "Aborting credit-3 (Aborting)\n"
    assert shell("promote", "credit-3")[0] == "Promoting credit-3 (Progressing)\n"
    assert "not paused" in shell("resume", "credit-3", code=1)[1]


def test_events_are_listed(shell: Shell) -> None:
    shell.apply()
    out, _ = shell("events")
    assert out.splitlines()[0].split()[:3] == ["SEQUENCE", "AT", "EVENT"]
    assert "factory.applied" in out.splitlines()[-1]
    assert [item["subject"] for item in shell.json("events", "Widget/door")["items"]] == ["Widget/door"]


def test_logs_and_top_read_the_ledger(shell: Shell) -> None:
    agreed("logs", shell("logs")[0])
    agreed("top", shell("top", "--once")[0])
    assert len(shell.json("logs", "-n", "2")["items"]) == 2
    assert shell("logs", "other")[0] == "Nothing here.\n"


def test_a_secret_is_the_only_thing_on_stdout(shell: Shell) -> None:
    out, err = shell("keys", "create", "--team", "risk", "--endpoint", "credit")
    assert out == "sk-andon-k0-secret\n"
    assert "only time" in err
    shell("keys", "rotate", "k0")
    assert shell("keys", "revoke", "k0")[0] == "Revoked k0\n"
    agreed("keys-list", shell("keys", "list")[0])


def test_status_says_whether_it_serves(shell: Shell) -> None:
    out, _ = shell("status")
    assert "ready" in out
    assert shell.json("status")["ready"]["ready"] is True


def test_a_gateway_that_is_away_is_told(shell: Shell) -> None:
    _, err = shell("invoke", "credit", "-d", '{"inputs": []}', code=1)
    assert err.startswith("Error: The gateway at http://127.0.0.1:9 did not answer")


def test_followed_events_end_when_the_reader_goes(shell: Shell) -> None:
    shell.apply()
    client = main.Session(home_given=shell.home).client()
    stream = client.follow("/v1/events", after=1)
    assert next(stream)["sequence"] == 2
    stream.close()
