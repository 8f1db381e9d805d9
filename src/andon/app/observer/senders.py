"""API keys of the gateway as principals of the observer: applications send labels with the key they call with.

Looked up in the store by the public id that a key carries, never trusted for longer than a second, so that a revoked
key stops here as fast as at the gateway. Unknown keys cost at most a bounded number of look-ups a second.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict

from andon.kernel.clock import Clock
from andon.kernel.errors import Transient
from andon.kernel.principals import Principal
from andon.kernel.snapshot import KeyEntry
from andon.security.identity.model import API_KEY
from andon.security.identity.service import key_entry
from andon.security.identity.token import public_id
from andon.store.model import Store, Unit

FRESH_S = 1.0
KEYS_MAX = 10_000  # remembered; the one unused for longest is looked up again
LOOKUPS_PER_S = 200.0

_NO_DIGEST = bytes(32)


class Senders:
    """A `web.authentication.Lookup`."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._read: OrderedDict[str, tuple[float, KeyEntry | None]] = OrderedDict()
        self._allowance = LOOKUPS_PER_S
        self._allowed_at = clock.monotonic()

    async def find(self, key: str, digest: bytes) -> Principal | None:
        """Whose key this is, if it is in force. Raises `Transient` when too many are being tried."""
        id_ = public_id(key.encode())
        if id_ is None:
            return None
        entry = await self._entry(id_)
        expected = bytes.fromhex(entry.digest) if entry is not None else _NO_DIGEST
        if not hmac.compare_digest(expected, digest) or entry is None:
            return None
        if entry.expires_at_ns and self._clock.now_ns() >= entry.expires_at_ns:
            return None
        return Principal(
            kind="service" if entry.service else "key",
            id=entry.service or id_,
            roles=("sender", *entry.roles),
            team=entry.team,
            owner=entry.owner,
            label=entry.label,
        )

    async def _entry(self, id_: str) -> KeyEntry | None:
        now = self._clock.monotonic()
        known = self._read.get(id_)
        if known is not None and now - known[0] < FRESH_S:
            self._read.move_to_end(id_)
            return known[1]
        self._spend(now)

        now_ns = self._clock.now_ns()

        def work(unit: Unit) -> KeyEntry | None:
            record = unit.get(API_KEY.name, id_)
            return None if record is None else key_entry(unit, record, now_ns)

        entry = await self._store.transact(work)
        if entry is not None:
            self._read[id_] = (now, entry)
            self._read.move_to_end(id_)
            if len(self._read) > KEYS_MAX:
                self._read.popitem(last=False)
        else:
            self._read.pop(id_, None)  # unknown ids are not remembered: there are more than fit
        return entry

    def _spend(self, now: float) -> None:
        self._allowance = min(LOOKUPS_PER_S, self._allowance + (now - self._allowed_at) * LOOKUPS_PER_S)
        self._allowed_at = now
        if self._allowance < 1.0:
            raise Transient(
                "keys_busy",
                "Too many different keys are being tried at the moment.",
                hint="Send it again in a second.",
                retry_after_s=1.0,
            )
        self._allowance -= 1.0
