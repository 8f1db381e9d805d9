"""From a data set to the answers that came from it: OpenLineage's own client, a real factory, a real model."""

from __future__ import annotations

import gzip
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import (
    Dataset,
    DatasetEvent,
    InputDataset,
    Job,
    OutputDataset,
    Run,
    RunEvent,
    RunState,
)
from openlineage.client.facet_v2 import dataset_version_dataset, tags_dataset
from openlineage.client.transport.http import ApiKeyTokenProvider, HttpCompression, HttpConfig, HttpTransport

from tests.e2e.factories import Factory, model, resource, running_factory, wait_for
from tests.e2e.models import save_linear

PRODUCER = "https://example.com/jobs/train"
MLFLOW_RUN = "5f0c2a9e3c1d4b6f8a7e6d5c4b3a2f10"


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    root = tmp_path_factory.mktemp("lineage")
    save_linear(root / "models/loans.onnx")
    save_linear(root / "models/flow/model.onnx")
    flavors = "flavors:\n  onnx:\n    data: model.onnx\n"
    (root / "models/flow/MLmodel").write_text(f"{flavors}run_id: {MLFLOW_RUN}\n")
    documents = [
        *model("loans", {"1": "models/loans.onnx"}),
        *model("flow", {"1": "models/flow"}),
        *model("declared", {"1": "models/loans.onnx"}),
        *(
            resource("Endpoint", name, release={"model": name, "version": "1"})
            for name in ("loans", "flow", "declared")
        ),
    ]
    for document in documents:
        if document["metadata"]["name"] == "declared-1":
            trained = {"namespace": "s3://lake", "name": "people", "version": "9", "label": "restricted"}
            document["spec"]["trainedOn"] = {"datasets": [trained], "features": ["age"], "run": "by-hand"}
    with running_factory(root, documents) as started:
        started.wait_until_served("loans", "flow", "declared")
        yield started


@pytest.fixture(scope="module")
def key(factory: Factory) -> str:
    return factory.key()[1]


@pytest.fixture(scope="module")
def url(factory: Factory) -> str:
    url = f"http://127.0.0.1:{factory.control_port}"
    wait_for("the observer", lambda: factory.andon("lineage", code=None).returncode == 0)
    return url


def client_of(url: str, key: str) -> OpenLineageClient:
    config = HttpConfig(
        url=url,
        auth=ApiKeyTokenProvider({"apiKey": key}),
        retry={"total": 0},
        compression=HttpCompression.GZIP,
    )
    return OpenLineageClient(transport=HttpTransport(config))


def now() -> str:
    return datetime.now(UTC).isoformat()


def version(value: str) -> dataset_version_dataset.DatasetVersionDatasetFacet:
    return dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=value)


def tell_run(client: OpenLineageClient, run: str, reads: list[Any], writes: list[Any], name: str) -> None:
    for state in (RunState.START, RunState.COMPLETE):
        client.emit(
            RunEvent(
                eventTime=now(),
                producer=PRODUCER,
                eventType=state,
                run=Run(runId=run),
                job=Job(namespace="training", name=name),
                inputs=reads,
                outputs=writes,
            )
        )


def predict(factory: Factory, key: str, name: str) -> str:
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
    request = urllib.request.Request(
        f"{factory.url}/v2/models/{name}/infer",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {key}"},
    )
    with urllib.request.urlopen(request) as answer:
        return str(answer.headers["x-request-id"])


