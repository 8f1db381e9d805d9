"""The shapes that the store keeps, and the unit of work through which every room reads and writes them.

One verb is one unit of work: everything in it happens or nothing does. Rooms never see SQL or a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from andon.kernel.events import Event

T = TypeVar("T")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One resource as stored. `generation` grows when the spec changes, `version` at every write."""

    kind: str
    name: str
    spec: dict[str, Any]
    status: dict[str, Any] = {}
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner: str = ""  # "Endpoint/credit": removed with it; empty = written by people
    generation: int = 1
    version: int = 1
    created_ns: int = 0
    updated_ns: int = 0


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """The whole factory as people wrote it, at one moment: what `undo` returns to."""

    number: int
    parent: int
    author: str
    message: str
    digest: str  # sha256 of the canonical document
    document: list[dict[str, Any]]  # every resource written by people: kind, name, labels, annotations, spec
    at_ns: int = 0


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The right to act on one thing for a while. `token` is a fence: it grows with every new holder."""

    name: str
    owner: str
    token: int
    expires_ns: int


class Journaled(msgspec.Struct, frozen=True, kw_only=True):
    """An event with its place in the journal."""

    sequence: int
    event: Event


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the outbox: told at least once, in order per topic."""

    sequence: int
    topic: str
    payload: dict[str, Any]
    attempts: int = 0


class Unit(Protocol):
    """One transaction. Raises `Conflict` when an expectation no longer holds, `Transient` when the database is away."""

    def get(self, kind: str, name: str) -> Record | None: ...
    def list(self, kind: str, *, owner: str | None = None) -> Sequence[Record]: ...
    def put(self, record: Record, *, expect_version: int | None = None) -> Record:
        """Create or change spec, labels, annotations, owner. `expect_version` 0 = must not exist. Status is kept."""
        ...

    def put_status(
        self,
        kind: str,
        name: str,
        status: dict[str, Any],
        *,
        expect_generation: int | None = None,
        lease: Lease | None = None,
    ) -> Record | None:
        """Replace the status if generation and lease still match; None (nothing written) if they do not."""
        ...

    def delete(self, kind: str, name: str, *, expect_version: int | None = None) -> bool:
        """Remove a resource and everything it owns; False if it was not there."""
        ...

    def append(self, event: Event) -> int | None:
        """Journal an event; its sequence, or None if one with the same `unique` is there already."""
        ...

    def events(
        self,
        *,
        after: int = 0,
        subject: str = "",
        name: str = "",
        limit: int = 100,
        newest_first: bool = False,
    ) -> Sequence[Journaled]: ...
    def enqueue(self, topic: str, payload: dict[str, Any]) -> int:
        """Put a message into the outbox; raises `Transient` if too many of the topic wait already."""
        ...

    def pending(self, topic: str, *, limit: int = 100) -> Sequence[Message]: ...
    def delivered(self, sequence: int) -> None: ...
    def retried(self, sequence: int) -> None: ...
    def acquire(self, name: str, owner: str, ttl_s: float) -> Lease | None:
        """The lease if it is free, expired or already ours (then renewed with the same token); None otherwise."""
        ...

    def release(self, lease: Lease) -> None: ...
    def holds(self, lease: Lease) -> bool: ...
    def add_revision(
        self, document: Sequence[dict[str, Any]], *, parent: int, author: str, message: str, digest: str
    ) -> Revision:
        """Raises `Conflict` if `parent` is no longer the latest."""
        ...

    def revision(self, number: int) -> Revision | None: ...
    def latest_revision(self) -> Revision | None: ...
    def revisions(self, *, limit: int = 50) -> Sequence[Revision]: ...
    def trim(self, *, keep_events: int, keep_once: int, keep_revisions: int, leases_before_ns: int) -> int:
        """Forget the oldest and leases that expired before a time; returns how many rows. Events that may happen
        only once are counted on their own, because forgetting one lets it happen again."""
        ...


class Store(Protocol):
    """Where units of work run. The same suite of tests holds for SQLite and PostgreSQL."""

    async def transact(self, work: Callable[[Unit], T]) -> T:
        """Run `work` in one serialisable transaction, off the event loop; it may be run again after a
        serialisation failure, so it has no effects of its own."""
        ...

    async def close(self) -> None: ...
