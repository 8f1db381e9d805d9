"""Tokens of issuers on the admin plane: read from the store, never trusted for longer than a second.

The same checks and the same learning of new signing keys as at the gateway. Used by control and by the observer.
"""

from __future__ import annotations

import msgspec
import structlog

from andon.kernel.clock import Clock
from andon.kernel.errors import Unlearnt
from andon.kernel.principals import Principal
from andon.kernel.snapshot import BindingEntry, IssuerEntry
from andon.security.identity.bindings import Bindings, binding_entries
from andon.security.identity.discovery import Upstreams
from andon.security.identity.issuers import issuer_entries
from andon.security.identity.learning import KeyLearner
from andon.security.identity.tokens import Failure, Identity, Tokens
from andon.store.model import Store, Unit

FRESH_S = 1.0
TOLD_S = 1.0  # one line in the log for refusals in this time: strangers must not fill it

_Read = tuple[tuple[IssuerEntry, ...], tuple[BindingEntry, ...]]

_logger = structlog.get_logger("andon.identity")


class Directory:
    """Whose token this is."""

    def __init__(self, store: Store, clock: Clock, upstreams: Upstreams) -> None:
        self._store = store
        self._clock = clock
        self._tokens = Tokens(())
        self._bindings = Bindings(())
        self._read: _Read = ((), ())
        self._read_at = -FRESH_S
        self._told_at = -TOLD_S
        self._learner = KeyLearner(lambda: self._tokens.entries, self._learnt, upstreams, clock)

    async def find(self, token: str) -> Principal | None:
        """Who holds the token; None where it is not taken. The reason is in the log."""
        found = await self.check(token)
        if isinstance(found, Failure):
            self._tell(found)
            return None
        return self._bindings.principal(found)

    async def check(self, token: str, signing_in: tuple[str, str] = ("", "")) -> Identity | Failure:
        """What a token says, or why it is not taken.

        With the name of an issuer and of the client that people sign in with, it must be an ID token of theirs.
        """
        raw = token.encode("utf-8", "replace")
        await self._refresh()
        found = self._verifier(signing_in).verify(raw, self._clock.now_ns())
        if isinstance(found, Failure) and found.unlearnt:
            missing = Unlearnt("invalid_token", "", hint="", issuer=found.issuer, signer=found.signer)
            if await self._learner.learn(missing):
                found = self._verifier(signing_in).verify(raw, self._clock.now_ns())
        return found

    def _verifier(self, signing_in: tuple[str, str]) -> Tokens:
        name, client = signing_in
        if not name:
            return self._tokens
        entry = self._tokens.entries.get(name)
        if entry is None:
            return Tokens(())
        return Tokens([msgspec.structs.replace(entry, audiences=(client,), authorised_parties=())])

    def principal(self, identity: Identity) -> Principal:
        """Who the holder of a token is here, by the bindings last read."""
        return self._bindings.principal(identity)

    async def close(self) -> None:
        """Stop asking issuers."""
        await self._learner.close()

    async def _refresh(self) -> None:
        now = self._clock.monotonic()
        if now - self._read_at < FRESH_S:
            return

        def work(unit: Unit) -> _Read:
            return issuer_entries(unit), binding_entries(unit)

        read = await self._store.transact(work)
        self._read_at = now
        if read != self._read:
            self._read = read
            self._tokens, self._bindings = Tokens(read[0]), Bindings(read[1])

    def _learnt(self, issuer: str, keys: str) -> None:
        """In force until control's own look is in the store, which the issuer's next rotation will differ from."""
        self._tokens = self._tokens.replacing(issuer, keys)

    def _tell(self, failure: Failure) -> None:
        now = self._clock.monotonic()
        if now - self._told_at >= TOLD_S:
            self._told_at = now
            _logger.warning(
                "token refused", issuer=failure.issuer, reason=failure.reason, detail=failure.detail
            )
