"""The gateway's first stage: who is calling, and may this key call this name?

Reads memory only. A credential seen before costs one SHA-256 and one look-up; a new key costs an HMAC, a new token the
check of its signature (`tokens`). A refusal never tells whether a key, or a name that the key may not call, exists.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Refused, Unlearnt
from andon.kernel.exchange import Exchange
from andon.kernel.principals import Principal
from andon.kernel.reports import TokenRefusals
from andon.kernel.snapshot import IssuerEntry, KeyEntry, Snapshot
from andon.security.identity.bindings import Bindings
from andon.security.identity.token import keyed_digest, public_id
from andon.security.identity.tokens import Failure, Tokens

KNOWN_MAX = 100_000  # one for each key and spelling of the header
WRONG_MAX = 10_000
WRONG_S = 5.0  # a new snapshot forgets them at once, so a key just made never waits for this
HEADER_BYTES_MAX = 256

LEARNT_S = 900.0  # how long keys that this gateway fetched itself outlive a snapshot that does not know them
REASONS_MAX = 100  # pairs of issuer and reason between two reports; the rest is counted under the first

_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key"})
_HINT = "Send a key made with `andon keys create` as 'authorization: Bearer sk-andon-…'."
_NOT_ACCEPTED = "This token is not accepted here."
_ASK_ANEW = "Ask for a new token; the operator of the factory sees why this one was refused."
_NO_DIGEST = "0" * 64

T = TypeVar("T")


class _Known:
    """A verified credential as the hot path needs it."""

    __slots__ = ("entry", "expires_at_ns", "id", "is_token", "names", "principal")

    def __init__(self, entry: KeyEntry, names: frozenset[str] | None, principal: Principal | None) -> None:
        self.entry = entry
        self.id = entry.id
        self.expires_at_ns = entry.expires_at_ns
        self.names = names  # what it may call, aliases included; None = everything
        self.is_token = principal is not None
        self.principal = _principal(entry) if principal is None else principal


def _principal(entry: KeyEntry) -> Principal:
    """Who acts with a key: the service that holds it, or else the key itself."""
    return Principal(
        kind="service" if entry.service else "key",
        id=entry.service or entry.id,
        roles=entry.roles,
        team=entry.team,
        owner=entry.owner,
        cohorts=entry.cohorts,
        label=entry.label,
    )


class _Table:
    """Everything derived from one snapshot. A new snapshot makes a new table, so nothing outlives a revocation."""

    __slots__ = ("anonymous", "bindings", "by_id", "known", "tokens", "wrong")

    def __init__(self, snapshot: Snapshot, tokens: Tokens) -> None:
        aliases = {endpoint.name: endpoint.aliases for endpoint in snapshot.endpoints}
        self.by_id = {entry.id: _Known(entry, _callable(entry, aliases), None) for entry in snapshot.keys}
        self.known: dict[bytes, _Known] = {}
        self.wrong: dict[bytes, tuple[float, Refused]] = {}
        self.anonymous = snapshot.allow_anonymous
        self.tokens = tokens
        self.bindings = Bindings(snapshot.bindings)


class _Learnt:
    """The key set of an issuer as this gateway fetched it."""

    __slots__ = ("at_ns", "keys", "url")

    def __init__(self, keys: str, url: str, at_ns: int) -> None:
        self.keys = keys
        self.url = url
        self.at_ns = at_ns


def _callable(entry: KeyEntry, aliases: dict[str, tuple[str, ...]]) -> frozenset[str] | None:
    if not entry.endpoints:
        return None
    return frozenset(name for endpoint in entry.endpoints for name in (endpoint, *aliases.get(endpoint, ())))


class IdentifyStage:
    """Fills `exchange.key` or refuses with 401 or 403."""

    name = "identify"

    def __init__(self, pepper: bytes, clock: Clock) -> None:
        self._pepper = pepper
        self._now_ns = clock.now_ns
        self._monotonic = clock.monotonic
        self._table = _Table(Snapshot(version=0, factory="", revision=0, compiled_at_ns=0), Tokens(()))
        self._used: dict[str, int] = {}
        self._learnt: dict[str, _Learnt] = {}
        self._failures: dict[tuple[str, str], tuple[int, str]] = {}
        self.hashed = 0  # HMACs computed: what a flood of new keys costs
        self.verified = 0  # signatures of tokens checked
        self.refused = 0

    def adopt(self, snapshot: Snapshot) -> Callable[[], None]:
        """Index a snapshot's keys. Raises Refused for digests that are none or ids that occur twice."""
        for entry in snapshot.keys:
            if len(entry.digest) != 64:
                raise Refused("snapshot_invalid", f"Key {entry.id} has no HMAC-SHA256 digest.")
        table = _Table(snapshot, Tokens([self._with_learnt(entry) for entry in snapshot.issuers]))
        if len(table.by_id) != len(snapshot.keys):
            raise Refused("snapshot_invalid", "Two keys of the snapshot have the same id.")

        def enforce() -> None:
            self._table = table
            self._used = {id_: at_ns for id_, at_ns in self._used.items() if id_ in table.by_id}

        return enforce

    def admit(self, exchange: Exchange) -> AndonError | None:
        """Identify the caller; the first credential header decides, as sent."""
        table = self._table
        for name, value in exchange.headers:
            if name in _HEADERS:
                mark = hashlib.sha256(value).digest()
                known = table.known.get(mark)
                if known is None:
                    found = self._look_up(table, value, mark)
                    if isinstance(found, AndonError):
                        self.refused += 1
                        return found
                    known = found
                break
        else:
            if table.anonymous:
                return None
            self.refused += 1
            return Refused("missing_api_key", "No API key was sent.", hint=_HINT, status=401)
        now_ns = exchange.received_ns or self._now_ns()
        if known.expires_at_ns and now_ns >= known.expires_at_ns:
            self.refused += 1
            if known.is_token:
                return _expired()
            return Refused(
                "expired_api_key",
                f"The API key {known.id} has expired.",
                hint="Ask for a new one.",
                status=401,
            )
        if known.names is not None and exchange.name and exchange.name not in known.names:  # lists name none
            self.refused += 1
            return Refused(
                "model_not_allowed",
                f"The API key {known.id} may not call this model, or there is none of this name.",
                hint="Ask the owner of the factory to allow it: `andon keys list` shows what a key may call.",
                status=403,
                param="model",
            )
        exchange.key = known.entry
        exchange.principal = known.principal
        if not known.is_token:
            self._used[known.id] = now_ns
        return None

    def settle(self, exchange: Exchange) -> None:
        """Nothing is held."""

    def last_used_ns(self) -> dict[str, int]:
        """When each key was last let in by this gateway, by public id; empties the record."""
        used, self._used = self._used, {}
        return used

    def token_refusals(self) -> tuple[TokenRefusals, ...]:
        """Which tokens were refused since the last call, and why, for operators; empties the record."""
        found, self._failures = self._failures, {}
        return tuple(
            TokenRefusals(issuer=key[0], reason=key[1], count=value[0], detail=value[1])
            for key, value in found.items()
        )

    def issuers(self) -> Mapping[str, IssuerEntry]:
        """The issuers in force by name, with the keys in use."""
        return self._table.tokens.entries

    def learn_keys(self, issuer: str, keys: str) -> None:
        """Take another key set of an issuer from now on; tokens that were known are verified anew."""
        table = self._table
        entry = table.tokens.entries.get(issuer)
        if entry is None:
            return
        self._learnt[issuer] = _Learnt(keys, entry.keys_url, self._now_ns())
        table.tokens = table.tokens.replacing(issuer, keys)
        table.known = {mark: known for mark, known in table.known.items() if not known.is_token}
        table.wrong = {}

    def _with_learnt(self, entry: IssuerEntry) -> IssuerEntry:
        """The issuer with the keys that this gateway learnt, while control does not know newer ones."""
        learnt = self._learnt.get(entry.name)
        if learnt is None:
            return entry
        age_s = (self._now_ns() - learnt.at_ns) / 1e9
        if learnt.url != entry.keys_url or entry.keys_at_ns >= learnt.at_ns or age_s > LEARNT_S:
            del self._learnt[entry.name]
            return entry
        return msgspec.structs.replace(entry, keys=learnt.keys)

    def _look_up_token(self, table: _Table, token: bytes, mark: bytes) -> _Known | AndonError:
        """The slow way of a token. What is wrong with it is for the operator; the caller learns that it is refused."""
        self.verified += 1
        found = table.tokens.verify(token, self._now_ns())
        if isinstance(found, Failure):
            self._note(found)
            if found.unlearnt:
                return Unlearnt(
                    "invalid_token",
                    _NOT_ACCEPTED,
                    hint=_ASK_ANEW,
                    issuer=found.issuer,
                    signer=found.signer,
                )
            refusal = _expired() if found.reason == "expired" else _refused_token()
            _remember(table.wrong, WRONG_MAX, mark, (self._monotonic() + WRONG_S, refusal))
            return refusal
        principal = table.bindings.principal(found)
        entry = KeyEntry(
            id=principal.name,
            digest="",  # of no key: limits, cohorts and idempotency go by its holder
            team=principal.team,
            owner=principal.id,
            expires_at_ns=found.expires_at_ns,
            roles=principal.roles,
            label=principal.label,
        )
        known = _Known(entry, None, principal)
        _remember(table.known, KNOWN_MAX, mark, known)
        return known

    def _note(self, failure: Failure) -> None:
        place = (failure.issuer, failure.reason)
        if place not in self._failures and len(self._failures) >= REASONS_MAX:
            place = next(iter(self._failures))
        count = self._failures[place][0] if place in self._failures else 0
        self._failures[place] = (count + 1, failure.detail)

    def _look_up(self, table: _Table, value: bytes, mark: bytes) -> _Known | AndonError:
        """The slow way of a header not seen since the last snapshot."""
        wrong = table.wrong.get(mark)
        if wrong is not None and self._monotonic() < wrong[0]:
            return wrong[1]
        text = _credential(value)
        if (
            text.startswith(b"eyJ") and text.count(b".") == 2
        ):  # a JSON object in base64url, as every token begins
            return self._look_up_token(table, text, mark)
        id_ = public_id(text) if len(text) <= HEADER_BYTES_MAX else None
        if id_ is None:
            # Neither cached nor hashed: there are more malformed texts than any cache could hold.
            return Refused(
                "invalid_api_key",
                "This is not an API key of Andon: it is cut, mistyped, or a key of something else.",
                hint=_HINT,
                status=401,
            )
        known = table.by_id.get(id_)
        self.hashed += 1
        # Unknown ids are hashed and compared too, so that time does not tell which ids exist.
        expected = known.entry.digest if known is not None else _NO_DIGEST
        if not hmac.compare_digest(keyed_digest(text, self._pepper), expected) or known is None:
            refusal = _unknown()
            _remember(table.wrong, WRONG_MAX, mark, (self._monotonic() + WRONG_S, refusal))
            return refusal
        _remember(table.known, KNOWN_MAX, mark, known)
        return known


def _credential(value: bytes) -> bytes:
    """The key in a header's value, with or without the scheme `Bearer` (RFC 6750 §2.1, case-insensitive)."""
    return value[7:].strip() if value[:7].lower() == b"bearer " else value.strip()


def _unknown() -> Refused:
    return Refused(
        "invalid_api_key", "This API key is not valid here; it may have been revoked.", hint=_HINT, status=401
    )


def _refused_token() -> Refused:
    return Refused("invalid_token", _NOT_ACCEPTED, hint=_ASK_ANEW, status=401)


def _expired() -> Refused:
    return Refused("expired_token", "This token has expired.", hint="Ask for a new token.", status=401)


def _remember(cache: dict[bytes, T], limit: int, mark: bytes, value: T) -> None:
    """Keep a value; at the limit all are forgotten and found again, which costs an HMAC each."""
    if len(cache) >= limit:
        cache.clear()
    cache[mark] = value
