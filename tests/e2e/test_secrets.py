"""Secrets in a real factory: set by a verb, lent to the gateway, revoked at once, outliving control."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.e2e.factories import Factory, resource, running_factory, wait_for

FIRST, SECOND = "first-value-4kq9x7", "second-value-8dj2m1"


class Upstream:
    """An OpenAI-compatible provider that remembers the keys it was called with."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.url = ""


@contextmanager
def upstream() -> Iterator[Upstream]:
    found = Upstream()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            found.seen.append(self.headers.get("authorization", ""))
            body = json.dumps(
                {
                    "id": "c1", "object": "chat.completion", "created": 1, "model": "m",
                    "choices": [{"index": 0, "finish_reason": "stop",
                                 "message": {"role": "assistant", "content": "hello"}}],
                    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
                }
            ).encode()  # fmt: skip
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


def documents(url: str, credential: str = "secret:openai") -> list[dict[str, object]]:
    return [
        resource("Provider", "far", url=url, credential=credential),
        resource(
            "Endpoint",
            "chat",
            protocol="openai",
            release={"provider": "far", "upstreamModel": "m"},
            retries=0,
        ),
    ]


def set_secret(factory: Factory, name: str, value: str, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "andon.app.cli.main", "secrets", "set", name, "-", *words],
        cwd=factory.root, env=factory.environment, input=value, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert value not in done.stdout + done.stderr


def ask(factory: Factory, key: str) -> int:
    request = urllib.request.Request(
        factory.url + "/v1/chat/completions",
        json.dumps({"model": "chat", "messages": [{"role": "user", "content": "hi"}]}).encode(),
        {"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_secret_reaches_its_provider_and_is_revoked_at_once(tmp_path: Path) -> None:
    with upstream() as far, running_factory(tmp_path) as factory:
        factory.write(documents(far.url))
        refused = factory.andon("apply", "--yes", code=1)
        assert "There is no secret 'openai'" in refused.stderr
        set_secret(factory, "openai", FIRST, "--owner", "ann", "--user", "Provider/*")
        factory.apply(documents(far.url))
        factory.wait_until_served("chat")
        _, key = factory.key()
        wait_for("the first value being used", lambda: ask(factory, key) == 200)
        assert far.seen[-1] == f"Bearer {FIRST}"

        set_secret(factory, "openai", SECOND)
        wait_for(
            "the second value being used", lambda: ask(factory, key) and far.seen[-1] == f"Bearer {SECOND}"
        )

        # Everything on disk is sealed, whatever holds it.
        for path in (factory.root / ".andon").rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert FIRST.encode() not in data, path
                assert SECOND.encode() not in data, path

        # Control is killed and so is the gateway: the last good snapshot serves with what was lent.
        rotated = factory.read("secrets", "rotate", "--remove-old")
        assert rotated["version"] == 2
        factory.andon("secrets", "revoke", "openai", "--version", "1")
        factory.andon("secrets", "revoke", "openai", "--reason", "test")
        wait_for("the gateway refusing", lambda: ask(factory, key) >= 500)
        before = len(far.seen)
        assert ask(factory, key) >= 500
        assert len(far.seen) == before
