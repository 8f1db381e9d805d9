"""A factory that records: what OIP and OpenAI traffic leaves in the rows, the store of bodies, and the metrics."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from andon.app.home import Home
from andon.app.keeping import home_identity
from andon.kernel import trace
from andon.kernel.random import SystemRandom
from andon.ledger.bodies import Body, decode_bodies
from andon.ledger.disk import FileDisk
from andon.ledger.reader import Cursor
from andon.ledger.row import Outcome
from andon.security.secrets.bodies import BodyReader
from andon.security.secrets.body_keys import BodyKeys
from andon.security.secrets.keyring import FileKeys
from tests.e2e.factories import Factory, model, resource, running_factory, running_provider, wait_for

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
MODEL = """
class Model:
    signature = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "p", "datatype": "FP32", "shape": [-1, 2]}],
    }

    def predict(self, inputs):
        self.timings = {"age": 1.5}
        x = inputs["x"]
        return {"p": x / x.sum(axis=1, keepdims=True)}
"""
ROW = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 3.0]}]}
).encode()
ROWS = json.dumps(
    {"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 3, 3, 1]}]}
).encode()


def chat(stream: bool = False) -> bytes:
    ask = {
        "model": "chat",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 3,
        "stream": stream,
    }
    return json.dumps(ask).encode()


class Recorded:
    """A factory, a key for it, and what it has written."""

    def __init__(self, factory: Factory, key: str) -> None:
        self.factory = factory
        self.key = key

    def post(self, path: str, body: bytes, **headers: str) -> tuple[str, int, bytes]:
        """Request id, status and body of an answer."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        told |= {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        request = urllib.request.Request(self.factory.url + path, body, told)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.headers["x-request-id"], answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.headers["x-request-id"], error.code, error.read()

    def row(self, id_: str) -> Outcome:
        """The final row of a request."""

        def look() -> list[Outcome]:
            entries = Cursor(FileDisk(self.factory.root / ".andon" / "ledger")).poll(100_000)
            rows = [entry.row for entry in entries]
            return [row for row in rows if isinstance(row, Outcome) and row.id == id_ and row.final]

        return wait_for("the row", look)[0]

    def bodies(self, id_: str, count: int) -> dict[str, Body]:
        """The bodies of a request by part."""

        def look() -> list[Body]:
            disk = FileDisk(self.factory.root / ".andon" / "bodies")
            entries = Cursor(disk, decode=decode_bodies).poll(100_000)
            found = [entry.row for entry in entries if entry.row.id == id_]
            return found if len(found) == count else []  # type: ignore[return-value]  # decoded as bodies above

        random = SystemRandom()
        home = Home(self.factory.root)
        keys = BodyKeys(home.body_keys, FileKeys(home.kek, random), random, home_identity(home, random))
        reader = BodyReader(keys, home_identity(home, random), random, time.time_ns)

        def opened(body: Body) -> Body:
            """As whoever may read it sees it; on disk it is sealed."""
            assert body.key is not None
            data = reader.open(body.id, body.attempt, body.part, body.data)
            return msgspec.structs.replace(body, data=data)

        return {body.part: opened(body) for body in wait_for("the bodies", look)}

    def exposition(self) -> list[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.factory.admin_port}/metrics") as answer:
            return answer.read().decode().splitlines()

    def metrics(self) -> dict[str, float]:
        lines = self.exposition()
        return {
            name: float(value)
            for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        }


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    root: Path = tmp_path_factory.mktemp("recording")
    (root / "model.py").write_text(MODEL)
    bodies = {"inputs": True, "outputs": True, "maxBytes": "100"}
    with running_provider() as provider:
        documents = [
            resource("Team", "crew"),
            resource("Provider", "dummy", url=f"{provider}/v1", models={"chat": "dummy"}),
            resource(
                "Endpoint",
                "chat",
                protocol="openai",
                release={"provider": "dummy", "upstreamModel": "chat"},
                recording={"bodies": bodies},
            ),
            *model("credit", {"1": "model.py"}),
            resource(
                "Endpoint",
                "credit",
                release={"model": "credit", "version": "1"},
                recording={"prediction": {"output": "p", "classes": ["good", "bad"]}, "bodies": bodies},
            ),
        ]
        with running_factory(root, documents) as factory:
            _, key = factory.key("--team", "crew")
            factory.wait_until_served("chat", "credit")
            yield Recorded(factory, key)


