"""A small Vault over real HTTP: KV version 2, AppRole logins with leases, renewal, revocation; it can be broken."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Vault:
    """What the server knows, and what was asked of it."""

    def __init__(self) -> None:
        self.secrets: dict[str, dict[str, Any]] = {"team/openai": {"key": "value-1", "number": 7}}
        self.tokens: set[str] = {"root"}
        self.role = ("role-1", "secret-id-1")
        self.lasts_s = 60
        self.asked: list[str] = []
        self.broken: tuple[int, bytes] | None = None
        self.url = ""
        self._made = 0

    def answer(self, method: str, path: str, token: str, body: Any) -> tuple[int, bytes]:
        """Status and body."""
        self.asked.append(f"{method} {path}")
        if self.broken is not None:
            return self.broken
        if path == "/v1/auth/approle/login":
            if (body.get("role_id"), body.get("secret_id")) != self.role:
                return 400, json.dumps({"errors": [f"invalid secret id {body}"]}).encode()
            self._made += 1
            fresh = f"token-{self._made}"
            self.tokens.add(fresh)
            return 200, self._granted(fresh)
        if token not in self.tokens:
            return 403, json.dumps({"errors": [f"permission denied: {token}"]}).encode()
        if path == "/v1/auth/token/renew-self":
            return 200, self._granted(token)
        if path == "/v1/auth/token/revoke-self":
            self.tokens.discard(token)
            return 204, b""
        found = self.secrets.get(path.removeprefix("/v1/kv/data/"))
        if found is None:
            return 404, b'{"errors":[]}'
        return 200, json.dumps({"data": {"data": found, "metadata": {"version": 1}}}).encode()

    def _granted(self, token: str) -> bytes:
        auth = {"client_token": token, "lease_duration": self.lasts_s, "renewable": True}
        return json.dumps({"auth": auth}).encode()


@contextlib.contextmanager
def imitating_vault() -> Iterator[Vault]:
    """A server on a free port."""
    vault = Vault()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            token = self.headers.get("x-vault-token") or ""
            status, body = vault.answer(self.command, self.path, token, json.loads(raw) if raw else {})
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _any

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    vault.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield vault
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
