"""What became known later, told by applications with the key they call with, and read back from the ledger."""

from __future__ import annotations

import gzip
import json
import socket
import urllib.error
import urllib.request
from typing import Any

import openai
import pytest

from tests.e2e.conftest import ASK
from tests.e2e.factories import Factory, wait_for


def post(
    url: str, body: Any, key: str, media_type: str = "application/json", **headers: str
) -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"authorization": f"Bearer {key}", "content-type": media_type, **headers}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, sent), timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def observer(factory: Factory) -> str:
    wait_for("the observer", lambda: listens(factory.observer_port))
    return f"http://127.0.0.1:{factory.observer_port}"


@pytest.fixture
def control(factory: Factory, observer: str) -> str:
    return f"http://127.0.0.1:{factory.control_port}"


def ask(factory: Factory, key: str, reference: str) -> Any:
    with openai.OpenAI(api_key=key, base_url=factory.url + "/v1", max_retries=0) as client:
        return client.chat.completions.create(
            model="good", messages=ASK, max_tokens=2, extra_headers={"x-andon-reference": reference}
        )


def rows(factory: Factory, sql: str) -> list[list[Any]]:
    found: list[list[Any]] = factory.read("query", sql)["rows"]
    return found


def test_labels_by_each_kind_of_id_are_joined_to_their_requests(
    factory: Factory, key: str, control: str, observer: str
):
    by_id, by_reference, by_response = (ask(factory, key, f"loan-{number}") for number in range(3))
    items = [
        {"request": by_id._request_id, "value": 1, "time": "2026-03-01T09:30:00Z"},
        {"reference": "loan-1", "value": 0},
        {"response": by_response.id, "text": "bad"},
        {"request": "nobody", "value": 1},
        {"value": 1},
    ]

    def receipt() -> Any:
        status, answer = post(f"{control}/v1/labels", {"items": items}, key)
        assert (status, answer["refused_count"]) == (200, 1)
        return answer

    first = receipt()
    assert first["accepted"] == 4
    assert first["refused"][0]["index"] == 4
    again = receipt()
    assert (again["accepted"], again["duplicates"]) == (0, 4)
    ids = ", ".join(f"'{answer._request_id}'" for answer in (by_id, by_reference, by_response))
    sql = f"SELECT request_id, value, text, source FROM labels WHERE request_id IN ({ids})"
    found = {row[0]: row[1:3] for row in wait_for("the labels", lambda: rows(factory, sql))}
    assert found[by_id._request_id] == [1.0, None]
    assert found[by_reference._request_id] == [0.0, None]
    assert len(rows(factory, "SELECT id FROM labels_history WHERE request = 'nobody'")) == 1


def test_the_command_line_labels_corrects_and_imports(
    factory: Factory, key: str, observer: str, tmp_path: Any
):
    answer = ask(factory, key, "loan-9")
    id_ = answer._request_id
    assert factory.read("label", id_, "1")["accepted"] == 1
    assert factory.read("label", id_, "0")["accepted"] == 1
    assert factory.read("label", id_, "1")["accepted"] == 1
    sql = f"SELECT value FROM labels WHERE request_id = '{id_}'"
    assert wait_for("the label", lambda: rows(factory, sql)) == [[1.0]]
    assert "1 accepted" in factory.andon("feedback", "loan-9", "up", "--by", "reference").stdout
    assert factory.andon("feedback", id_, "applause", code=1).stderr.startswith("Error")
    file = tmp_path / "labels.csv"
    lines = [f"{id_},late,{number}" for number in range(25_000)]
    file.write_text("\n".join(["request,name,value", *lines, "x,y,never", *lines[:10]]) + "\n")
    done = factory.andon("facts", "import", str(file), "-o", "json", code=1)
    assert json.loads(done.stdout)["accepted"] == 25_000
    assert (json.loads(done.stdout)["duplicates"], json.loads(done.stdout)["refused_count"]) == (10, 1)
    assert "line 25002: Expected" in done.stderr


def test_who_may_send_what(factory: Factory, key: str, control: str, observer: str):
    item = {"request": "nobody", "value": 1}
    admin = (factory.root / ".andon/admin.key").read_text().strip()
    for url in (control, observer):
        assert post(f"{url}/v1/labels", item, admin)[0] == 200
        assert post(f"{url}/v1/labels", item, key)[0] == 200
        assert post(f"{url}/v1/labels", item, key[:-1] + "x")[1]["code"] == "key_refused"
        assert post(f"{url}/v1/prices", item, key)[1]["code"] == "action_forbidden"
    id_, secret = factory.key("--owner", "short-lived")
    assert post(f"{control}/v1/labels", item, secret)[0] == 200
    factory.andon("keys", "revoke", id_, "--reason", "gone")
    wait_for("the key's end", lambda: post(f"{control}/v1/labels", item, secret)[0] == 401)
    assert post(f"{control}/v1/revisions", {}, key)[0] in (401, 403, 405)


def test_bodies_in_every_form(factory: Factory, key: str, control: str, observer: str):
    lines = b'{"request":"a","value":1}\n{"request":"b","value":2}\n'
    assert post(f"{control}/v1/labels", lines, key, "application/x-ndjson")[1]["accepted"] == 2
    assert post(f"{control}/v1/labels", b"request,value\nc,1\n", key, "text/csv")[1]["accepted"] == 1
    packed = gzip.compress(lines.replace(b'"a"', b'"d"'))
    headers = {"content-encoding": "gzip"}
    assert post(f"{control}/v1/labels", packed, key, "application/x-ndjson", **headers)[0] == 200
    bomb = gzip.compress(bytes(65 * 2**20), 1)
    assert post(f"{control}/v1/labels", bomb, key, **headers)[1]["code"] == "body_too_large"
    status, problem = post(f"{control}/v1/labels", {"items": [{"value": 1}, {"request": "r"}]}, key)
    assert (status, problem["code"], len(problem["errors"])) == (422, "facts_refused", 2)
    future = {"request": "r", "value": 1, "time": "2199-01-01T00:00:00Z"}
    assert "in the future" in post(f"{control}/v1/labels", future, key)[1]["detail"]


def test_feedback_shows_as_engagement(factory: Factory, key: str, control: str, observer: str):
    answers = [ask(factory, key, f"talk-{number}") for number in range(4)]
    items = [
        {"request": answers[0]._request_id, "kind": "thumb", "value": 1},
        {"request": answers[1]._request_id, "kind": "rating", "value": 4},
        {"response": answers[2].id, "kind": "regenerate"},
    ]
    assert post(f"{control}/v1/feedback", {"items": items}, key)[1]["accepted"] == 3

    def engagement() -> Any:
        page = factory.read("engagement", "good")["items"]
        return page if page and page[0]["rating"]["count"] else None

    (release,) = wait_for("engagement", engagement)
    assert release["exchanges"] >= 4
    assert release["thumbs"]["count"] >= 1
    assert release["rating"]["value"] == 4.0
    assert "RELEASE" in factory.andon("engagement", "good").stdout
    assert factory.read("features", "good")["items"] == []


def test_metrics_tell_what_was_taken_in(factory: Factory, key: str, observer: str):
    post(f"{observer}/v1/labels", {"request": "for-the-metrics", "value": 1}, key)
    admin = (factory.root / ".andon/admin.key").read_text().strip()
    request = urllib.request.Request(f"{observer}/metrics", headers={"authorization": f"Bearer {admin}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read().decode()
    assert 'andon_facts_total{kind="label"}' in text
    assert "andon_label_lag_seconds_bucket" in text
