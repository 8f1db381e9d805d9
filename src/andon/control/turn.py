"""One turn of one controller over one subject: lease → observe → plan → journal → veto → act → guarded statuses.

Run by `driver`, which decides when. Every effect is preceded by a look at the lease, so that a turn that was overtaken
stops before its next step. It never retries: a failure is told to the driver, and the next turn is the retry.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from andon.control.controller import Controller, Result
from andon.control.resources import digest_of
from andon.kernel.clock import Clock
from andon.kernel.decision import Plan
from andon.kernel.errors import AndonError, Permanent, Transient
from andon.kernel.events import Event
from andon.store.model import Lease, Record, Store, Unit

STEPS_MAX = 200  # of one turn; the rest is planned again in the next
STEPS_SHOWN = 20  # in the journal
REASON_LENGTH_MAX = 300
STEP_DATA_BYTES_MAX = 1024
PARKED = "Parked"

_log = logging.getLogger("andon.control.turn")


class LostLease(Exception):  # like the errors of the kernel it says what happened
    """Another holder may be at work: nothing more may be done in this turn."""


@dataclass
class Watch:
    """What the driver remembers of one subject between turns. Memory only: a restart tries everything once."""

    due_at: float = 0.0  # monotonic seconds
    attempts: int = 0  # failures in a row
    not_before: float = 0.0  # no turn earlier, unless the generation has changed
    generation: int = 0  # at the last failure
    parked: bool = False  # until the generation changes
    told: str = ""  # the failure last told to the journal, so that a retry is not told again
    journaled: str = ""  # digest of the last plan told, so that a retry is not told again
    again: bool = False  # signalled while a turn was under way
    task: asyncio.Task[None] | None = None


@dataclass(frozen=True)
class Turned:
    """How a turn ended well."""

    word: str  # "done", "idle", "gone", "busy", "waiting", "vetoed", "lost"
    wake_after_s: float | None = None


@dataclass(frozen=True)
class Terms:
    """On what terms turns are run."""

    owner: str  # who holds the leases; different in every process
    lease_s: float = 15.0
    longest_s: float = 600.0  # a turn that takes longer is cancelled and retried


class Turn:
    """Runs turns of one controller."""

    def __init__(self, store: Store, clock: Clock, controller: Controller[Any], terms: Terms) -> None:
        self._store = store
        self._clock = clock
        self._controller = controller
        self._terms = terms
        self._actor = f"controller:{controller.name}"

    async def take(self, subject: str, watch: Watch) -> Turned:
        """One turn. Raises Transient or Permanent from the controller, and whatever a bug raises."""
        name = f"{self._controller.name}:{subject}"

        def begin(unit: Unit) -> tuple[Lease | None, Record | None]:
            kind, _, rest = subject.partition("/")
            return unit.acquire(name, self._terms.owner, self._terms.lease_s), unit.get(kind, rest)

        lease, record = await self._store.transact(begin)
        if lease is None:
            return Turned("busy", self._terms.lease_s / 3)
        try:
            generation = record.generation if record else 0
            # A subject that is no resource has no generation that could change: it is never parked, only slow.
            held_back = (watch.parked and record is not None) or self._clock.monotonic() < watch.not_before
            if generation != watch.generation:
                watch.attempts, watch.told = 0, ""
            elif held_back:
                return Turned("waiting")
            watch.generation, watch.parked = generation, False
            return await self._kept(subject, watch, lease, record)
        finally:
            await self._release(lease)

    async def park(self, subject: str, generation: int, error: Permanent) -> None:
        """Tell the journal and the status that a person is needed."""
        kind, _, name = subject.partition("/")
        data = {"code": error.code, "message": error.message, "hint": error.hint, "internal": error.internal}
        event = Event(
            name="subject.parked",
            subject=subject,
            actor=self._actor,
            data={"controller": self._controller.name, "generation": generation} | data,
        )
        condition = {"type": PARKED, "reason": error.code, "message": str(error), "generation": generation}
        condition |= {"controller": self._controller.name, "sinceNs": self._clock.now_ns()}

        def write(unit: Unit) -> None:
            unit.append(event)
            record = unit.get(kind, name)
            if record is not None:
                status = _without_parked(record.status)
                status["conditions"] = [*status.get("conditions", ()), condition]
                unit.put_status(kind, name, status, expect_generation=generation)

        await self._store.transact(write)

    async def tell_bug(self, subject: str, error: Exception) -> None:
        """Journal that a turn failed by a bug; the traceback is in the log."""
        data = {"controller": self._controller.name, "error": f"{type(error).__name__}: {error}"[:1000]}
        event = Event(name="turn.failed", subject=subject, actor=self._actor, data=data)
        await self._store.transact(lambda unit: unit.append(event))

    async def _kept(self, subject: str, watch: Watch, lease: Lease, record: Record | None) -> Turned:
        """The turn, while another task renews its lease and looks at the time."""
        body = asyncio.ensure_future(self._body(subject, watch, lease, record))
        keeper = asyncio.ensure_future(self._keep(lease))
        try:
            await asyncio.wait({body, keeper}, return_when=asyncio.FIRST_COMPLETED)
            if not body.done():
                keeper.result()
                return Turned("lost")
            try:
                return body.result()
            except LostLease:
                return Turned("lost")
        finally:
            body.cancel()
            keeper.cancel()
            await asyncio.gather(body, keeper, return_exceptions=True)

    async def _keep(self, lease: Lease) -> None:
        """Renew the lease until it is lost (returns) or the turn has taken too long (raises Transient)."""
        began, expires_ns = self._clock.monotonic(), lease.expires_ns
        while self._clock.now_ns() < expires_ns:
            await self._clock.sleep(self._terms.lease_s / 3)
            if self._clock.monotonic() - began >= self._terms.longest_s:
                text = f"A turn of {self._controller.name} took longer than {self._terms.longest_s:g} s."
                raise Transient("turn_too_long", text)
            try:
                renewed = await self._store.transact(lambda unit: self._renew(unit, lease))
            except Transient as error:
                _log.warning("lease %s was not renewed: %s", lease.name, error)
                continue
            if renewed is None:
                return
            expires_ns = renewed.expires_ns

    def _renew(self, unit: Unit, lease: Lease) -> Lease | None:
        return unit.acquire(lease.name, lease.owner, self._terms.lease_s) if unit.holds(lease) else None

    async def _body(self, subject: str, watch: Watch, lease: Lease, record: Record | None) -> Turned:
        facts = await self._controller.observe(subject)
        if facts is None:
            return Turned("gone")
        plan = self._controller.plan(facts, self._clock.now_ns())
        veto = self._controller.veto(facts, plan) if plan.steps else None
        await self._journal(plan, veto, watch, lease)
        if veto is not None:
            return Turned("vetoed", plan.wake_after_s)
        for step in plan.steps[:STEPS_MAX]:
            await self._require(lease)
            await self._controller.act(facts, step, lease)
        if len(plan.steps) > STEPS_MAX:
            return Turned("done", 0.0)
        results = await self._controller.conclude(facts, plan, lease)
        await self._write(results, lease, record)
        watch.journaled = ""
        return Turned("done" if plan.steps else "idle", plan.wake_after_s)

    async def _journal(self, plan: Plan, veto: str | None, watch: Watch, lease: Lease) -> None:
        """Tell what is about to be done, before it is; a plan that is only tried again is not told again."""
        if not plan.steps:
            return
        told = digest_of([plan.generation, veto, [msgspec.to_builtins(step) for step in plan.steps]])
        if told == watch.journaled:
            return
        data: dict[str, Any] = {
            "controller": plan.controller,
            "generation": plan.generation,
            "count": len(plan.steps),
            "steps": [_shown(msgspec.to_builtins(step)) for step in plan.steps[:STEPS_SHOWN]],
        }
        if veto is not None:
            data["veto"] = veto
        name = "plan.made" if veto is None else "plan.vetoed"
        event = Event(name=name, subject=plan.subject, actor=self._actor, data=data)

        def write(unit: Unit) -> bool:
            return unit.holds(lease) and unit.append(event) is not None

        if not await self._store.transact(write):
            raise LostLease
        watch.journaled = told

    async def _require(self, lease: Lease) -> None:
        if not await self._store.transact(lambda unit: unit.holds(lease)):
            raise LostLease

    async def _write(self, results: Sequence[Result], lease: Lease, record: Record | None) -> None:
        was_parked = record is not None and _is_parked(record.status)
        stated = [result for result in results if result.status is not None]
        if not stated and not was_parked:
            return

        def write(unit: Unit) -> None:
            for result in stated:
                assert result.status is not None
                unit.put_status(
                    result.kind, result.name, result.status, expect_generation=result.generation, lease=lease
                )
            now = unit.get(record.kind, record.name) if record else None
            if was_parked and now is not None and _is_parked(now.status):
                status = _without_parked(now.status)
                unit.put_status(now.kind, now.name, status, expect_generation=now.generation, lease=lease)

        await self._store.transact(write)

    async def _release(self, lease: Lease) -> None:
        try:
            await self._store.transact(lambda unit: unit.release(lease))
        except AndonError as error:
            # The lease expires by itself; the turn's own outcome must not be hidden by this.
            _log.warning("lease %s was not released: %s", lease.name, error)


def _shown(step: dict[str, Any]) -> dict[str, Any]:
    """A step of a bounded size."""
    if len(msgspec.json.encode(step["data"])) > STEP_DATA_BYTES_MAX:
        step = step | {"data": {"omitted": "too large for the journal"}}
    return step | {"reason": step["reason"][:REASON_LENGTH_MAX]}


def _is_parked(status: dict[str, Any]) -> bool:
    return any(condition.get("type") == PARKED for condition in status.get("conditions", ()))


def _without_parked(status: dict[str, Any]) -> dict[str, Any]:
    kept = [condition for condition in status.get("conditions", ()) if condition.get("type") != PARKED]
    rest = {key: value for key, value in status.items() if key != "conditions"}
    return rest | {"conditions": kept} if kept else rest
