"""The verb that takes facts in: a body becomes items, items become facts, facts become durable, the sender a receipt.

Valid items are kept whatever the others are like. A fact about a request that nobody knows is kept and counted, never
lost: it joins by itself when the row comes. Decoding is done away from the event loop, a few bodies at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.errors import Refused, Transient
from andon.kernel.ports import Runner
from andon.ledger.facts.facting import Sender, to_fact
from andon.ledger.facts.inflate import inflate
from andon.ledger.facts.items import Receipt, Refusal
from andon.ledger.facts.known import REFERENCE, REQUEST, RESPONSE, TRACE, KnownRequests, Subject
from andon.ledger.facts.log import FactLog
from andon.ledger.facts.lookup import look_up
from andon.ledger.facts.model import Evaluation, Fact, Label, Price, Span
from andon.ledger.facts.reading import read_items
from andon.ledger.facts.times import SECOND_NS, Unfit
from andon.ledger.queries import Engine

BODY_BYTES_MAX = 64 * 2**20  # inflated too
REFUSALS_TOLD = 1000
DECODING_MAX = 2  # bodies decoded at one time
WAITING_MAX = 32  # bodies that wait for it; more are told to come back
CHUNK = 1000  # facts written or looked for before others get their turn
LAG_BOUNDS_S = (1.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0, 7_776_000.0)


T = TypeVar("T")


class Fault(msgspec.Struct, frozen=True):
    """One item of a batch that was refused as a whole, as problem details list it."""

    path: str
    message: str
    hint: str = ""


class FactsRefused(Refused):
    """Not one item of a batch could be taken."""

    def __init__(self, faults: Sequence[Fault], count: int) -> None:
        super().__init__(
            "facts_refused",
            f"None of {count} items can be taken: {faults[0].message}"
            if count > 1
            else f"The item cannot be taken: {faults[0].message}",
            hint="Correct the items and send them again.",
            status=422,
            param=faults[0].path,
        )
        self.faults = list(faults)


class Counters:
    """What was taken in since the start; only ever grows."""

    def __init__(self) -> None:
        self.accepted: dict[str, int] = {}  # by kind
        self.duplicates = 0
        self.unknown = 0
        self.unchecked = 0  # batches whose unknown ones could not be looked up
        self.refused: dict[str, int] = {}  # by code
        self.lags = [0] * (len(LAG_BOUNDS_S) + 1)  # labels, by time from the answer to the label
        self.lag_sum_s = 0.0

    def lag(self, seconds: float) -> None:
        """One label came so long after its request was answered."""
        place = next((at for at, bound in enumerate(LAG_BOUNDS_S) if seconds <= bound), len(LAG_BOUNDS_S))
        self.lags[place] += 1
        self.lag_sum_s += seconds

    def refuse(self, code: str) -> None:
        """One item was refused."""
        self.refused[code] = self.refused.get(code, 0) + 1


class Doorway:
    """How many bodies may be in the works: few at a time, some more waiting, the rest is told to come back."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._places = asyncio.Semaphore(DECODING_MAX)
        self._inside = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Do `work` in a thread when its turn comes. Raises `Transient` when too many wait."""
        if self._inside >= DECODING_MAX + WAITING_MAX:
            raise Transient(
                "intake_busy",
                f"{self._inside} bodies are being read already.",
                hint="Send it again a little later, in larger batches.",
                retry_after_s=2.0,
            )
        self._inside += 1
        try:
            async with self._places:
                return await self._runner.run(work)
        finally:
            self._inside -= 1


class Intake:
    """Takes facts in. Used on the event loop of the observer."""

    def __init__(
        self,
        log: FactLog,
        known: KnownRequests,
        engine: Engine,
        runner: Runner,
        clock: Clock,
        unit_hash: Callable[[str], int],
    ) -> None:
        self._log = log
        self._engine = engine
        self._runner = runner
        self._clock = clock
        self._unit_hash = unit_hash
        self.known = known
        self.counters = Counters()
        self.doorway = Doorway(runner)

    async def receive(self, kind: str, data: bytes, media_type: str, encoding: str, source: str) -> Receipt:
        """One body of items of one kind, by `source`. Raises `Refused` for a body that cannot be read or holds
        nothing that can be taken, `Transient` when it cannot be written or too much is being read."""
        sender = Sender(source, self._clock.now_ns(), self._unit_hash)

        def decode() -> tuple[list[Fact], list[tuple[int, Unfit]]]:
            return _facts(kind, inflate(data, encoding, BODY_BYTES_MAX), media_type, sender)

        facts, unfit = await self.doorway.run(decode)
        for _, one in unfit:
            self.counters.refuse(one.code)
        if not facts:
            raise FactsRefused(
                [
                    Fault(
                        path=f"items[{index}]" + (f".{one.field}" if one.field else ""), message=one.message
                    )
                    for index, one in unfit[:100]
                ],
                len(unfit),
            )
        duplicates, unknown = await self.add(facts)
        return Receipt(
            accepted=len(facts) - duplicates,
            duplicates=duplicates,
            unknown=unknown,
            refused_count=len(unfit),
            refused=tuple(
                Refusal(index=index, code=one.code, message=one.message)
                for index, one in unfit[:REFUSALS_TOLD]
            ),
        )

    async def add(self, facts: Sequence[Fact]) -> tuple[int, int | None]:
        """Write facts: how many were there already, and how many are about unknown requests (None: undecided)."""
        fresh: list[Fact] = []
        for start in range(0, len(facts), CHUNK):
            fresh += await self._log.add(facts[start : start + CHUNK])
        counters = self.counters
        duplicates = len(facts) - len(fresh)
        counters.duplicates += duplicates
        for fact in fresh:
            kind = kind_of(fact)
            counters.accepted[kind] = counters.accepted.get(kind, 0) + 1
        unknown = await self._count_unknown(fresh)
        return duplicates, unknown

    async def _count_unknown(self, facts: Sequence[Fact]) -> int | None:
        missing: list[tuple[Fact, Subject]] = []
        for number, fact in enumerate(facts):
            if number % CHUNK == 0:
                await asyncio.sleep(0)  # a large batch must not hold up the others
            subject = subject_of(fact)
            if subject is None:
                continue
            seen = self.known.find(subject)
            if isinstance(fact, Label):
                self.known.mark_labelled(subject)
            if seen is None:
                missing.append((fact, subject))
            elif isinstance(fact, Label):
                self.counters.lag(max(0, fact.at_ns - seen.at_ns) / SECOND_NS)
        if not missing:
            return 0
        older = await look_up(self._engine, self._runner, [subject for _, subject in missing])
        if older is None:
            self.counters.unchecked += 1
            return None
        unknown = 0
        for fact, subject in missing:
            at_ns = older.get(subject)
            if at_ns is None:
                # The row may have come while the tables were asked.
                unknown += self.known.find(subject) is None
            elif isinstance(fact, Label):
                self.known.forget_waiting(subject)
                self.counters.lag(max(0, fact.at_ns - at_ns) / SECOND_NS)
        self.counters.unknown += unknown
        return unknown


def kind_of(fact: Fact) -> str:
    """`label`, `feedback`, `kpi`, `evaluation`, `span` or `price`."""
    return str(type(fact).__struct_config__.tag)


def subject_of(fact: Fact) -> Subject | None:
    """The request that a fact is about, by the most exact of its ids; None where it is about no request."""
    if isinstance(fact, Span | Price):
        return None
    if fact.request:
        return (REQUEST, fact.request)
    if fact.reference:
        return (REFERENCE, fact.reference)
    if fact.response:
        return (RESPONSE, fact.response)
    if isinstance(fact, Evaluation) and fact.trace_id:
        return (TRACE, fact.trace_id)
    return None


def _facts(
    kind: str, data: bytes, media_type: str, sender: Sender
) -> tuple[list[Fact], list[tuple[int, Unfit]]]:
    facts: list[Fact] = []
    unfit: list[tuple[int, Unfit]] = []
    for index, item in enumerate(read_items(kind, data, media_type)):
        try:
            if isinstance(item, Unfit):
                raise item
            facts.append(to_fact(item, sender))
        except Unfit as error:
            unfit.append((index, error))
    return facts, unfit
