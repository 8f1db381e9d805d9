"""What a person or a client is told when something cannot be: always what is wrong, and what to do."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import models
from tests.e2e.conftest import SlowBody
from tests.e2e.factories import Factory, free_ports, model, resource, running_factory, wait_for
from tests.e2e.traffic import Answer, Caller

CHAT = "/v1/chat/completions"


@pytest.fixture(autouse=True, scope="module")
def _begun(slow_body: SlowBody) -> None:
    """The slow client begins before anything else: its half minute passes while the other tests run."""


@pytest.fixture
def caller(factory: Factory, key: str) -> Iterator[Caller]:
    with contextlib.closing(Caller(factory.port, key)) as made:
        yield made


def refused(factory: Factory, *words: str) -> str:
    """What a command that must fail says, without a traceback."""
    said = factory.andon(*words, code=1).stderr
    assert "Traceback" not in said
    assert "Next:" in said
    return said


def test_a_port_in_use_names_its_holder(factory: Factory, home: Path):
    holder = factory.process("andon.app.gateway_process").pid
    other = Factory(home, {"ANDON_GATEWAY_PORT": str(factory.port)})
    said = refused(other, "up", "-d")
    assert str(factory.port) in said
    assert str(holder) in said
    assert not other.processes()


def test_a_folder_holds_one_factory(factory: Factory):
    ports = dict(zip(("ANDON_GATEWAY_PORT", "ANDON_CONTROL_PORT"), map(str, free_ports(2)), strict=True))
    second = Factory(factory.root, ports)
    said = refused(second, "up", "-d")
    assert str(factory.process("andon.app.supervisor").pid) in said
    assert factory.snapshot()["version"]


def test_a_weak_admin_key_refuses_to_start(home: Path):
    factory = Factory(home)
    folder = home / ".andon"
    folder.mkdir()
    path = folder / "admin.key"
    path.touch(mode=0o600)
    path.write_text("changeme-changeme-changeme\n")
    said = refused(factory, "up", "-d")
    assert "too weak" in said
    assert "changeme" not in said
    assert not factory.processes()


def test_an_unknown_field_is_named_with_its_line_and_the_nearest_name(factory: Factory):
    file = factory.root / "typo.yaml"
    file.write_text(
        "apiVersion: andon/v1\nkind: Endpoint\nmetadata:\n  name: credit\nspec:\n  relaese: {model: linear}\n"
    )
    said = refused(factory, "plan", "-f", "typo.yaml")
    assert "typo.yaml:6" in said
    assert "relaese" in said
    assert "release" in said.replace("relaese", "")


def test_a_model_that_does_not_load_says_so_wherever_one_looks(factory: Factory, caller: Caller):
    for words in (("describe", "endpoint", "broken"), ("describe", "deployment", "broken-1")):
        wait_for("the reason", lambda words=words: "broken.onnx" in factory.andon(*words).stdout)
    answer = caller.infer("broken")
    assert answer.status == 503
    assert "broken" in answer.json["error"]
    assert caller.infer("linear").status == 200


def error(answer: Answer) -> dict[str, str]:
    """OpenAI's error object."""
    found: dict[str, str] = answer.json["error"]
    assert {"message", "type", "param", "code"} <= set(found)
    return found


def test_an_unknown_model_is_a_404_in_either_dialect(caller: Caller):
    asked = caller.post(CHAT, b'{"model":"none","messages":[{"role":"user","content":"x"}]}')
    assert (asked.status, error(asked)["code"]) == (404, "model_not_found")
    inferred = caller.infer("none")
    assert inferred.status == 404
    assert "none" in inferred.json["error"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"model":"good","messages":[}', b"[1]", b'{"model":1}', b"\xff\xfe", b"[" * 10_000]
)
def test_what_is_no_request_is_a_400_and_the_connection_lives_on(caller: Caller, body: bytes):
    asked = caller.post(CHAT, body)
    assert asked.status == 400
    assert error(asked)["message"]
    inferred = caller.post("/v2/models/linear/infer", body)
    assert inferred.status == 400
    assert isinstance(inferred.json["error"], str)
    assert caller.infer("linear").status == 200


def test_a_body_beyond_the_limit_is_a_413_before_it_is_read(factory: Factory, key: str):
    connection = http.client.HTTPConnection("127.0.0.1", factory.port, timeout=20)
    with contextlib.closing(connection):
        connection.putrequest("POST", "/v2/models/linear/infer")
        connection.putheader("authorization", f"Bearer {key}")
        connection.putheader("content-length", str(2**30))
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 413
        assert "large" in json.load(answer)["error"]


@pytest.fixture
def small_ledger(home: Path) -> Iterator[Path]:
    """A ledger's folder on a disk of 24 MiB of its own."""
    folder = home / ".andon/ledger"
    folder.mkdir(parents=True)
    if os.geteuid() != 0:
        pytest.skip("a disk that can be filled is mounted by root only")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_refuses_or_sheds_as_declared_and_heals(home: Path, small_ledger: Path):
    models.save_linear(home / "models/1.onnx")
    endpoints = [
        resource("Endpoint", mode, release={"model": "credit", "version": "1"}, onFullDisk=mode)
        for mode in ("refuse", "shed")
    ]
    with running_factory(home, [*model("credit", {"1": "models/1.onnx"}), *endpoints]) as factory:
        factory.wait_until_served("refuse", "shed")
        with contextlib.closing(Caller(factory.port, factory.key()[1])) as caller:
            wait_for("the key", lambda: caller.infer("refuse").status == 200)
            filling = small_ledger / "filling"
            with filling.open("wb") as file, contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * 65536)
                    file.flush()
            wait_for("a refusal", lambda: caller.infer("refuse").status != 200)
            answer = caller.infer("refuse")
            assert answer.status in (503, 507)
            assert "ledger" in answer.json["error"] or "disk" in answer.json["error"]
            assert caller.infer("shed").status == 200
            filling.unlink()
            wait_for("it to heal", lambda: caller.infer("refuse").status == 200)


def test_a_body_that_never_comes_is_a_408(slow_body: SlowBody):
    head, _, body = slow_body.told().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["error"]["message"]


def test_no_process_of_the_factory_has_died_over_all_this(factory: Factory):
    for module in ("andon.app.supervisor", "andon.app.gateway_process", "andon.app.control_process"):
        started = factory.process(module).create_time()
        assert started <= factory.started_at + 5, module