def test_an_inference_is_remembered_with_its_prediction_and_features(recorded: Recorded):
    id_, status, _ = recorded.post(
        "/v2/models/credit/infer",
        ROW,
        x_andon_reference="loan-17",
        x_andon_features="income=340,age=100",
        traceparent=PARENT,
    )
    assert status == 200
    row = recorded.row(id_)
    assert (row.reference, row.prediction, row.score) == ("loan-17", "bad", 0.75)
    assert (row.features, row.feature_us) == ({"income": 340, "age": 1600}, 1940)
    assert (row.traceparent, row.gateway, row.client_retry) == (PARENT, "0", 0)
    assert row.snapshot is not None
    assert row.queue_us == 0
    found = recorded.bodies(id_, 2)
    assert (found["input"].data, found["input"].size_bytes) == (ROW[:100], len(ROW))
    assert found["output"].truncated == (found["output"].size_bytes > 100)


def test_a_batch_has_no_single_prediction(recorded: Recorded):
    id_, status, _ = recorded.post("/v2/models/credit/infer", ROWS)
    assert status == 200
    row = recorded.row(id_)
    assert (row.prediction, row.score, row.status) == (None, None, 200)


def test_a_chat_is_remembered_with_the_answers_own_words(recorded: Recorded):
    id_, status, body = recorded.post("/v1/chat/completions", chat(), x_stainless_retry_count="1")
    assert status == 200
    row = recorded.row(id_)
    assert (row.response_id, row.model, row.finish_reason) == ("dummy-1", "dummy", "stop")
    assert (row.traceparent, row.client_retry) == (trace.begin(id_), 1)
    assert recorded.bodies(id_, 2)["output"].data == body[:100]


def test_so_is_a_stream(recorded: Recorded):
    id_, status, body = recorded.post("/v1/chat/completions", chat(stream=True))
    assert status == 200
    row = recorded.row(id_)
    assert (row.stream, row.response_id, row.finish_reason, row.output_tokens) == (True, "dummy-1", "stop", 3)
    kept = recorded.bodies(id_, 2)["output"]
    assert (kept.data, kept.truncated, kept.media_type) == (body[:100], True, "text/event-stream")


def test_a_new_connection_is_timed_and_a_kept_one_is_not(recorded: Recorded):
    rows = [recorded.row(recorded.post("/v1/chat/completions", chat())[0]) for _ in range(3)]
    assert rows[-1].connect_us is None
    entries = Cursor(FileDisk(recorded.factory.root / ".andon" / "ledger")).poll(100_000)
    times = [entry.row.connect_us for entry in entries if isinstance(entry.row, Outcome)]
    assert any(time_us is not None and time_us > 0 for time_us in times)


def test_a_wrong_reference_is_refused_and_the_metrics_tell_of_the_logs(recorded: Recorded):
    _, status, body = recorded.post("/v1/chat/completions", chat(), x_andon_reference="x" * 201)
    assert (status, json.loads(body)["error"]["code"]) == (400, "invalid_header")
    told = recorded.metrics()
    assert told["andon_ledger_rows_total"] > 0
    words = dict(line.split(" ", 3)[2:] for line in recorded.exposition() if line.startswith("# HELP "))
    typed = {line.split(" ")[2] for line in recorded.exposition() if line.startswith("# TYPE ")}
    assert typed == set(words)
    assert all(" " in meaning for meaning in words.values()), words
    assert told["andon_ledger_commits_total"] > 0
    assert told["andon_ledger_sync_seconds_total"] > 0
    assert told['andon_gateway_events_total{event="body_recorded"}'] > 0
    assert told["andon_bodies_used_bytes"] < told["andon_bodies_limit_bytes"]


def test_what_cannot_be_recorded_is_refused_when_it_is_written(recorded: Recorded):
    spec = {"release": {"model": "credit", "version": "1"}, "recording": {"bodies": {"maxBytes": "1Gi"}}}
    recorded.factory.root.joinpath("bad.yaml").write_text(json.dumps(resource("Endpoint", "credit", **spec)))
    told = recorded.factory.andon("plan", "-f", "bad.yaml", code=None)
    assert told.returncode != 0
    assert "recording.bodies.maxBytes" in told.stdout + told.stderr
    told = recorded.factory.andon("explain", "endpoint.spec.recording")
    assert "prediction" in told.stdout
