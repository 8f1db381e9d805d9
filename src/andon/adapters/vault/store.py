"""Secrets in Vault or OpenBao: KV version 2, by a token or an AppRole whose token is renewed and given back.

Speaks the HTTP API as documented at developer.hashicorp.com/vault/api-docs (kv-v2, auth/approle, auth/token) with the
standard library. What the server answers is never repeated in an error: it may hold what was asked for. Blocking.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

from andon.kernel.errors import AndonError, Refused, Transient
from andon.kernel.references import Reference

TIMEOUT_S: Final = 5.0
ANSWER_BYTES_MAX: Final = 2**20
_RENEW_SHARE: Final = 0.5  # of a token's life after which it is renewed


@dataclass(frozen=True, kw_only=True)
class Login:
    """How to get a token; each reads its value when it is needed."""

    token: Callable[[], str] = lambda: ""
    role_id: Callable[[], str] = lambda: ""
    secret_id: Callable[[], str] = lambda: ""


@dataclass(frozen=True, kw_only=True)
class _Token:
    text: str
    renew_at: float  # monotonic; infinite for one that does not end
    ends_at: float
    renewable: bool
    ours: bool  # got by logging in: renewed and given back by us


class VaultStore:
    """An `OutsideStore` of one server. Calls are made one at a time."""

    def __init__(
        self,
        url: str,
        *,
        mount: str,
        area: str,
        login: Login,
        monotonic: Callable[[], float],
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise Refused(
                "settings_invalid",
                "vault_url is no http(s) URL.",
                hint="Write https://vault.example.com:8200",
            )
        self._parts = parts
        self._mount = mount.strip("/")
        self._area = area
        self._login = login
        self._monotonic = monotonic
        self._one = threading.Lock()
        self._token: _Token | None = None

    def read(self, reference: Reference) -> str:
        """One field of a secret. Raises Refused where it is not there or not for us, Transient otherwise."""
        with self._one:
            path = f"/v1/{quote(self._mount)}/data/{quote(reference.place.strip('/'))}"
            status, answer = self._ask("GET", path, None, self._valid().text)
            if status == 403 and self._token is not None and self._token.ours:
                self._token = None  # it may have been revoked: log in again, once
                status, answer = self._ask("GET", path, None, self._valid().text)
            return _field(status, answer, reference)

    def close(self) -> None:
        """Give back the token that was got by logging in; a server that does not answer lets it run out."""
        with self._one:
            held, self._token = self._token, None
            if held is not None and held.ours:
                try:
                    self._ask("POST", "/v1/auth/token/revoke-self", {}, held.text)
                except AndonError:
                    return  # it ends by itself

    def _valid(self) -> _Token:
        now = self._monotonic()
        held = self._token
        if held is not None and now < held.renew_at:
            return held
        if held is not None and held.renewable and now < held.ends_at:
            try:
                status, answer = self._ask("POST", "/v1/auth/token/renew-self", {}, held.text)
            except Transient:
                return held  # it is good until it ends
            if status == 200:
                self._token = self._granted(answer, held.text, ours=True)
                return self._token
        self._token = self._fresh()
        return self._token

    def _fresh(self) -> _Token:
        given = self._login.token()
        if given:
            return _Token(
                text=given, renew_at=self._monotonic() + 30.0, ends_at=0.0, renewable=False, ours=False
            )
        role, secret = self._login.role_id(), self._login.secret_id()
        if not role:
            raise Refused(
                "vault_login", "There is no way to log in to Vault.", hint="Set vault_token, or the AppRole."
            )
        status, answer = self._ask(
            "POST", "/v1/auth/approle/login", {"role_id": role, "secret_id": secret}, ""
        )
        if status != 200:
            raise _trouble(status, "Vault let nobody in with this AppRole")
        return self._granted(answer, "", ours=True)

    def _granted(self, answer: Mapping[str, Any], text: str, *, ours: bool) -> _Token:
        auth = answer.get("auth") or {}
        token = str(auth.get("client_token") or text)
        if not token:
            raise Transient("secret_unreachable", "Vault answered a login without a token.")
        lasts_s = float(auth.get("lease_duration") or 0)
        now = self._monotonic()
        return _Token(
            text=token,
            renew_at=now + lasts_s * _RENEW_SHARE if lasts_s else float("inf"),
            ends_at=now + lasts_s if lasts_s else float("inf"),
            renewable=bool(auth.get("renewable")),
            ours=ours,
        )

    def _ask(self, method: str, path: str, body: Any, token: str) -> tuple[int, dict[str, Any]]:
        parts = self._parts
        host, port = parts.hostname or "", parts.port
        connection = (
            http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=ssl.create_default_context())
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
        )
        headers = {"accept": "application/json", "x-vault-request": "true"}
        if token:
            headers["x-vault-token"] = token
        if self._area:
            headers["x-vault-namespace"] = self._area
        raw = None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, parts.path.rstrip("/") + path, raw, headers)
            answer = connection.getresponse()
            data = answer.read(ANSWER_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException, ValueError) as error:
            # ValueError: a token that no header can carry. Its text would be in the error.
            raise Transient("secret_unreachable", f"Vault did not answer: {type(error).__name__}.") from None
        finally:
            connection.close()
        try:
            decoded = json.loads(data) if data and len(data) <= ANSWER_BYTES_MAX else {}
        except (ValueError, RecursionError):
            decoded = {}
        return answer.status, decoded if isinstance(decoded, dict) else {}


def _field(status: int, answer: Mapping[str, Any], reference: Reference) -> str:
    if status != 200:
        raise _trouble(status, f"Vault did not give {reference.place}")
    outer = answer.get("data")
    data = outer.get("data") if isinstance(outer, dict) else None
    value = data.get(reference.key) if isinstance(data, dict) else None
    if not isinstance(value, str) or not value:
        raise Refused(
            "secret_unknown",
            f"The secret at {reference.place} in Vault has no text under {reference.key}.",
            hint="Write vault:PATH#KEY with a key that is there; the path without mount and 'data'.",
            status=404,
        )
    return value


def _trouble(status: int, what: str) -> AndonError:
    if status in (400, 403, 404):
        return Refused(
            "secret_unknown",
            f"{what}: it answered {status}.",
            hint="Look at the path, the mount and the policy of the token.",
            status=404,
        )
    return Transient("secret_unreachable", f"{what}: it answered {status}.")
