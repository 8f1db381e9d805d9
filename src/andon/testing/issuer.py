"""A small OpenID Connect issuer on loopback, shaped like Keycloak: what tests of sign-in and of tokens are made with.

Discovery, authorization code with PKCE (RFC 7636), token endpoint, key sets that rotate, and access tokens that are for
`account` unless told otherwise. It signs in whoever asks, so it must never run outside tests and examples.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

from andon.kernel.clock import Clock, SystemClock

REALM = "/realms/factory"
Key = RSAKey | ECKey | OKPKey


def make_key(id_: str, algorithm: str = "RS256") -> Key:
    """A new signing key."""
    parameters: Any = {"kid": id_, "use": "sig", "alg": algorithm}
    if algorithm.startswith("ES"):
        return ECKey.generate_key(
            {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[algorithm], parameters
        )
    if algorithm in ("EdDSA", "Ed25519"):
        return OKPKey.generate_key("Ed25519", parameters)
    return RSAKey.generate_key(2048, parameters)


class Issuer:
    """A running issuer. `keys` are published; the last one signs."""

    def __init__(self, clock: Clock | None = None, client: str = "andon-console", secret: str = "") -> None:
        self._clock = clock or SystemClock()
        self.client, self.secret = client, secret
        self.user: dict[str, Any] = {"sub": "f3a1", "preferred_username": "ann"}  # who signs in
        self.keys: list[Key] = [make_key("first")]
        self.broken = False  # answers 503 to everything
        self.asked: list[str] = []  # paths
        self._codes: dict[str, dict[str, str]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{REALM}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering for good."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def rotate(self, id_: str, algorithm: str = "RS256", *, keep: bool = True) -> None:
        """Sign with a new key from now on; the old ones stay published or not."""
        self.keys = [*(self.keys if keep else []), make_key(id_, algorithm)]

    def claims(self, **more: Any) -> dict[str, Any]:
        """An access token's claims as Keycloak's are by default; a claim of None is left out."""
        now = self._clock.now_ns() // 10**9
        found = {
            "iss": self.url,
            "aud": "account",
            "azp": "billing-app",
            "exp": now + 300,
            "iat": now,
            "jti": secrets.token_hex(8),
            "typ": "Bearer",
            "realm_access": {"roles": ["offline_access", "uma_authorization"]},
            **self.user,
            **more,
        }
        return {name: value for name, value in found.items() if value is not None}

    def token(
        self, header: dict[str, Any] | None = None, key: Key | OctKey | None = None, **claims: Any
    ) -> str:
        """A signed token with these claims, by the newest key unless told otherwise."""
        signer = key or self.keys[-1]
        algorithm = signer.as_dict(private=False).get("alg", "RS256") if key is None else "RS256"
        head = {"alg": algorithm, "typ": "JWT", "kid": signer.kid, **(header or {})}
        head = {name: value for name, value in head.items() if value is not None}
        return jwt.encode(head, self.claims(**claims), signer, algorithms=[head["alg"]])

    def answer(self, method: str, target: str, form: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON of one request."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.asked.append(parts.path)
        if self.broken:
            return 503, {}, {"error": "temporarily_unavailable"}
        path = parts.path.removeprefix(REALM)
        if path == "/.well-known/openid-configuration":
            return 200, {}, self._discovery()
        if path == "/protocol/openid-connect/certs":
            return 200, {}, KeySet(list(self.keys)).as_dict(private=False)
        if path == "/protocol/openid-connect/auth" and method == "GET":
            return self._authorise(query)
        if path == "/protocol/openid-connect/token" and method == "POST":
            return self._exchange(form)
        return 404, {}, {"error": "not_found"}

    def _discovery(self) -> dict[str, Any]:
        base = f"{self.url}/protocol/openid-connect"
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{base}/auth",
            "token_endpoint": f"{base}/token",
            "jwks_uri": f"{base}/certs",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
            "code_challenge_methods_supported": ["S256"],
        }

    def _authorise(self, query: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        if query.get("client_id") != self.client or query.get("code_challenge_method") != "S256":
            return 400, {}, {"error": "invalid_request"}
        code = secrets.token_urlsafe(16)
        self._codes[code] = query
        answered = urlencode({"code": code, "state": query.get("state", "")})
        return 302, {"location": f"{query['redirect_uri']}?{answered}"}, {}

    def _exchange(self, form: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        asked = self._codes.pop(form.get("code", ""), None)  # a code works once
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            asked is None
            or asked.get("code_challenge") != challenge
            or asked.get("redirect_uri") != form.get("redirect_uri")
            or form.get("client_id") != self.client
            or form.get("client_secret", "") != self.secret
        ):
            return 400, {}, {"error": "invalid_grant"}
        id_token = self.token(aud=self.client, azp=self.client, typ="ID", nonce=asked.get("nonce"))
        answer = {"access_token": self.token(azp=self.client), "id_token": id_token}
        return 200, {}, {**answer, "token_type": "Bearer", "expires_in": 300}


def _handler(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5

        def do_GET(self) -> None:
            self._reply({})

        def do_POST(self) -> None:
            raw = self.rfile.read(min(int(self.headers.get("content-length", 0)), 65_536)).decode()
            self._reply({name: values[0] for name, values in parse_qs(raw).items()})

        def _reply(self, form: dict[str, str]) -> None:
            status, headers, document = issuer.answer(self.command, self.path, form)
            body = json.dumps(document).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name that http.server calls
            """Tests print nothing."""

    return Handler
