"""What a person sees of a running factory: live figures, processes, disks; a restart keeps the figures."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.factories import Factory, resource, running_factory, running_provider, wait_for

QUESTION = {"model": "assistant", "messages": [{"role": "user", "content": "which spindle is due?"}]}


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    root: Path = tmp_path_factory.mktemp("watching")
    with running_provider() as url, running_factory(root / "factory", _documents(url)) as running:
        running.wait_until_served("assistant")
        yield running


def _documents(url: str) -> list[dict[str, Any]]:
    release = {"provider": "dummy", "upstreamModel": "talk"}
    return [
        resource("Provider", "dummy", url=f"{url}/v1", models={"talk": "dummy"}),
        resource("Endpoint", "assistant", protocol="openai", release=release),
    ]


def ask(factory: Factory, secret: str) -> None:
    request = urllib.request.Request(
        f"{factory.url}/v1/chat/completions",
        json.dumps(QUESTION).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {secret}"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200


def requests_seen(factory: Factory) -> int:
    items = factory.read("top", "--window", "3600", "--once")["items"]
    return sum(item["requests"] for item in items if item["endpoint"] == "assistant")


def test_top_and_status_tell_what_runs_and_a_new_observer_still_knows(factory: Factory) -> None:
    _, secret = factory.key()
    for _ in range(5):
        ask(factory, secret)
    wait_for("the windows to have every row", lambda: requests_seen(factory) == 5)

    def with_gateway() -> dict[str, Any]:
        rows = [
            row
            for row in factory.read("top", "--window", "3600", "--once")["items"]
            if row["endpoint"] == "assistant" and row["weight"] is not None
        ]
        return rows[0] if rows else {}

    row = wait_for("the observer to answer", with_gateway)
    assert (row["arm"], row["in_flight"], row["weight"]) == ("stable", 0, 1.0)
    assert row["p50_ms"] > 0

    def looked() -> Any:
        return (factory.read("status")["infrastructure"] or {}).get("now")

    now = wait_for("the first look", looked)
    assert {"supervisor", "gateway", "control", "observer"} <= {one["role"] for one in now["processes"]}
    assert now["devices"]["readings"] or now["devices"]["absent"]
    assert [one["holds_ledger"] for one in now["host"]["file_systems"]].count(True) == 1

    old = factory.process("andon.app.observer.process").pid
    factory.kill("andon.app.observer.process")
    assert requests_seen(factory) == 5  # from the log, where nobody watches
    wait_for(
        "the observer again",
        lambda: [p for p in factory.processes("andon.app.observer.process") if p.pid != old],
    )
    wait_for("it to answer", with_gateway)
    assert requests_seen(factory) == 5
