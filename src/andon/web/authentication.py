"""Who calls: a bearer key against keyed digests, in constant time.

Keys themselves are never held here; the digest of each is handed in by `app`. Every credential is compared on every
call, so that time says nothing about which one was close. Keys that come and go, such as those of the gateway, are
looked up by `app` where it says so.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable

import msgspec

from andon.kernel.errors import Refused
from andon.kernel.principals import Principal

KEY_BYTES_MAX = 512


def keyed_digest(key: str, pepper: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104) of a key under the factory's pepper."""
    return hmac.new(pepper, key.encode(), hashlib.sha256).digest()


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A principal and the digest of the key that proves it."""

    principal: Principal
    digest: bytes


# A key and its keyed digest: whose it is, if it is in force.
Lookup = Callable[[str, bytes], Awaitable[Principal | None]]


class Authenticator:
    """Turns the `authorization` header into a principal; what that may do is decided elsewhere."""

    def __init__(
        self, credentials: tuple[Credential, ...], pepper: bytes, lookup: Lookup | None = None
    ) -> None:
        self._credentials = credentials
        self._pepper = pepper
        self._lookup = lookup

    async def identify(self, header: str | None) -> Principal:
        """Who calls; raises `Refused` 401."""
        if not header:
            raise Refused(
                "key_missing",
                "This route needs a key and none was sent.",
                hint="Send the content of .andon/admin.key as 'authorization: Bearer …'.",
                status=401,
            )
        scheme, _, key = header.partition(" ")
        found = None
        if scheme.lower() == "bearer" and 0 < len(key) <= KEY_BYTES_MAX:
            digest = keyed_digest(key.strip(), self._pepper)
            for credential in self._credentials:
                if hmac.compare_digest(credential.digest, digest):
                    found = credential.principal
            if found is None and self._lookup is not None:
                found = await self._lookup(key.strip(), digest)
        if found is None:
            raise Refused(
                "key_refused",
                "The key that was sent is not one of this factory's.",
                hint="Send the content of .andon/admin.key as 'authorization: Bearer …'.",
                status=401,
            )
        return found
