"""Sees notifications through: one attempt at a time each, waiting longer between attempts, per receiver a circuit.

Memory only: what is to be delivered is remembered elsewhere, and after a restart is simply tried again, under the same
id. At most `AT_ONCE` attempts are under way. What does not arrive within `PATIENCE_S`, or is refused, is given back as
failed; it is made anew if it is still so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from andon.kernel.clock import Clock
from andon.kernel.random import Random
from andon.observability.alerts.groups import Notification
from andon.observability.alerts.model import ReceiverSpec
from andon.observability.alerts.sending import Attempt

AT_ONCE = 8
PATIENCE_S = 300.0
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0
OPENS_AFTER = 5  # failures in a row of one receiver
OPEN_S = 30.0  # for so long nothing is sent to it; then one attempt at a time

_logger = structlog.get_logger("andon.alerts")

Send = Callable[[str, ReceiverSpec, Notification], Awaitable[Attempt]]


@dataclass
class Case:
    """One notification on its way."""

    note: Notification
    begun_at: float
    not_before: float = 0.0
    attempts: int = 0
    doubt: bool = False
    why: str = ""
    task: asyncio.Task[Attempt] | None = None


@dataclass
class Circuit:
    """What is known of one receiver."""

    failures: int = 0
    open_until: float = 0.0


@dataclass(frozen=True)
class Ended:
    """What became of a notification."""

    note: Notification
    ok: bool
    why: str = ""
    unknown: bool = False


class Delivery:
    """Cases and circuits. `pump` is called every second; it never waits."""

    def __init__(self, send: Send, clock: Clock, random: Random) -> None:
        self._send = send
        self._clock = clock
        self._random = random
        self._cases: dict[str, Case] = {}
        self._circuits: dict[str, Circuit] = {}
        self.sent: dict[str, int] = {}  # by receiver
        self.failed: dict[str, int] = {}  # attempts, by receiver

    def pump(self, wanted: Sequence[Notification], receivers: Mapping[str, ReceiverSpec]) -> Sequence[Ended]:
        """Start what is due, and tell what has ended. What is no longer wanted is dropped."""
        names = {note.id for note in wanted}
        for id_ in [id_ for id_ in self._cases if id_ not in names]:
            self._drop(id_)
        ended = []
        now = self._clock.monotonic()
        for note in wanted:
            spec = receivers.get(note.receiver)
            if spec is None:
                ended.append(Ended(note=note, ok=False, why="There is no such receiver any more."))
                self._drop(note.id)
                continue
            case = self._cases.setdefault(note.id, Case(note, begun_at=now))
            done = self._look(case, now)
            if done is not None:
                ended.append(done)
                self._cases.pop(note.id, None)
            elif case.task is None and self._may(case, now):
                case.attempts += 1
                case.task = asyncio.create_task(self._attempt(note, spec))
        return ended

    async def close(self) -> None:
        """Let attempts under way go; they are made again by whoever comes next."""
        tasks = [case.task for case in self._cases.values() if case.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._cases.clear()

    async def _attempt(self, note: Notification, spec: ReceiverSpec) -> Attempt:
        return await self._send(note.receiver, spec, note)

    def _may(self, case: Case, now: float) -> bool:
        circuit = self._circuits.get(case.note.receiver, Circuit())
        under_way = [one for one in self._cases.values() if one.task is not None]
        if now < case.not_before or now < circuit.open_until or len(under_way) >= AT_ONCE:
            return False
        probing = circuit.failures >= OPENS_AFTER
        return not (probing and any(one.note.receiver == case.note.receiver for one in under_way))

    def _look(self, case: Case, now: float) -> Ended | None:
        if case.task is None:
            if now - case.begun_at < PATIENCE_S:
                return None
            return Ended(note=case.note, ok=False, why=case.why or "It waited too long.", unknown=case.doubt)
        if not case.task.done():
            return None
        try:
            attempt = case.task.result()
        # A bug in a sender must not stop the other receivers: counted as a failed attempt and told.
        except Exception as error:
            _logger.exception("notification_broken", receiver=case.note.receiver)
            attempt = Attempt(word="unknown", why=f"{type(error).__name__} while sending.")
        case.task = None
        receiver = case.note.receiver
        circuit = self._circuits.setdefault(receiver, Circuit())
        if attempt.word == "sent":
            circuit.failures, circuit.open_until = 0, 0.0
            self.sent[receiver] = self.sent.get(receiver, 0) + 1
            return Ended(note=case.note, ok=True)
        self.failed[receiver] = self.failed.get(receiver, 0) + 1
        circuit.failures += 1
        if circuit.failures >= OPENS_AFTER:
            circuit.open_until = now + OPEN_S
        case.doubt |= attempt.word == "unknown"
        case.why = attempt.why
        if attempt.word == "refused":
            return Ended(note=case.note, ok=False, why=attempt.why, unknown=case.doubt)
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (case.attempts - 1))
        case.not_before = now + wait_s * (0.5 + self._random.uniform() / 2)
        return None

    def _drop(self, id_: str) -> None:
        case = self._cases.pop(id_, None)
        if case is not None and case.task is not None:
            case.task.cancel()
