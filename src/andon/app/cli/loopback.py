"""Signing in with a browser from a command line: the answer arrives on a port of this machine (RFC 8252, RFC 7636).

One request is taken, from loopback only, within five minutes. What arrives is worth nothing without the verifier, which
never leaves this program.
"""

from __future__ import annotations

import hmac
import http.server
import webbrowser
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from andon.app.cli.client import Client
from andon.kernel.errors import Refused
from andon.kernel.random import SystemRandom
from andon.security.identity.signing_in import challenge_of

WAIT_S = 300.0
_PAGE = b"<!doctype html><title>Andon</title><p>You are signed in. You can close this page.</p>"


def sign_in(client: Client, issuer: str, note: Callable[[str], None]) -> dict[str, Any]:
    """Send the browser to the issuer and collect the session. Raises Refused when nothing comes back."""
    random = SystemRandom()
    verifier, state = (urlsafe_b64encode(random.secret_bytes(32)).decode().rstrip("=") for _ in range(2))
    found: dict[str, str] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            # Anything that does not know the state is somebody else's page knocking at the port.
            if hmac.compare_digest(query.get("state", "").encode(), state.encode()):
                found.update(query)
            self.send_response(200 if found else 404)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-security-policy", "default-src 'none'")
            self.end_headers()
            self.wfile.write(_PAGE if found else b"")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name that http.server calls
            """The code must not be printed."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.timeout = WAIT_S
        query = {"port": server.server_address[1], "challenge": challenge_of(verifier), "state": state}
        url = f"{client.url}/v1/session/login?" + urlencode(query | ({"issuer": issuer} if issuer else {}))
        note(f"Sign in with your browser: {url}")
        webbrowser.open(url)
        for _ in range(10):  # a browser may ask for an icon first
            if not found:
                server.handle_request()
    if "code" not in found:
        raise Refused("sign_in_refused", "Nobody came back from the browser.", hint="Try again: andon login")
    answer: dict[str, Any] = client.post(
        "/v1/session/collection", {"code": found["code"], "verifier": verifier}
    )
    return answer
