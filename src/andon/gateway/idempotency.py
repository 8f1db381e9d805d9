"""Idempotency-Key: the same key and body get the same answer, without asking the model again.

Asked by `gateway/gateway` right after the caller is known, before limits are taken. Bounded in entries, bytes and
time; at a bound the oldest answer is forgotten, which makes a late retry a new request. Per process, memory only.
Source: draft-ietf-httpapi-idempotency-key-header-07.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

import msgspec

from andon.gateway.settings import GatewaySettings
from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Refused, Transient
from andon.kernel.exchange import Exchange

Name = tuple[str, bytes]  # public id of the API key, value of the header


class Stored(msgspec.Struct, frozen=True):
    """An answer kept for its repetition: status, header lines, body."""

    status: int
    head: bytes
    body: bytes


class Entry:
    """One key: under way until `answer` is set."""

    __slots__ = ("answer", "digest", "expires_at", "name")

    def __init__(self, name: Name, digest: bytes, expires_at: float) -> None:
        self.name = name
        self.digest = digest
        self.expires_at = expires_at
        self.answer: Stored | None = None


class Idempotency:
    """The keys of one gateway."""

    def __init__(self, clock: Clock, settings: GatewaySettings) -> None:
        self._now = clock.monotonic
        self._settings = settings
        self._entries: OrderedDict[Name, Entry] = OrderedDict()
        self._bytes = 0

    def begin(self, x: Exchange) -> Entry | AndonError:
        """The entry of this request, answered already or new; an error if its key is in use otherwise."""
        name = ("" if x.key is None else x.key.id, x.idempotency_key or b"")
        digest = blake2b(
            b"%b\0%b\0%b" % (x.operation.encode(), x.name.encode(), x.body), digest_size=16
        ).digest()
        self._expire()
        entry = self._entries.get(name)
        if entry is None:
            entry = Entry(name, digest, self._now() + self._settings.idempotency_ttl_s)
            self._entries[name] = entry
            self._shrink()
            return entry
        if entry.digest != digest:
            return Refused(
                "idempotency_key_reused",
                "This Idempotency-Key was used for another request.",
                hint="Use a new key for a new request.",
                status=422,
            )
        if entry.answer is None:
            return Transient(
                "idempotency_in_flight", "A request with this Idempotency-Key is still under way.", status=409
            )
        return entry

    def keep(self, entry: Entry, answer: Stored) -> None:
        """Remember the answer, unless the entry has been forgotten meanwhile."""
        if self._entries.get(entry.name) is entry:
            entry.answer = answer
            self._bytes += len(answer.body) + len(answer.head)
            self._shrink()

    def release(self, entry: Entry) -> None:
        """There is no answer worth repeating: the next request with this key is a new one."""
        if entry.answer is None and self._entries.get(entry.name) is entry:
            del self._entries[entry.name]

    def _expire(self) -> None:
        # All live equally long, so the oldest expires first.
        now = self._now()
        while self._entries:
            oldest = next(iter(self._entries.values()))
            if oldest.expires_at > now:
                return
            self._forget(oldest)

    def _shrink(self) -> None:
        while len(self._entries) > self._settings.idempotency_entries_max:
            self._forget(next(iter(self._entries.values())))
        while self._bytes > self._settings.idempotency_bytes_max:
            answered = next((entry for entry in self._entries.values() if entry.answer is not None), None)
            if answered is None:
                return
            self._forget(answered)

    def _forget(self, entry: Entry) -> None:
        del self._entries[entry.name]
        if entry.answer is not None:
            self._bytes -= len(entry.answer.body) + len(entry.answer.head)
