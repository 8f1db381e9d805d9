"""One transaction over SQL: the `Unit` through which every room reads and writes what the store keeps.

Made by `sql.SqlStore` for each unit of work and dead after it. Every statement here is the same in SQLite and
PostgreSQL; nothing outside this file writes SQL against the tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from andon.kernel.clock import Clock
from andon.kernel.errors import Conflict, Transient
from andon.kernel.events import Event
from andon.store.model import Journaled, Lease, Message, Record, Revision
from andon.store.tables import journal, leases, outbox, resources, revisions

READ_MAX = 10_000  # rows that one look may bring; a longer list is a Transient refusal, never a silent cut
PAGE_MAX = 1000  # lines of the journal, the outbox or the revisions in one page
OUTBOX_MAX = 10_000  # messages that may wait in one topic
CASCADE_MAX = 20_000  # steps of one cascade, two for each resource that it takes along
ORDER_LOCK = 0x6A6F75726E  # "journ": makes sequence numbers visible in their order in PostgreSQL


class SqlUnit:
    """The port `Unit`; see there for what each verb promises."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._ordered = connection.dialect.name == "sqlite"

    def get(self, kind: str, name: str) -> Record | None:
        """One resource, or None."""
        row = self._row(sa.select(resources).where(*_is(kind, name)))
        return None if row is None else _record(row)

    def list(self, kind: str, *, owner: str | None = None) -> Sequence[Record]:
        """The resources of a kind by name; with `owner` only those it owns (empty = written by people)."""
        query = sa.select(resources).where(resources.c.kind == kind).order_by(resources.c.name)
        if owner is not None:
            query = query.where(resources.c.owner == owner)
        rows = self._rows(query.limit(READ_MAX + 1))
        if len(rows) > READ_MAX:
            raise Transient("store_too_many", f"More than {READ_MAX} resources of kind {kind}.")
        return [_record(row) for row in rows]

    def put(self, record: Record, *, expect_version: int | None = None) -> Record:
        """Create or change; an equal resource is left as it is, version included."""
        held = self.get(record.kind, record.name)
        _expect(record, held, expect_version)
        now = self._clock.now_ns()
        if held is None:
            created = msgspec.structs.replace(record, generation=1, version=1, created_ns=now, updated_ns=now)
            self._connection.execute(resources.insert().values(**_columns(created)))
            return created
        said = (record.spec, record.labels, record.annotations, record.owner)
        if _same(said, (held.spec, held.labels, held.annotations, held.owner)):
            return held
        changed = msgspec.structs.replace(
            record,
            status=held.status,
            generation=held.generation + (not _same(record.spec, held.spec)),
            version=held.version + 1,
            created_ns=held.created_ns,
            updated_ns=now,
        )
        self._write(changed)
        return changed

    def put_status(
        self,
        kind: str,
        name: str,
        status: Mapping[str, Any],
        *,
        expect_generation: int | None = None,
        lease: Lease | None = None,
    ) -> Record | None:
        """Replace the status if generation and lease still match; an equal status is left as it is."""
        held = self.get(kind, name)
        if held is None or (expect_generation is not None and held.generation != expect_generation):
            return None
        if lease is not None and not self.holds(lease):
            return None
        if _same(held.status, status):
            return held
        changed = msgspec.structs.replace(
            held, status=dict(status), version=held.version + 1, updated_ns=self._clock.now_ns()
        )
        self._write(changed)
        return changed

    def delete(self, kind: str, name: str, *, expect_version: int | None = None) -> bool:
        """Remove a resource and everything that it owns, directly or not."""
        held = self.get(kind, name)
        if expect_version is not None:
            _expect(Record(kind=kind, name=name, spec={}), held, expect_version)
        if held is None:
            return False
        self._connection.execute(resources.delete().where(*_is(kind, name)))
        owners = [f"{kind}/{name}"]
        for _ in range(CASCADE_MAX):
            if not owners:
                return True
            columns = (resources.c.kind, resources.c.name)
            owned = self._rows(sa.select(*columns).where(resources.c.owner == owners[-1]).limit(PAGE_MAX))
            if not owned:
                owners.pop()
            for row in owned:
                self._connection.execute(resources.delete().where(*_is(row["kind"], row["name"])))
                owners.append(f"{row['kind']}/{row['name']}")
        raise Transient("store_too_many", f"{kind}/{name} owns too many resources to remove at once.")

    def append(self, event: Event) -> int | None:
        """Journal an event; None if one with the same `unique` is there already."""
        if event.unique is not None:
            there = self._row(sa.select(journal.c.sequence).where(journal.c.once == event.unique))
            if there is not None:
                return None
        self._in_order()
        values = {
            "name": event.name,
            "subject": event.subject,
            "actor": event.actor,
            "data": _text(event.data),
            "once": event.unique,
            "at_ns": event.at_ns or self._clock.now_ns(),
        }
        return self._insert(journal, journal.c.sequence, values)

    def events(
        self,
        *,
        after: int = 0,
        subject: str = "",
        name: str = "",
        limit: int = 100,
        newest_first: bool = False,
    ) -> Sequence[Journaled]:
        """Lines of the journal after a sequence number; `name` may end in `.` to mean every name below it."""
        order = journal.c.sequence.desc() if newest_first else journal.c.sequence
        query = sa.select(journal).where(journal.c.sequence > after).order_by(order)
        if subject:
            query = query.where(journal.c.subject == subject)
        if name.endswith("."):
            query = query.where(journal.c.name.startswith(name, autoescape=True))
        elif name:
            query = query.where(journal.c.name == name)
        return [_journaled(row) for row in self._rows(query.limit(_page(limit)))]

    def enqueue(self, topic: str, payload: Mapping[str, Any]) -> int:
        """Put a message into the outbox; raises Transient if too many of the topic wait already."""
        if self.waiting(topic) >= OUTBOX_MAX:
            raise Transient("outbox_full", f"{OUTBOX_MAX} messages of '{topic}' wait for delivery already.")
        self._in_order()
        values = {"topic": topic, "payload": _text(payload), "attempts": 0, "at_ns": self._clock.now_ns()}
        return self._insert(outbox, outbox.c.sequence, values)

    def waiting(self, topic: str) -> int:
        """How many messages of a topic wait."""
        query = sa.select(sa.func.count()).select_from(outbox).where(outbox.c.topic == topic)
        return int(self._connection.execute(query).scalar_one())

    def pending(self, topic: str, *, limit: int = 100) -> Sequence[Message]:
        """The oldest messages of a topic."""
        query = sa.select(outbox).where(outbox.c.topic == topic).order_by(outbox.c.sequence)
        return [
            Message(
                sequence=row["sequence"],
                topic=row["topic"],
                payload=msgspec.json.decode(row["payload"]),
                attempts=row["attempts"],
            )
            for row in self._rows(query.limit(_page(limit)))
        ]

    def delivered(self, sequence: int) -> None:
        """Take a message out of the outbox."""
        self._connection.execute(outbox.delete().where(outbox.c.sequence == sequence))

    def retried(self, sequence: int) -> None:
        """Count a failed attempt."""
        update = outbox.update().where(outbox.c.sequence == sequence)
        self._connection.execute(update.values(attempts=outbox.c.attempts + 1))

    def acquire(self, name: str, owner: str, ttl_s: float) -> Lease | None:
        """The lease if it is free, expired or already ours; a lease that expired gets a new token."""
        now = self._clock.now_ns()
        expires = now + int(ttl_s * 1e9)
        row = self._row(sa.select(leases).where(leases.c.name == name))
        if row is None:
            # Tokens begin at the time, so that they grow even where an old row was trimmed away.
            lease = Lease(name=name, owner=owner, token=now // 1000, expires_ns=expires)
            self._connection.execute(leases.insert().values(**msgspec.structs.asdict(lease)))
            return lease
        live = row["expires_ns"] > now
        if live and row["owner"] != owner:
            return None
        token = row["token"] if live else max(row["token"] + 1, now // 1000)
        lease = Lease(name=name, owner=owner, token=token, expires_ns=expires)
        update = leases.update().where(leases.c.name == name)
        self._connection.execute(update.values(owner=owner, token=token, expires_ns=expires))
        return lease

    def release(self, lease: Lease) -> None:
        """Give a lease back; nothing happens if it is no longer ours."""
        self._connection.execute(leases.update().where(*_is_lease(lease)).values(expires_ns=0))

    def holds(self, lease: Lease) -> bool:
        """Whether the lease is still ours."""
        row = self._row(sa.select(leases.c.expires_ns).where(*_is_lease(lease)))
        return row is not None and row["expires_ns"] > self._clock.now_ns()

    def add_revision(
        self, document: Sequence[Mapping[str, Any]], *, parent: int, author: str, message: str, digest: str
    ) -> Revision:
        """The next revision; raises Conflict if `parent` is no longer the latest."""
        number = self._connection.execute(sa.select(sa.func.max(revisions.c.number))).scalar_one() or 0
        if number != parent:
            text = f"Revision {number} is the latest, not {parent}."
            raise Conflict("revision_moved", text, hint="Plan again.")
        revision = Revision(
            number=number + 1,
            parent=parent,
            author=author,
            message=message,
            digest=digest,
            document=[dict(item) for item in document],
            at_ns=self._clock.now_ns(),
        )
        values = msgspec.structs.asdict(revision) | {"document": _text(revision.document)}
        self._connection.execute(revisions.insert().values(**values))
        return revision

    def revision(self, number: int) -> Revision | None:
        """One revision, or None."""
        row = self._row(sa.select(revisions).where(revisions.c.number == number))
        return None if row is None else _revision(row)

    def latest_revision(self) -> Revision | None:
        """The newest revision, or None."""
        found = self.revisions(limit=1)
        return found[0] if found else None

    def revisions(self, *, limit: int = 50) -> Sequence[Revision]:
        """The newest revisions, newest first."""
        query = sa.select(revisions).order_by(revisions.c.number.desc()).limit(_page(limit))
        return [_revision(row) for row in self._rows(query)]

    def trim(self, *, keep_events: int, keep_once: int, keep_revisions: int, leases_before_ns: int) -> int:
        """Forget the oldest; returns how many rows. Events that may happen only once are kept `keep_once` long."""
        ordinary = _beyond(journal, journal.c.sequence, keep_events, journal.c.once.is_(None))
        unique = _beyond(journal, journal.c.sequence, keep_once, journal.c.once.is_not(None))
        old = _beyond(revisions, revisions.c.number, keep_revisions, sa.true())
        expired = leases.delete().where(leases.c.expires_ns < leases_before_ns)
        return sum(self._connection.execute(delete).rowcount for delete in (ordinary, unique, old, expired))

    def _write(self, record: Record) -> None:
        update = resources.update().where(*_is(record.kind, record.name))
        self._connection.execute(update.values(**_columns(record)))

    def _in_order(self) -> None:
        """Sequence numbers are drawn before commit: without a lock a reader could see 7 before 6 and never see 6."""
        if not self._ordered:
            self._connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": ORDER_LOCK})
            self._ordered = True

    def _insert(self, table: sa.Table, key: sa.Column[int], values: Mapping[str, Any]) -> int:
        return int(self._connection.execute(table.insert().values(**values).returning(key)).scalar_one())

    def _row(self, query: sa.Select[Any]) -> RowMapping | None:
        return self._connection.execute(query).mappings().one_or_none()

    def _rows(self, query: sa.Select[Any]) -> Sequence[RowMapping]:
        return self._connection.execute(query).mappings().all()


def _is(kind: str, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (resources.c.kind == kind, resources.c.name == name)


def _is_lease(lease: Lease) -> tuple[sa.ColumnElement[bool], ...]:
    return (leases.c.name == lease.name, leases.c.owner == lease.owner, leases.c.token == lease.token)


def _beyond(table: sa.Table, key: sa.Column[int], keep: int, which: sa.ColumnElement[bool]) -> sa.Delete:
    """Delete what is older than the newest `keep` rows."""
    edge = sa.select(key).where(which).order_by(key.desc()).offset(keep).limit(1).scalar_subquery()
    return table.delete().where(which, key <= edge)


def _expect(record: Record, held: Record | None, version: int | None) -> None:
    found = held.version if held else 0
    if version is not None and found != version:
        said = (
            "exists already"
            if version == 0
            else f"is at version {found}, not {version}"
            if found
            else "is gone"
        )
        text = f"{record.kind} '{record.name}' {said}."
        raise Conflict("version_moved", text, hint="Read it again and decide again.")


def _page(limit: int) -> int:
    return max(0, min(limit, PAGE_MAX))


def _same(a: Any, b: Any) -> bool:
    """Equal as JSON: Python's own equality does not tell 1 from true."""
    return msgspec.json.encode(a, order="deterministic") == msgspec.json.encode(b, order="deterministic")


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _columns(record: Record) -> dict[str, Any]:
    values = msgspec.structs.asdict(record)
    return values | {name: _text(values[name]) for name in ("spec", "status", "labels", "annotations")}


def _record(row: RowMapping) -> Record:
    decoded = {name: msgspec.json.decode(row[name]) for name in ("spec", "status", "labels", "annotations")}
    return Record(**(dict(row) | decoded))


def _revision(row: RowMapping) -> Revision:
    return Revision(**(dict(row) | {"document": msgspec.json.decode(row["document"])}))


def _journaled(row: RowMapping) -> Journaled:
    event = Event(
        name=row["name"],
        subject=row["subject"],
        actor=row["actor"],
        data=msgspec.json.decode(row["data"]),
        unique=row["once"],
        at_ns=row["at_ns"],
    )
    return Journaled(sequence=row["sequence"], event=event)