def send(url: str, key: str, body: bytes, encoding: str = "identity") -> tuple[int, Any]:
    request = urllib.request.Request(
        f"{url}/api/v1/lineage",
        body,
        {"content-type": "application/json", "content-encoding": encoding, "authorization": f"Bearer {key}"},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_data_set_is_followed_to_the_answers_that_came_from_it(factory: Factory, key: str, url: str):
    client = client_of(url, key)
    raw = InputDataset(namespace="s3://lake", name="raw/loans", facets={"version": version("7")})
    table = {"namespace": "warehouse", "name": "loans_clean", "facets": {"version": version("a")}}
    digest = factory.get("modelversion", "loans-1")["status"]["admission"]["digest"]
    trained = OutputDataset(
        namespace="andon://registry", name="model/loans", facets={"version": version(digest)}
    )
    training = str(uuid4())
    tell_run(client, training, [InputDataset(**table)], [trained], "train")
    tell_run(client, str(uuid4()), [raw], [OutputDataset(**table)], "clean")  # told after what came of it
    tags = tags_dataset.TagsDatasetFacet(
        tags=[tags_dataset.TagsDatasetFacetFields(key="andon_label", value="confidential", source="people")]
    )
    client.emit(
        DatasetEvent(
            eventTime=now(),
            producer=PRODUCER,
            dataset=Dataset(namespace="s3://lake", name="raw/loans", facets={"tags": tags}),
        )
    )
    asked = {predict(factory, key, "loans") for _ in range(3)}
    other = predict(factory, key, "flow")

    tree = factory.andon("lineage", "down", "raw/loans@7").stdout
    assert "dataset:s3://lake#raw/loans@7" in tree
    for part in (f"run:{training}", "model:loans@1", "release:loans/loans@1", "endpoint:loans"):
        assert part in tree, tree

    def reached() -> Any:
        answer = factory.read("lineage", "impact", "raw/loans@7")
        return answer if answer["answers"] == 3 else None

    impact = wait_for("all answers being counted", reached)
    assert impact["releases"] == ["loans@1"]
    assert impact["endpoints"] == ["endpoint:loans"]
    assert impact["assumed"] == []
    ids = factory.andon("lineage", "impact", "raw/loans", "--ids").stdout.split()
    assert set(ids) == asked
    assert other not in ids
    assert factory.read("lineage", "impact", "raw/loans", "--since", "1s")["answers"] in (0, 3)

    up = factory.read("lineage", "up", next(iter(asked)))
    assert "dataset:s3://lake#raw/loans@7" in {node["id"] for node in up["nodes"]}
    standing = {one["node"]: one for one in factory.read("lineage", "labels")["items"]}
    assert standing["endpoint:loans"]["effective"] == "confidential"
    assert standing["endpoint:loans"]["below"] is True
    assert standing["endpoint:flow"]["effective"] == "public"
    assert "digraph" in factory.andon("lineage", "down", "raw/loans@7", "--draw", "dot").stdout
    assert (
        "window:loans/loans@1/" in factory.andon("lineage", "down", "raw/loans", "--draw", "mermaid").stdout
    )
    wait_for(
        "the warning",
        lambda: [one for one in factory.events("Endpoint/loans") if one["name"] == "endpoint.underlabelled"],
        patience_s=60,
    )


def test_what_a_version_declares_and_what_mlflow_left_behind_are_lineage(
    factory: Factory, key: str, url: str
):
    tell_run(
        client_of(url, key),
        str(UUID(MLFLOW_RUN)),
        [InputDataset(namespace="hive", name="clicks")],
        [],
        "flow",
    )
    up = {node["id"] for node in factory.read("lineage", "up", "endpoint:flow")["nodes"]}
    assert {f"run:{UUID(MLFLOW_RUN)}", "dataset:hive#clicks"} <= up
    down = {node["id"] for node in factory.read("lineage", "down", "people@9")["nodes"]}
    assert {"feature:age", "run:by-hand", "model:declared@1", "endpoint:declared"} <= down


def test_what_is_no_event_is_refused_with_its_place(factory: Factory, key: str, url: str):
    status, told = send(url, key, b'{"eventTime": "2026-01-01T00:00:00Z", "producer": "x:y"}')
    assert (status, told["code"]) == (422, "lineage_refused")
    assert told["errors"][0]["path"] == "[0].schemaURL"
    assert send(url, "sk-andon-none", b"{}")[0] == 401
    zipped = gzip.compress(b"[" + b" " * 40_000_000 + b"]")
    assert send(url, key, zipped, "gzip")[0] == 413
    asked = urllib.request.Request(f"{url}/v1/lineage", headers={"authorization": f"Bearer {key}"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(asked)
    assert caught.value.code in (401, 403)  # who may send may not read
    caught.value.close()
    assert send(url, key, b"[")[0] in (400, 422)
    assert send(url, key, b"[" * 100_000)[0] in (400, 422)


def test_events_survive_the_death_of_the_observer(factory: Factory, key: str, url: str):
    run = str(uuid4())
    tell_run(client_of(url, key), run, [InputDataset(namespace="kept", name="for-ever")], [], "keep")
    factory.kill("andon.app.observer.process")

    def there() -> bool:
        done = factory.andon("lineage", "down", "for-ever", code=None)
        return done.returncode == 0 and run in done.stdout

    wait_for("the lineage being read again", there)
