"""Keeps alerts going: follows rules in the store, looks at those that are due, remembers, and sees to delivery.

One turn a second, under a lease, so that of several observers one evaluates. What is to be sent is remembered before
it is sent. If remembering fails, memory is thrown away and read again: nothing was sent that the store does not know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog

from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Transient
from andon.kernel.units import duration_s
from andon.observability.alerts.book import Book, Receiving
from andon.observability.alerts.delivery import Delivery, Ended
from andon.observability.alerts.instances import Instance
from andon.observability.alerts.looking import Look
from andon.observability.alerts.model import ALERT, RECEIVER, SILENCE, AlertSpec, ReceiverSpec, SilenceSpec
from andon.observability.alerts.repository import Remembered, Status, load, save
from andon.observability.alerts.rules import NS, Evaluation, Rule, compile_rule
from andon.observability.alerts.sending import Sending
from andon.observability.alerts.silencing import Silence, compile_silence
from andon.observability.alerts.statuses import receiver_status, rule_status
from andon.store.model import Lease, Record, Store, Unit

TICK_S = 1.0
FOLLOW_NS = 2 * NS  # between two looks at the store
LEASE_S = 10.0
LEASE = "alerts"
TASKS_MAX = 4  # looks that wait for queries, at one time
ALIVE_NS = 30 * NS  # no heartbeat is sent when the last turn is longer ago

_logger = structlog.get_logger("andon.alerts")


class Keeper:
    """The loops, and what stands behind the routes."""

    def __init__(
        self, store: Store, clock: Clock, look: Look, delivery: Delivery, sending: Sending, owner: str
    ) -> None:
        self._store = store
        self._clock = clock
        self._look = look
        self._delivery = delivery
        self._sending = sending
        self._owner = owner
        self._lock = asyncio.Lock()
        self._lease: Lease | None = None
        self._followed_ns = 0
        self._due: dict[str, int] = {}
        self._tasks: dict[str, asyncio.Task[Evaluation]] = {}
        self._statuses: dict[tuple[str, str], dict[str, Any]] = {}
        self._receiver_records: dict[str, Record] = {}
        self._beats: dict[str, int] = {}
        self._refused: dict[str, int] = {}
        self.book = Book()
        self.receivers: dict[str, ReceiverSpec] = {}
        self.errors: dict[str, str] = {}  # by rule: why the last look saw nothing
        self.looked_ns: dict[str, int] = {}
        self.turned_ns = 0
        self.failures = 0
        self.seconds = 0.0  # spent on looks
        self.looks = 0

    @property
    def holds(self) -> bool:
        """Whether this observer evaluates."""
        return self._lease is not None

    async def run(self) -> None:
        """A turn a second, for ever."""
        try:
            while True:
                try:
                    await self.turn()
                except AndonError as error:
                    self.failures += 1
                    _logger.warning("alerts_not_kept", error=str(error))
                await self._clock.sleep(TICK_S)
        finally:
            await self._delivery.close()
            for task in self._tasks.values():
                task.cancel()

    async def beat(self) -> None:
        """Heartbeats of receivers that want one, as long as alerts are evaluated; for ever."""
        while True:
            now_ns = self._clock.now_ns()
            if self.holds and now_ns - self.turned_ns < ALIVE_NS:
                for name, spec in list(self.receivers.items()):
                    if spec.heartbeat is None or now_ns < self._beats.get(name, 0):
                        continue
                    self._beats[name] = now_ns + round(duration_s(spec.heartbeat.every) * NS)
                    attempt = await self._sending.beat(name, spec)
                    if attempt.word != "sent":
                        _logger.warning("heartbeat_failed", receiver=name, why=attempt.why)
            await self._clock.sleep(TICK_S)

    async def turn(self) -> None:
        """One turn. Raises AndonError where the store is away; everything is read again then."""
        async with self._lock:
            now_ns = self._clock.now_ns()
            if now_ns - self._followed_ns >= FOLLOW_NS or self._lease is None:
                await self._follow(now_ns)
            if self._lease is None:
                return
            looks = await self._looks(now_ns)
            self.book.tick(looks, now_ns)
            ended = self._delivery.pump(self.book.waiting(), self.receivers)
            for one in ended:
                self._settle(one, now_ns)
            await self._remember(ended, now_ns)
            self.turned_ns = now_ns

    async def acknowledge(self, rule: str, fingerprint: str, who: str) -> Sequence[Instance]:
        """Stop repeats; remembered before it returns. Raises `Transient` where another observer evaluates."""
        async with self._lock:
            self._check_lease()
            now_ns = self._clock.now_ns()
            found = self.book.acknowledge(rule, fingerprint, who, now_ns)
            await self._remember((), now_ns)
            return found

    def _check_lease(self) -> None:
        if self._lease is None:
            raise Transient(
                "alerts_elsewhere",
                "Alerts are evaluated by another observer, or this one has just started.",
                hint="Try again in a few seconds.",
                retry_after_s=3.0,
            )

    async def _follow(self, now_ns: int) -> None:
        """The lease, and what people have written."""
        held = self._lease

        def read(unit: Unit) -> tuple[Lease | None, Remembered | None, Mapping[str, Sequence[Record]]]:
            lease = unit.acquire(LEASE, self._owner, LEASE_S)
            fresh = lease is not None and (held is None or lease.token != held.token)
            records = {kind: unit.list(kind) for kind in (ALERT, RECEIVER, SILENCE)} if lease else {}
            return lease, load(unit) if fresh else None, records

        lease, remembered, records = await self._store.transact(read)
        self._lease, self._followed_ns = lease, now_ns
        if lease is None:
            return
        if remembered is not None:
            self.book.restore(remembered.instances, remembered.groups, now_ns)
            self._look.cursors = dict(remembered.cursors)
            self._statuses.clear()
        self._adopt(records)

    def _adopt(self, records: Mapping[str, Sequence[Record]]) -> None:
        rules: dict[str, Rule] = {}
        for record in records[ALERT]:
            rule = self._compiled(record, self._rule)
            if rule is not None and rule.spec.enabled:
                rules[rule.name] = rule
        self._receiver_records = {record.name: record for record in records[RECEIVER]}
        self.receivers = {}
        for record in records[RECEIVER]:
            spec = self._compiled(record, lambda one: msgspec.convert(one.spec, ReceiverSpec))
            if spec is not None:
                self.receivers[record.name] = spec
        silences = [self._compiled(record, _silence) for record in records[SILENCE]]
        self.book.rules = rules
        self.book.silences = tuple(one for one in silences if one is not None)
        self.book.receivers = {
            name: Receiving(send_resolved=spec.send_resolved, groups_itself=spec.alertmanager is not None)
            for name, spec in self.receivers.items()
            if spec.way
        }
        for name in [name for name in self.errors if name not in rules]:
            del self.errors[name]

    def _rule(self, record: Record) -> Rule:
        known = self.book.rules.get(record.name)
        if known is not None and known.generation == record.generation:
            return known
        self._due.pop(record.name, None)
        spec = msgspec.convert(record.spec, AlertSpec)
        return compile_rule(record.name, spec, record.created_ns, record.generation)

    def _compiled(self, record: Record, compile_: Any) -> Any:
        try:
            return compile_(record)
        except (ValueError, msgspec.ValidationError) as error:
            # `plan` refuses such a spec; one that an older version let in must not stop the others.
            key = f"{record.kind}/{record.name}"
            if self._refused.get(key) != record.generation:
                self._refused[key] = record.generation
                _logger.error("alerts_not_understood", subject=key, error=str(error))
            return None

    async def _looks(self, now_ns: int) -> Mapping[str, Evaluation]:
        """Looks that are due, those of memory at once, those that wait for queries when they are done."""
        found: dict[str, Evaluation] = {}
        begun = self._clock.monotonic()
        for name in [name for name, task in self._tasks.items() if task.done()]:
            found[name] = self._tasks.pop(name).result()
        for name, rule in self.book.rules.items():
            if now_ns < self._due.get(name, 0) or name in self._tasks:
                continue
            if rule.spec.when.kind in ("query", "absent"):
                if len(self._tasks) >= TASKS_MAX:
                    continue  # its turn comes when another is done
                self._tasks[name] = asyncio.create_task(self._look.at(rule))
            else:
                found[name] = await self._look.at(rule)
            self._due[name] = now_ns + rule.every_ns
        for name, look in found.items():
            self.looked_ns[name] = now_ns
            self.looks += 1
            if look.error and self.errors.get(name) != look.error:
                _logger.warning("alert_not_evaluated", alert=name, error=look.error)
            self.errors.pop(name, None)
            if look.error:
                self.errors[name] = look.error
        self.seconds += self._clock.monotonic() - begun
        return found

    def _settle(self, one: Ended, now_ns: int) -> None:
        if one.ok:
            self.book.deliver(one.note, now_ns)
            return
        _logger.warning("alert_notification_failed", receiver=one.note.receiver, why=one.why)
        self.book.give_up(one.note, one.why, now_ns, unknown=one.unknown)

    async def _remember(self, ended: Sequence[Ended], now_ns: int) -> None:
        taken = self.book.take()
        statuses = self._changed_statuses(ended, now_ns)
        if not (taken.rules or taken.groups or taken.events or statuses):
            return
        lease, cursors = self._lease, dict(self._look.cursors)
        assert lease is not None
        kept = False
        try:
            kept = await self._store.transact(lambda unit: save(unit, lease, taken, cursors, statuses))
        finally:
            if not kept:
                self._lease = None  # memory is ahead of the store: everything is read again
                self._statuses.clear()

    def _changed_statuses(self, ended: Sequence[Ended], now_ns: int) -> list[Status]:
        found = []
        for name, rule in self.book.rules.items():
            status = rule_status(
                self.book.instances.get(name, {}).values(),
                self.book.mutes,
                self.errors.get(name, ""),
                self.book.left_out.get(name, 0),
            )
            if self._statuses.get((ALERT, name)) != status:
                self._statuses[ALERT, name] = status
                found.append(Status(kind=ALERT, name=name, status=status, generation=rule.generation))
        for name in {one.note.receiver for one in ended}:
            record = self._receiver_records.get(name)
            if record is not None:
                mine = [one for one in ended if one.note.receiver == name]
                status = receiver_status(self._statuses.get((RECEIVER, name), record.status), mine, now_ns)
                self._statuses[RECEIVER, name] = status
                found.append(Status(kind=RECEIVER, name=name, status=status))
        return found


def _silence(record: Record) -> Silence:
    return compile_silence(record.name, msgspec.convert(record.spec, SilenceSpec))
