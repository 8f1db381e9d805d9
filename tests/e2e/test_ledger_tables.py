"""The tables of a running factory: sealed while it serves, told by `andon ledger status`, made again on demand."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from tests.e2e.conftest import ASK
from tests.e2e.factories import Factory, resource, running_factory, wait_for

SMALL = {"ANDON_SEGMENT_BYTES": "4096", "ANDON_SEGMENT_AGE_S": "0.5", "ANDON_ALLOW_ANONYMOUS": "true"}
ASKED = 40


def documents(provider: str) -> list[dict[str, Any]]:
    return [
        resource("Provider", "dummy", url=f"{provider}/v1", models={"talk": "dummy"}),
        resource(
            "Endpoint", "talk", protocol="openai", release={"provider": "dummy", "upstreamModel": "talk"}
        ),
    ]


def test_what_was_served_is_sealed_and_can_be_made_again(tmp_path: Path, provider: str) -> None:
    with running_factory(tmp_path, documents(provider), SMALL) as factory:
        factory.wait_until_served("talk")
        for _ in range(ASKED):
            ask(factory)
        wait_for("all rows to be sealed", lambda: table(factory, "attempts").get("rows") == ASKED)
        before = factory.read("ledger", "status")
        assert [log["waiting"] for log in before["logs"]] == [0, 0, 0]
        assert before["quarantined"] == [], before["quarantined"]
        assert factory.read("ledger", "rebuild", "attempts")["rows"] == {"attempts": ASKED}
        assert table(factory, "attempts")["rows"] == ASKED
        assert "There is no table" in factory.andon("ledger", "rebuild", "nothing", code=1).stderr
        assert "attempts" in factory.andon("ledger", "status").stdout


def ask(factory: Factory) -> None:
    body = json.dumps({"model": "talk", "messages": ASK, "max_tokens": 2}).encode()
    request = urllib.request.Request(
        f"{factory.url}/v1/chat/completions", body, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
        answer.read()


def table(factory: Factory, name: str) -> dict[str, Any]:
    """One table; nothing while the observer is starting."""
    done = factory.andon("ledger", "status", "-o", "json", code=None)
    tables: list[dict[str, Any]] = json.loads(done.stdout)["tables"] if done.returncode == 0 else []
    return next((one for one in tables if one["name"] == name), {})
