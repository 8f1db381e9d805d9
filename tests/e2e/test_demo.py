"""The story that the README promises, told by a real factory: promoted, stopped itself, stopped itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_the_demo_tells_its_story_and_ends_by_itself(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "andon.app.cli.main", "demo", "--exit", "--json", "--home", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, "NO_COLOR": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [chapter["verdict"] for chapter in report["chapters"]] == [
        "promoted",
        "stopped itself",
        "stopped itself",
    ]
    better, broken, slow = report["chapters"]
    assert broken["gate"] == "errors"
    assert broken["evidence"] >= broken["threshold"]
    assert slow["gate"] == "latency"
    assert slow["canary_value"] > slow["stable_value"]
    assert better["canary_requests"] > broken["canary_requests"]
    assert report["models"][1]["cost_per_applicant"] < report["models"][0]["cost_per_applicant"]
    assert not (tmp_path / ".andon" / "run" / "control.json").exists()
