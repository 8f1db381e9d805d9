"""A factory that audits: its log is sound to an outsider, requests are proved from the tables, closed means closed."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.factories import Factory, resource, running_factory, running_provider, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

CHAT = json.dumps(
    {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
).encode()


@pytest.fixture
def factory(tmp_path: Path) -> Iterator[Factory]:
    settings = {
        "ANDON_AUDIT_MODE": "closed",
        "ANDON_AUDIT_LAG_S": "4",
        "ANDON_AUDIT_WITNESS": str(tmp_path / "witness"),
        "ANDON_SEGMENT_AGE_S": "2",
    }
    with running_provider() as url:
        documents = [
            resource("Provider", "dummy", url=f"{url}/v1", protocol="openai"),
            resource(
                "Endpoint",
                "chat",
                protocol="openai",
                durability="relaxed",
                onFullDisk="shed",
                release={"provider": "dummy", "upstreamModel": "dummy"},
            ),
        ]
        with running_factory(tmp_path / "factory", documents, settings) as started:
            started.wait_until_served("chat")
            yield started


def ask(factory: Factory, key: str) -> tuple[str, int, bytes]:
    """Request id, status and body."""
    told = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{factory.url}/v1/chat/completions", CHAT, told)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.headers["x-request-id"], answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.headers["x-request-id"], error.code, error.read()


def served(factory: Factory, key: str) -> bool:
    return ask(factory, key)[1] == 200


def test_what_happened_is_in_a_log_that_a_stranger_can_check(factory: Factory, tmp_path: Path) -> None:
    _, key = factory.key("--owner", "ann@example.com")
    wait_for("being served", lambda: served(factory, key))
    ids = [ask(factory, key)[0] for _ in range(5)]
    audit = factory.root / ".andon" / "audit"
    wait_for("the log", (audit / "checkpoint").exists)
    public = factory.andon("audit", "key").stdout.strip()
    bundle = tmp_path / "bundle.json"
    witness = tmp_path / "witness"

    def proved() -> bool:
        done = factory.andon(
            "audit", "prove", *ids, "--witness", str(witness), "--to", str(bundle), code=None
        )
        return done.returncode == 0

    wait_for("the proof", proved)
    wait_for("the witness", lambda: factory.read("audit", "status")["witness_size"])
    wait_for(
        "the witness having seen all", lambda: proved() and _witnessed(factory, bundle, public, witness) == 5
    )
    verdict = factory.read("audit", "verify", str(bundle), "--public-key", public, "--witness", str(witness))
    assert (verdict["requests"], verdict["sums"]["requests"]) == (5, 5)
    assert verdict["sums"]["output_tokens"] > 0

    copy = tmp_path / "copy"
    shutil.copytree(audit, copy)
    found = factory.read("audit", "verify", str(copy), "--public-key", public, "--witness", str(witness))
    assert found["sound"], found["faults"]
    assert {"row", "journal", "access"} <= found["kinds"].keys()
    address = f"http://127.0.0.1:{factory.control_port}/v1/audit/log"
    token = (factory.root / ".andon" / "admin.key").read_text().strip()
    remote = factory.read("audit", "verify", address, "--public-key", public, "--token", token)
    assert remote["sound"], remote["faults"]

    events = [
        json.loads(line) for line in factory.andon("audit", "export", "--format", "ocsf").stdout.splitlines()
    ]
    calls = [one for one in events if one["class_uid"] == 6003 and "ai_model" in one]
    assert {one["metadata"]["uid"] for one in calls} >= set(ids)
    assert any(one["class_uid"] == 3005 for one in events)  # the key that was made

    assert "user:admin" in factory.andon("audit", "export").stdout
    factory.andon("audit", "shred", "user:admin")
    erased = factory.andon("audit", "export").stdout
    before = [line for line in erased.splitlines() if '"erased":true' in line]
    assert before
    assert factory.andon("audit", "rotate").stdout.strip() != public
    again = wait_for(
        "a sound log",
        lambda: factory.read("audit", "verify", "--public-key", public, "--witness", str(witness)),
    )
    assert again["sound"], again["faults"]
    assert again["kinds"]["shred"] == again["kinds"]["key"] == 1


def _witnessed(factory: Factory, bundle: Path, public: str, witness: Path) -> int:
    words = ("audit", "verify", str(bundle), "--public-key", public, "--witness", str(witness), "-o", "json")
    done = factory.andon(*words, code=None)
    return int(json.loads(done.stdout)["witnessed"]) if done.returncode == 0 else 0


def test_closed_serves_nothing_that_it_cannot_audit(factory: Factory) -> None:
    _, key = factory.key("--owner", "ann@example.com")
    wait_for("being served", lambda: served(factory, key))
    # A folder where a file should be, so that root cannot write it either.
    audit = factory.root / ".andon" / "audit"
    sealed = audit / "sealed.json"
    wait_for("the first words of the auditor", sealed.exists)
    sealed.unlink()
    sealed.mkdir()
    (sealed / "in the way").touch()
    refused = wait_for("refusals", lambda: (one := ask(factory, key))[1] == 503 and one)
    assert b"audit_unavailable" in refused[2]
    shutil.rmtree(sealed)
    wait_for("being served again", lambda: served(factory, key))

    observer = factory.process("andon.app.observer.process")
    observer.suspend()
    try:
        wait_for("refusals", lambda: ask(factory, key)[1] == 503)
    finally:
        observer.resume()
    wait_for("being served again", lambda: served(factory, key))
    factory.kill("andon.app.observer.process")
    wait_for("being served again", lambda: served(factory, key))
    found = factory.read("audit", "verify")
    assert found["sound"], found["faults"]


def test_closed_changes_nothing_without_a_record(factory: Factory) -> None:
    access = factory.root / ".andon" / "access" / "control"
    factory.key()
    factory.kill("andon.app.control_process")
    kept = access.with_name("kept")
    access.rename(kept)
    access.touch()  # no folder can be made where a file is
    wait_for("control", lambda: factory.andon("get", "endpoints", code=None).returncode == 0)
    done = factory.andon("keys", "create", code=1)
    assert "does nothing that it cannot audit" in done.stderr
    assert access.is_file()
    access.unlink()
    kept.rename(access)
    wait_for("changes", lambda: factory.andon("keys", "create", code=None).returncode == 0)
