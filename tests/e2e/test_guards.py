"""Guards on a running factory: declared, planned, enforced, told of in the ledger."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.e2e.factories import Factory, resource, running_factory, running_provider, wait_for


def documents(url: str, *guards: dict[str, Any], **endpoint: Any) -> list[dict[str, Any]]:
    release = {"provider": "dummy", "upstreamModel": "dummy", "version": "1"}
    names = [one["metadata"]["name"] for one in guards]
    return [
        resource("Provider", "dummy", url=url),
        *guards,
        resource("Endpoint", "chat", protocol="openai", release=release, guards=names, **endpoint),
    ]


def words(name: str, *said: str, **more: Any) -> dict[str, Any]:
    spec = {"places": ["input", "context", "output"], "mode": "enforce", "action": "block", **more}
    return resource("Guard", name, detector="pattern", settings={"words": {name: list(said)}}, **spec)


def ask(factory: Factory, key: str, text: str, **more: Any) -> tuple[int, str, str]:
    body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": text}], **more}).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"{factory.url}/v1/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode(), answer.headers["x-request-id"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers["x-request-id"]


def test_guards_hold_on_a_running_factory(tmp_path: Path) -> None:
    with running_provider() as url:
        guards = (words("animal", "zebra"), words("line", "line runs", places=["output"], action="redact"))
        with running_factory(tmp_path / "f", documents(url, *guards)) as factory:
            factory.wait_until_served("chat")
            _, key = factory.key()
            status, body, blocked = ask(factory, key, "the zebra")
            assert (status, json.loads(body)["error"]["code"]) == (400, "content_filter"), factory.words()
            status, body, served = ask(factory, key, "hello")
            content = json.loads(body)["choices"][0]["message"]["content"]
            assert status == 200
            assert content.startswith("the [line] and a bad part")
            status, streamed, _ = ask(factory, key, "hello", stream=True)
            told = [json.loads(one[6:]) for one in streamed.split("\n\n") if one.startswith("data: {")]
            text = "".join(one["choices"][0]["delta"].get("content", "") for one in told if one["choices"])
            assert text.strip() == content

            def story(id_: str) -> Any:
                done = factory.andon("request", id_, "-o", "json", code=None)
                return json.loads(done.stdout)["attempts"][0] if done.returncode == 0 else None

            row = wait_for("the row", lambda: story(served))
            assert row["scanned_bytes"] == row["delivered_bytes"] == len("hello" + content)
            assert {one["guard"] for one in json.loads(row["verdicts"])} == {"animal", "line"}
            row = wait_for("the refused row", lambda: story(blocked))
            assert (row["refused_by"], row["delivered_bytes"]) == ("guards", 0)
            shadowed = factory.andon("request", served).stdout
            assert "guard line at output: redact  score 1.000  line 2" in shadowed
            tells_and_checks(factory)
            refuses_at_plan(factory)


def tells_and_checks(factory: Factory) -> None:
    """What guards found lately, and what they say of a text without a model."""

    def lately() -> Any:
        return factory.read("guards")["items"]

    items = wait_for("verdicts in the ledger", lambda: (found := lately()) and len(found) >= 2 and found)
    by_place = {(item["guard"], item["place"]): item for item in items}
    assert by_place["animal", "input"]["acted"] == 1
    assert by_place["animal", "input"]["judged"] == 3
    assert by_place["line", "output"]["found"] == "line 4"
    text = factory.root / "text.txt"
    text.write_text("A zebra runs.")
    done = factory.andon("guards", "check", "--guard", "animal", str(text), "-o", "json", code=1)
    answer = json.loads(done.stdout)
    assert answer["refused"] == "content_filter"
    assert answer["verdicts"][0]["spans"] == [[2, 7]]
    text.write_text("the line runs")
    done = factory.andon("guards", "check", "-g", "line", "--place", "output", str(text))
    assert "the [line]" in done.stdout
    assert factory.andon("guards", "check", "-g", "nobody", str(text), code=None).returncode != 0


def refuses_at_plan(factory: Factory) -> None:
    """What could not be enforced is told before it is applied, each with its place."""
    schema = {"schema": {"type": "object"}}
    form = resource("Guard", "form", detector="schema", places=["output"], mode="enforce", settings=schema)
    slow = words("slow", "x")
    slow["spec"]["settings"] = {"patterns": {"slow": "(a{1,9}){1,9}b"}}
    outside = resource("Guard", "outside", detector="external", places=["input"], settings={})
    factory.write(documents("http://127.0.0.1:9", form, slow, outside))
    done = factory.andon("plan", code=None)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    for words_ in ("set `buffer: true`", "some texts would make it slow", "from which one a finding counts"):
        assert words_ in said, said
