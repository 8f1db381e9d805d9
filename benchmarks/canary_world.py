"""Everybody around the factory, each up to no good: a provider that echoes what it was sent, a Vault that tells its
token in errors, a receiver of alerts and a collector of telemetry that repeat what they got.

They speak over real sockets on free ports, in threads of the proof. What the collector got is kept, as it has left the
factory.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Reads a request; `play` answers it."""

    protocol_version = "HTTP/1.1"
    play: Callable[[Handler, bytes], None]

    def _any(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        if "chunked" in (self.headers.get("transfer-encoding") or ""):
            body = b"".join(self._chunks())
        with contextlib.suppress(
            BrokenPipeError, ConnectionResetError
        ):  # the other side may hang up at any time
            type(self).play(self, body)

    do_GET = do_POST = do_PUT = _any  # noqa: N815  # the names that the base class looks for

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def tell(self, status: int, body: bytes, kind: str = "application/json", **more: str) -> None:
        """One answer."""
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        for name, value in more.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def serving(play: Callable[[Handler, bytes], None]) -> Iterator[str]:
    """A server on a free port; its address."""
    kind = type("Playing", (Handler,), {"play": staticmethod(play)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def answer_of(text: str) -> dict[str, Any]:
    """A chat completion."""
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


class Provider:
    """An OpenAI-compatible provider. What it does follows from the model's name there."""

    def __init__(self, answer: str, chunk: str, header: str) -> None:
        self._answer = answer
        self._chunk = chunk
        self._header = header
        self.credentials: set[str] = set()

    def play(self, handler: Handler, body: bytes) -> None:
        """Answer one request."""
        key = handler.headers.get("authorization") or ""
        self.credentials.add(key)
        if handler.command == "GET":
            handler.tell(200, b'{"object":"list","data":[]}')
            return
        asked = json.loads(body)
        model = asked.get("model")
        if model == "echo":
            everything = (
                f"bad key {key}; headers {dict(handler.headers)}; body {body.decode(errors='replace')}"
            )
            error = {"error": {"message": everything, "type": key, "code": key, "param": everything}}
            handler.tell(400, json.dumps(error).encode(), x_request_id=self._header, set_cookie=key)
        elif model == "fail":
            handler.tell(500, f"<html>{key} {body.decode(errors='replace')}</html>".encode(), "text/html")
        elif model == "garbage":
            handler.wfile.write(f"HTTP/1.1 200 {key}\r\n{key}\r\n\x00{key}: \r\n\r\n".encode())
            handler.close_connection = True
        elif asked.get("stream"):
            self._stream(handler, key)
        else:
            told = json.dumps(answer_of(self._answer)).encode()
            handler.tell(200, told, x_secret=self._header, set_cookie=self._header)

    def _stream(self, handler: Handler, key: str) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("connection", "close")
        handler.end_headers()
        for number in range(3):
            delta = {"content": f"{self._chunk} {number}"}
            piece = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
            piece["choices"] = [{"index": 0, "delta": delta, "finish_reason": None}]
            handler.wfile.write(b"data: " + json.dumps(piece).encode() + b"\n\n")
            handler.wfile.flush()
            time.sleep(0.01)
        handler.wfile.write(f'data: {{"error": {{"message": "{key} {self._chunk}"}}}}\n\n'.encode())
        handler.close_connection = True


class Vault:
    """KV version 2 that repeats the token in every error."""

    def __init__(self, token: str, secrets: dict[str, dict[str, str]]) -> None:
        self._token = token
        self._secrets = secrets

    def play(self, handler: Handler, body: bytes) -> None:
        """Answer one request."""
        given = handler.headers.get("x-vault-token") or ""
        path = handler.path.removeprefix("/v1/secret/data/")
        if given != self._token or path not in self._secrets:
            told = {"errors": [f"permission denied for {given}", f"{self._secrets}"]}
            handler.tell(403, json.dumps(told).encode(), x_vault_error=given)
            return
        handler.tell(
            200, json.dumps({"data": {"data": self._secrets[path], "metadata": {"version": 1}}}).encode()
        )


class Collector:
    """Takes whatever comes, keeps it, and repeats headers and paths in an error now and then."""

    def __init__(self, *, status: int = 200) -> None:
        self.bodies: list[bytes] = []
        self.heads: list[str] = []
        self.status = status

    def play(self, handler: Handler, body: bytes) -> None:
        """Answer one request."""
        head = f"{handler.path} {dict(handler.headers)}"
        self.heads.append(head)
        self.bodies.append(body)
        handler.tell(self.status, head.encode() if self.status >= 400 else b"{}", x_echo=handler.path[:200])
