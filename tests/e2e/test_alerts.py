"""Alerts in a real factory: one page for one outage whatever happens to the observer, and one word when it is over."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import chat_endpoint
from tests.e2e.factories import Factory, resource, running_factory, wait_for

BODY = b'{"model":"%s","max_tokens":2,"messages":[{"role":"user","content":"which spindle"}]}'


class Hook(http.server.ThreadingHTTPServer):
    """A webhook receiver that keeps what it got."""

    daemon_threads = True

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.beats = 0
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def statuses(self) -> list[str]:
        return [str(one["status"]) for one in self.got]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/beat":
            self.server.beats += 1
        else:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.server.got.append({**json.loads(body), "headers": headers})
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    server = Hook()
    yield server
    server.shutdown()
    server.server_close()


def documents(provider: str, hook: Hook) -> list[dict[str, Any]]:
    behaviours = {"good": "dummy", "ill": "dummy?status=500"}
    window = {"metric": "errorRate", "above": 0.2, "over": "20s", "minimumEvents": 3}
    return [
        resource("Provider", "dummy", url=f"{provider}/v1", models=behaviours),
        *(chat_endpoint(name) for name in behaviours),
        resource(
            "Receiver",
            "crew",
            webhook={"url": f"{hook.url}/page", "secret": "env:HOOK_SECRET"},
            heartbeat={"url": f"{hook.url}/beat", "every": "5s"},
        ),
        resource(
            "Alert",
            "errors",
            when={"window": window},
            every="1s",
            keepFiringFor="5s",
            groupWait="1s",
            groupInterval="2s",
            receivers=["crew"],
            annotations={"summary": "{endpoint} fails at {value}"},
        ),
        resource(
            "Alert",
            "nobody",
            when={"query": {"sql": "SELECT 'x' AS place, 2.5 AS value WHERE $until > $since"}},
            every="1s",
            severity="info",
        ),
    ]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory, provider: str, hook: Hook) -> Iterator[Factory]:
    root = tmp_path_factory.mktemp("alerted")
    with running_factory(root, documents(provider, hook), {"HOOK_SECRET": "quiet"}) as started:
        started.wait_until_served("good", "ill")
        yield started


def ask(factory: Factory, key: str, name: str) -> None:
    sent = urllib.request.Request(
        factory.url + "/v1/chat/completions",
        BODY % name.encode(),
        {"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    try:
        urllib.request.urlopen(sent, timeout=30).close()
    except urllib.error.HTTPError as error:
        error.close()


def state(factory: Factory, name: str) -> dict[str, Any]:
    done = factory.andon("alerts", name, "-o", "json", code=None)
    return json.loads(done.stdout) if done.returncode == 0 else {}


def evaluating(factory: Factory) -> bool:
    done = factory.andon("alerts", "-o", "json", code=None)
    return done.returncode == 0 and bool(json.loads(done.stdout)["evaluating"])


def notified(factory: Factory) -> int:
    return sum(event["name"] == "alert.notified" for event in factory.events("Receiver/crew"))


def test_one_page_for_one_outage_although_the_observer_is_killed_twice(plant: Factory, hook: Hook) -> None:
    key = plant.key("--owner", "app")[1]
    for _ in range(10):
        ask(plant, key, "ill")
    wait_for("the page", lambda: hook.got, 60)
    # Killed perhaps before it has written down that the page arrived: then it comes again under the same key.
    plant.kill("andon.app.observer.process")
    page = hook.got[0]
    assert page["version"] == "4"
    assert page["alerts"][0]["labels"]["endpoint"] == "ill"
    assert page["alerts"][0]["annotations"]["summary"] == "ill fails at 1"
    assert page["headers"]["x-andon-signature"].startswith("sha256=")
    for _ in range(5):
        ask(plant, key, "ill")
    wait_for("what is written down", lambda: notified(plant) == 1, 60)
    posts = len(hook.got)
    assert {one["headers"]["idempotency-key"] for one in hook.got} == {page["id"]}
    # Killed after that: nothing comes again.
    plant.kill("andon.app.observer.process")
    for _ in range(5):
        ask(plant, key, "ill")
    wait_for("the next observer", lambda: evaluating(plant), 60)
    wait_for("the end", lambda: "resolved" in hook.statuses(), 60)
    assert hook.statuses() == ["firing"] * posts + ["resolved"]
    wait_for("the journal", lambda: notified(plant) == 2, 30)
    told = [event["name"] for event in plant.events("Alert/errors") if event["name"].startswith("alert.")]
    assert sorted(told) == ["alert.fired", "alert.resolved"]
    assert hook.beats > 0


def test_a_query_fires_with_its_labels_and_can_be_taken_on(plant: Factory) -> None:
    wait_for("the query", lambda: state(plant, "nobody").get("state") == "firing", 60)
    (one,) = state(plant, "nobody")["instances"]
    assert one["labels"]["place"] == "x"
    assert one["value"] == 2.5
    plant.andon("alerts", "ack", "nobody")
    assert state(plant, "nobody")["instances"][0]["acked_by"]
    status = plant.get("alert", "nobody")["status"]
    assert status["state"] == "firing"


def test_silences_come_and_go(plant: Factory) -> None:
    made = plant.read("alerts", "silence", "alertname=nobody", "--for", "1h", "--reason", "works")
    wait_for("the silence", lambda: state(plant, "nobody")["instances"][0]["muted_by"], 30)
    plant.andon("apply", "--yes")
    assert plant.get("silence", made["name"])["spec"]["reason"] == "works"
    plant.andon("alerts", "unsilence", made["name"])
    wait_for("its end", lambda: not state(plant, "nobody")["instances"][0]["muted_by"], 30)


def test_a_rule_is_tried_before_it_is_applied(plant: Factory) -> None:
    window = {"metric": "errorRate", "above": 0.2, "over": "20s", "minimumEvents": 3}
    path: Path = plant.root / "rule.yaml"
    path.write_text(yaml.safe_dump(resource("Alert", "tried", when={"window": window}, groupWait="0s")))
    found = plant.read("alerts", "test", "rule.yaml", "--since", "1h")
    assert found["pages"] == 1
    assert found["shown"][0]["labels"]["endpoint"] == "ill"
    latency = {"metric": "duration.p99", "above": 60000, "over": "20s", "minimumEvents": 1}
    path.write_text(yaml.safe_dump(resource("Alert", "tried", when={"window": latency})))
    assert plant.read("alerts", "test", "rule.yaml", "--since", "1h")["pages"] == 0
    text = plant.andon("alerts", "test", "nobody", "--since", "1h").stdout
    assert "Pages" in text


def test_a_receiver_is_tried(plant: Factory, hook: Hook) -> None:
    plant.andon("alerts", "send-test", "crew")
    assert hook.got[-1]["reason"] == "test"
    metrics = plant.andon("get", "receivers").stdout
    assert "crew" in metrics


def test_what_cannot_be_enforced_is_refused(plant: Factory) -> None:
    wrong = resource(
        "Alert", "lost", when={"window": {"metric": "speed", "above": 1}}, receivers=["nobody-there"]
    )
    (plant.root / "wrong.yaml").write_text(yaml.safe_dump(wrong))
    done = plant.andon("plan", "-f", "wrong.yaml", code=None)
    assert done.returncode == 1
    assert "There is no metric 'speed'" in done.stderr
    assert "There is no receiver 'nobody-there'" in done.stderr
