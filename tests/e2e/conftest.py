"""One factory for all tests that destroy nothing; whoever destroys something starts a factory of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import models
from tests.e2e.factories import Factory, model, resource, running_factory, running_provider

ASK = [{"role": "user", "content": "which spindle is due"}]
# Names of models here, and what the dummy provider is told to do with each.
BEHAVIOURS = {
    "good": "dummy",
    "slow": "dummy?latency_ms=20000",
    "endless": "dummy?tokens=100000&gap_ms=20",
    "cut": "dummy?cut_after=2",
    "busy": "dummy?status=429&retry_after_s=90",
    "limited": "dummy",
}


def chat_endpoint(name: str) -> dict[str, object]:
    return resource(
        "Endpoint", name, protocol="openai", release={"provider": "dummy", "upstreamModel": name}, retries=0
    )


def documents(provider: str) -> list[dict[str, object]]:
    """Everything that the shared factory serves."""
    return [
        resource("Team", "crew"),
        resource("Provider", "dummy", url=f"{provider}/v1", models=BEHAVIOURS),
        *(chat_endpoint(name) for name in BEHAVIOURS),
        resource("Limit", "few", scope="endpoint", subject="limited", requestsPerMinute=2, burstRequests=2),
        *model("linear", {"1": "models/linear.onnx"}),
        *model("echo", {"1": "models/echo.onnx"}),
        *model("broken", {"1": "models/broken.onnx"}),
        *(
            resource("Endpoint", name, release={"model": name, "version": "1"}, bodyMax="8Mi")
            for name in ("linear", "echo", "broken")
        ),
    ]


@pytest.fixture(scope="session")
def provider() -> Iterator[str]:
    with running_provider() as url:
        yield url


@pytest.fixture(scope="session")
def factory(tmp_path_factory: pytest.TempPathFactory, provider: str) -> Iterator[Factory]:
    root = tmp_path_factory.mktemp("factory")
    models.save_linear(root / "models/linear.onnx")
    models.save_echo(root / "models/echo.onnx")
    (root / "models/broken.onnx").write_bytes(b"this was never a model")
    with running_factory(root, documents(provider)) as started:
        started.wait_until_served("linear", "echo", "good")
        yield started


@pytest.fixture(scope="session")
def key(factory: Factory) -> str:
    return factory.key("--team", "crew")[1]


class SlowBody:
    """A client that sends the beginning of a body and then nothing; what it is told in the end."""

    def __init__(self, factory: Factory, key: str) -> None:
        self.answer = b""
        self._socket = socket.create_connection(("127.0.0.1", factory.port))
        self._socket.settimeout(60)
        self._socket.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n"
            b'content-type: application/json\r\ncontent-length: 1000\r\n\r\n{"model"' % key.encode()
        )
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while piece := self._socket.recv(65536):
            self.answer += piece
        self._socket.close()

    def told(self) -> bytes:
        """The whole answer, once the gateway has lost patience."""
        self._thread.join()
        return self.answer


@pytest.fixture(scope="session")
def slow_body(factory: Factory, key: str) -> SlowBody:
    """Begun when first asked for, so that other tests run while the gateway is being patient."""
    return SlowBody(factory, key)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder for a factory of the test's own."""
    return tmp_path / "home"
