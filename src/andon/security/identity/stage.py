"""The gateway's first stage: who is calling, and may this key call this name?

Reads memory only. A key seen before costs one SHA-256 and one look-up; a new one costs an HMAC. A refusal never tells
whether a key, or a name that the key may not call, exists.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import TypeVar

from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Refused
from andon.kernel.exchange import Exchange
from andon.kernel.principals import Principal
from andon.kernel.snapshot import KeyEntry, Snapshot
from andon.security.identity.token import keyed_digest, public_id

KNOWN_MAX = 100_000  # one for each key and spelling of the header
WRONG_MAX = 10_000
WRONG_S = 5.0  # a new snapshot forgets them at once, so a key just made never waits for this
HEADER_BYTES_MAX = 256

_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key"})
_HINT = "Send a key made with `andon keys create` as 'authorization: Bearer sk-andon-…'."
_NO_DIGEST = "0" * 64

T = TypeVar("T")


class _Known:
    """A verified key as the hot path needs it."""

    __slots__ = ("entry", "expires_at_ns", "id", "names", "principal")

    def __init__(self, entry: KeyEntry, names: frozenset[str] | None) -> None:
        self.entry = entry
        self.id = entry.id
        self.expires_at_ns = entry.expires_at_ns
        self.names = names  # what it may call, aliases included; None = everything
        self.principal = Principal(
            kind="key", id=entry.id, team=entry.team, owner=entry.owner, cohorts=entry.cohorts
        )


class _Table:
    """Everything derived from one snapshot. A new snapshot makes a new table, so nothing outlives a revocation."""

    __slots__ = ("anonymous", "by_id", "known", "wrong")

    def __init__(self, snapshot: Snapshot) -> None:
        aliases = {endpoint.name: endpoint.aliases for endpoint in snapshot.endpoints}
        self.by_id = {entry.id: _Known(entry, _callable(entry, aliases)) for entry in snapshot.keys}
        self.known: dict[bytes, _Known] = {}
        self.wrong: dict[bytes, float] = {}
        self.anonymous = snapshot.allow_anonymous


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
        self._table = _Table(Snapshot(version=0, factory="", revision=0, compiled_at_ns=0))
        self._used: dict[str, int] = {}
        self.hashed = 0  # HMACs computed: what a flood of new keys costs
        self.refused = 0

    def adopt(self, snapshot: Snapshot) -> Callable[[], None]:
        """Index a snapshot's keys. Raises Refused for digests that are none or ids that occur twice."""
        for entry in snapshot.keys:
            if len(entry.digest) != 64:
                raise Refused("snapshot_invalid", f"Key {entry.id} has no HMAC-SHA256 digest.")
        table = _Table(snapshot)
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
        self._used[known.id] = now_ns
        return None

    def settle(self, exchange: Exchange) -> None:
        """Nothing is held."""

    def last_used_ns(self) -> dict[str, int]:
        """When each key was last let in by this gateway, by public id; empties the record."""
        used, self._used = self._used, {}
        return used

    def _look_up(self, table: _Table, value: bytes, mark: bytes) -> _Known | AndonError:
        """The slow way of a header not seen since the last snapshot."""
        until = table.wrong.get(mark)
        if until is not None and self._monotonic() < until:
            return _unknown()
        text = _credential(value)
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
            _remember(table.wrong, WRONG_MAX, mark, self._monotonic() + WRONG_S)
            return _unknown()
        _remember(table.known, KNOWN_MAX, mark, known)
        return known


def _credential(value: bytes) -> bytes:
    """The key in a header's value, with or without the scheme `Bearer` (RFC 6750 §2.1, case-insensitive)."""
    return value[7:].strip() if value[:7].lower() == b"bearer " else value.strip()


def _unknown() -> Refused:
    return Refused(
        "invalid_api_key", "This API key is not valid here; it may have been revoked.", hint=_HINT, status=401
    )


def _remember(cache: dict[bytes, T], limit: int, mark: bytes, value: T) -> None:
    """Keep a value; at the limit all are forgotten and found again, which costs an HMAC each."""
    if len(cache) >= limit:
        cache.clear()
    cache[mark] = value
