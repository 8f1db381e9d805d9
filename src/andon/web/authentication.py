"""Who calls: a key against keyed digests, a token of an issuer, or the session of somebody who has signed in.

Keys themselves are never held here; the digest of each is handed in by `app`. Every credential is compared on every
call, so that time says nothing about which one was close. What comes and goes (keys of the gateway, tokens, sessions)
is looked up by `app` where it says so. A cookie acts only for pages of this very host.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable

import msgspec

from andon.kernel.errors import Refused
from andon.kernel.principals import Principal

KEY_BYTES_MAX = 512
TOKEN_BYTES_MAX = 16 * 1024
SESSION_PREFIX = "andon-session-"
_HINT = "Send the content of .andon/admin.key as 'authorization: Bearer …'."
SESSION_COOKIE, ATTEMPT_COOKIE = "andon", "andon-signin"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def keyed_digest(key: str, pepper: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104) of a key under the factory's pepper."""
    return hmac.new(pepper, key.encode(), hashlib.sha256).digest()


def cookie_name(name: str, secure: bool) -> str:
    """By TLS with the prefix that binds a cookie to this very host (RFC 6265bis §4.1.3.2)."""
    return f"__Host-{name}" if secure else name


def set_cookie(name: str, value: str, *, secure: bool, life_s: int) -> str:
    """A `set-cookie` line that no script can read; an empty value ends it."""
    line = f"{cookie_name(name, secure)}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={life_s if value else 0}"
    return line + ("; Secure" if secure else "")


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A principal and the digest of the key that proves it."""

    principal: Principal
    digest: bytes


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """What a browser adds to a request by itself, and where the request arrived."""

    session: str = ""  # cookie of somebody who has signed in
    attempt: str = ""  # cookie of somebody who is signing in
    method: str = "GET"
    origin: str = ""
    site: str = ""  # Sec-Fetch-Site
    host: str = ""
    secure: bool = False  # by TLS

    @property
    def base(self) -> str:
        """The address that the browser has for this host."""
        return f"{'https' if self.secure else 'http'}://{self.host}"

    def check_own_page(self) -> None:
        """Return if a page of this host sent it; raises Refused 403 (against cross-site request forgery).

        Browsers say so in Sec-Fetch-Site (W3C Fetch Metadata) or in Origin; what says neither is none of ours.
        """
        if self.site == "same-origin" or (not self.site and self.origin == self.base):
            return
        raise Refused(
            "cross_site_refused",
            "A change by cookie must come from a page of this host.",
            hint="Programs send 'authorization: Bearer …' instead of a cookie.",
            status=403,
        )


NO_VISIT = Visit()

# A key and its keyed digest: whose it is, if it is in force.
Lookup = Callable[[str, bytes], Awaitable[Principal | None]]
# A token of an issuer, or of a session: who holds it, if it is in force.
Holder = Callable[[str], Awaitable[Principal | None]]


class Authenticator:
    """Turns what a request brings into a principal; what that may do is decided elsewhere."""

    def __init__(
        self,
        credentials: tuple[Credential, ...],
        pepper: bytes,
        lookup: Lookup | None = None,
        *,
        tokens: Holder | None = None,
        sessions: Holder | None = None,
    ) -> None:
        self._credentials = credentials
        self._pepper = pepper
        self._lookup = lookup
        self._tokens = tokens
        self._sessions = sessions

    async def identify(self, header: str | None, visit: Visit = NO_VISIT) -> Principal:
        """Who calls; raises `Refused` 401, or 403 for a cookie that another site made the browser send.

        A header decides alone where there is one.
        """
        found = None
        if header:
            scheme, _, credential = header.partition(" ")
            if scheme.lower() == "bearer":
                found = await self._holder(credential.strip())
        elif visit.session:
            if visit.method not in _SAFE:
                visit.check_own_page()
            if self._sessions is not None and len(visit.session) <= KEY_BYTES_MAX:
                found = await self._sessions(visit.session)
        else:
            raise Refused("key_missing", "This route needs a key and none was sent.", hint=_HINT, status=401)
        if found is None:
            raise Refused(
                "key_refused", "The key that was sent is not one of this factory's.", hint=_HINT, status=401
            )
        return found

    async def _holder(self, text: str) -> Principal | None:
        if (
            text.startswith("eyJ") and text.count(".") == 2
        ):  # a JSON object in base64url, as every token begins
            if self._tokens is None or len(text) > TOKEN_BYTES_MAX:
                return None
            return await self._tokens(text)
        if not 0 < len(text) <= KEY_BYTES_MAX:
            return None
        if text.startswith(SESSION_PREFIX):
            return None if self._sessions is None else await self._sessions(text)
        digest = keyed_digest(text, self._pepper)
        found = None
        for credential in self._credentials:
            if hmac.compare_digest(credential.digest, digest):
                found = credential.principal
        if found is None and self._lookup is not None:
            found = await self._lookup(text, digest)
        return found
