"""Asks an issuer: its discovery document (OpenID Connect Discovery 1.0 §4) and its key set (RFC 7517).

Bounded in time and size, without redirects, and only at addresses that `plan` would have let through. Nothing that it
says is believed beyond what `signing` and `issuers` check.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.errors import Transient
from andon.kernel.ports import Upstream
from andon.kernel.snapshot import TargetEntry
from andon.security.identity.issuers import IssuerSpec, may_be_asked
from andon.security.identity.signing import SET_BYTES_MAX, read_keys

TIMEOUT_S: Final = 3.0
DOCUMENT_BYTES_MAX: Final = 256 * 1024
WELL_KNOWN: Final = "/.well-known/openid-configuration"
FORM: Final = ((b"content-type", b"application/x-www-form-urlencoded"), (b"accept", b"application/json"))

# A client that trusts the given certificates (PEM; empty = the system's) and nothing else.
Upstreams = Callable[[str], Upstream]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What an issuer says of itself."""

    keys: str
    key_ids: tuple[str, ...]
    keys_url: str
    authorization_url: str = ""
    token_url: str = ""


async def look(name: str, spec: IssuerSpec, upstream: Upstream, clock: Clock) -> Found:
    """Discovery document and key set of an issuer. Raises Transient saying what is wrong with which of them."""
    document: dict[str, Any] = {}
    # With a key set of its own and nobody signing in, an issuer need not offer discovery.
    if not spec.keys_url or spec.sign_in is not None:
        url = spec.issuer.rstrip("/") + WELL_KNOWN
        document = _object(await ask(name, url, upstream, clock), "discovery document")
        if document.get("issuer") != spec.issuer:
            raise _wrong(f"The discovery document at {url} is not of '{spec.issuer}'.")
    addresses = {
        field: _address(document, field, spec)
        for field in ("jwks_uri", "authorization_endpoint", "token_endpoint")
    }
    keys_url = spec.keys_url or addresses["jwks_uri"]
    if not keys_url:
        raise _wrong("The discovery document names no key set.")
    keys, ids = await fetch_keys(name, keys_url, upstream, clock)
    return Found(
        keys=keys,
        key_ids=ids,
        keys_url=keys_url,
        authorization_url=addresses["authorization_endpoint"],
        token_url=addresses["token_endpoint"],
    )


async def fetch_keys(name: str, url: str, upstream: Upstream, clock: Clock) -> tuple[str, tuple[str, ...]]:
    """A key set with at least one usable key, and their ids. Raises Transient."""
    raw = await ask(name, url, upstream, clock)
    keys, problems = read_keys(raw)
    if not keys:
        raise _wrong(f"The key set at {url} has no usable key. {' '.join(problems[:3])}")
    return raw.decode("utf-8", "replace"), tuple(key.id for key in keys)


async def ask(name: str, url: str, upstream: Upstream, clock: Clock, form: bytes = b"") -> bytes:
    """The body of a 200 answer: of a GET, or of a POST of a form. Raises Transient."""
    parts = urlsplit(url)
    target = TargetEntry(id=f"issuer-{name}", url=f"{parts.scheme}://{parts.netloc}", protocol="oip")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers: Sequence[tuple[bytes, bytes]] = FORM if form else ((b"accept", b"application/json"),)
    answer = await upstream.send(
        target,
        b"POST" if form else b"GET",
        path.encode(),
        headers,
        form,
        connect_timeout_s=TIMEOUT_S,
        first_byte_timeout_s=TIMEOUT_S,
        idle_timeout_s=TIMEOUT_S,
        deadline_at=clock.monotonic() + TIMEOUT_S,
    )
    if answer.status != 200:
        raise _wrong(f"{url} answered {answer.status}.")
    if len(answer.body) > max(DOCUMENT_BYTES_MAX, SET_BYTES_MAX):
        raise _wrong(f"{url} answered with more than {DOCUMENT_BYTES_MAX} bytes.")
    return answer.body


def _object(raw: bytes, what: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _wrong(f"The {what} is no JSON object.") from error


def _address(document: dict[str, Any], field: str, spec: IssuerSpec) -> str:
    value = document.get(field, "")
    if not value:
        return ""
    if not isinstance(value, str) or not may_be_asked(value, spec):
        raise _wrong(f"The discovery document's {field} is no address that may be asked.")
    return value


def _wrong(message: str) -> Transient:
    return Transient(
        "issuer_unusable", message, hint="Look at it with: andon issuers list", retry_after_s=10.0
    )
