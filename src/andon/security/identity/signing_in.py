"""Signing in with an issuer: OpenID Connect, authorization code with PKCE (RFC 7636), state and nonce, each used once.

Control is the client; the browser is tied to its attempt by a cookie. Programs are answered on loopback (RFC 8252) with
a code of their own, which only the one that asked can turn into a session. Attempts live in memory, ten minutes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Refused, Transient
from andon.kernel.random import Random
from andon.security.identity.directory import Directory
from andon.security.identity.discovery import Upstreams, ask
from andon.security.identity.issuers import ISSUER, IssuerSpec, SignInSpec, status_of
from andon.security.identity.tokens import Failure, Identity
from andon.store.model import Record, Store

ATTEMPT_S: Final = 600.0
ATTEMPTS_MAX: Final = 2_000  # under way; the oldest gives way
HANDOVER_S: Final = 60.0
NEXT_MAX: Final = 500
CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_LOCAL: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*")


class Loopback(msgspec.Struct, frozen=True, kw_only=True):
    """A program on the caller's machine that waits for the answer."""

    port: int
    challenge: str  # S256 of a verifier that only it knows
    state: str


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One sign-in under way."""

    issuer: str
    redirect: str
    verifier: str
    nonce: str
    browser: str  # hash of the cookie
    onward: str
    loopback: Loopback | None
    ends_at: float


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send the browser, and what it must bring back."""

    url: str
    cookie: str


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """Who signed in, and where the browser goes on to."""

    onward: str
    identity: Identity | None  # None where a program collects it


class SignIns:
    """Sign-ins with issuers. `credentials` resolves references to client secrets."""

    def __init__(
        self,
        store: Store,
        directory: Directory,
        upstreams: Upstreams,
        credentials: Callable[[str], str],
        clock: Clock,
        random: Random,
    ) -> None:
        self._store = store
        self._directory = directory
        self._upstreams = upstreams
        self._credentials = credentials
        self._clock = clock
        self._random = random
        self._attempts: OrderedDict[str, Attempt] = OrderedDict()
        self._handovers: OrderedDict[str, tuple[Identity, str, float]] = OrderedDict()

    async def begin(
        self, issuer: str, redirect: str, onward: str = "/", loopback: Loopback | None = None
    ) -> Begun:
        """Where the browser goes. Raises Refused for an issuer that nobody can sign in with."""
        record, _, sign_in = await self._issuer(issuer)
        url = status_of(record).authorization_url
        if not url:
            raise Transient(
                "issuer_unusable", f"Issuer '{record.name}' has not been reached yet.", hint="Try again soon."
            )
        if len(onward) > NEXT_MAX or not _LOCAL.fullmatch(onward):
            raise Refused(
                "next_invalid", "The way on is a path of this host.", hint="Begin it with /.", param="next"
            )
        state, nonce, verifier, cookie = (self._secret() for _ in range(4))
        self._keep(
            self._attempts,
            _hash(state),
            Attempt(
                issuer=record.name,
                redirect=redirect,
                verifier=verifier,
                nonce=nonce,
                browser=_hash(cookie),
                onward=onward,
                loopback=loopback,
                ends_at=self._clock.monotonic() + ATTEMPT_S,
            ),
        )
        query = {
            "response_type": "code",
            "client_id": sign_in.client_id,
            "redirect_uri": redirect,
            "scope": " ".join(sign_in.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
        }
        return Begun(url=url + ("&" if "?" in url else "?") + urlencode(query), cookie=cookie)

    async def finish(self, state: str, code: str, cookie: str) -> Finished:
        """Who came back. Raises Refused 401, in the same words whatever was wrong, or Transient."""
        # Taken out before anything else: a state works once, also where the rest fails.
        attempt = self._attempts.pop(_hash(state), None)
        is_theirs = attempt is not None and hmac.compare_digest(attempt.browser, _hash(cookie))
        if attempt is None or not is_theirs or attempt.ends_at < self._clock.monotonic() or not code:
            raise _refused("the attempt was made in another browser, is over, or never was")
        record, _, sign_in = await self._issuer(attempt.issuer)
        raw = await self._redeem(record, sign_in, attempt, code)
        found = await self._directory.check(raw, (record.name, sign_in.client_id))
        if isinstance(found, Failure):
            raise _refused(found.detail)
        if not hmac.compare_digest(found.nonce.encode(), attempt.nonce.encode()):
            raise _refused("the ID token carries another nonce")
        if attempt.loopback is None:
            return Finished(onward=attempt.onward, identity=found)
        handover = self._secret()
        ends_at = self._clock.monotonic() + HANDOVER_S
        self._keep(self._handovers, _hash(handover), (found, attempt.loopback.challenge, ends_at))
        query = urlencode({"code": handover, "state": attempt.loopback.state})
        return Finished(onward=f"http://127.0.0.1:{attempt.loopback.port}/?{query}", identity=None)

    def collect(self, code: str, verifier: str) -> Identity:
        """Who signed in for a program, once, for the program that asked. Raises Refused 401."""
        found = self._handovers.pop(_hash(code), None)
        if found is None or found[2] < self._clock.monotonic():
            raise _refused("the program's code is over or never was")
        if not hmac.compare_digest(challenge_of(verifier), found[1]):
            raise _refused("the program's verifier is another")
        return found[0]

    async def _redeem(self, record: Record, sign_in: SignInSpec, attempt: Attempt, code: str) -> str:
        """The ID token for a code (OpenID Connect Core §3.1.3)."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": attempt.redirect,
            "client_id": sign_in.client_id,
            "code_verifier": attempt.verifier,
        }
        if sign_in.client_secret:
            form["client_secret"] = self._credentials(sign_in.client_secret)
        status = status_of(record)
        try:
            upstream = self._upstreams(status.ca)
            raw = await ask(record.name, status.token_url, upstream, self._clock, urlencode(form).encode())
            answer = msgspec.json.decode(raw, type=dict[str, Any])
        except (AndonError, OSError, msgspec.MsgspecError) as error:
            raise _refused(f"the issuer's token endpoint: {error}") from error
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise _refused("the issuer's token endpoint gave no ID token: is `openid` among the scopes?")
        return token

    async def _issuer(self, name: str) -> tuple[Record, IssuerSpec, SignInSpec]:
        """The issuer of that name, or the only one that people can sign in with."""
        records = await self._store.transact(lambda unit: tuple(unit.list(ISSUER)))
        able = []
        for record in records:
            spec = msgspec.convert(record.spec, IssuerSpec)
            if spec.sign_in is not None and name in ("", record.name):
                able.append((record, spec, spec.sign_in))
        if len(able) != 1:
            raise Refused(
                "issuer_unknown",
                "There is not exactly one issuer like that to sign in with.",
                hint="Name one that has signIn: see andon get issuers.",
                param="issuer",
                status=404,
            )
        return able[0]

    def _keep(self, kept: OrderedDict[str, Any], name: str, value: Any) -> None:
        if len(kept) >= ATTEMPTS_MAX:
            kept.popitem(last=False)
        kept[name] = value

    def _secret(self) -> str:
        return base64.urlsafe_b64encode(self._random.secret_bytes(32)).decode().rstrip("=")


def challenge_of(verifier: str) -> str:
    """S256 of a verifier (RFC 7636 §4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _refused(internal: str) -> Refused:
    return Refused(
        "sign_in_refused",
        "Signing in did not work.",
        hint="Begin again; the operator of the factory finds the reason in the log of control.",
        status=401,
        internal=internal,
    )
