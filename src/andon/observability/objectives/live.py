"""Live tallies of every objective, fed with rows and facts as they come; memory only, bounded.

What came before the feed is filled in by query (`wants` says what to read, `fill` and `load` take it). Rows are counted
once by their final outcome. A fact about a request that is no longer at hand, or was never, makes its objectives
`stale`: they are read again by query, so that a label of any age counts exactly, a few seconds later.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence

from andon.kernel.clock import Clock
from andon.ledger.facts.model import Evaluation, Fact, Feedback, Label
from andon.ledger.reader import Entry
from andon.ledger.row import Outcome
from andon.observability.objectives.counting import compile_counting, counting_of, judge
from andon.observability.objectives.model import ObjectiveSpec, QualitySpec, Slice
from andon.observability.objectives.repository import JudgedRow
from andon.observability.objectives.tallies import FINE_NS, NS, Slot, Tally
from andon.observability.objectives.windows import DAY_S, Window, period_s, spans_of, windows_of

RECENT_ROWS_MAX = 50_000  # final outcomes at hand for facts that come soon; older ones are found by query
EVENTS_MAX = 200_000  # judged requests at hand of one objective; beyond, every fact means a query
JOURNAL_MAX = 20_000  # facts kept while a query is under way
JOURNAL_S = 5 * NS  # and how long they are kept: longer than a fact needs to be visible to queries


class Verdicts:
    """What facts have said about the requests of one quality objective."""

    __slots__ = ("by_id", "complete")

    def __init__(self) -> None:
        self.by_id: dict[str, Judged] = {}
        self.complete = True  # False when there were too many: then counts come by query only


class Judged:
    """One judged request: the latest fact, and where it is counted (`bad` None = nowhere)."""

    __slots__ = ("at_ns", "bad", "facts", "key", "known_ns")

    def __init__(
        self, key: Slice, at_ns: int, bad: bool | None, known_ns: int, facts: tuple[str, ...]
    ) -> None:
        self.key = key
        self.at_ns = at_ns  # on the axis that counts
        self.bad = bad
        self.known_ns = known_ns
        self.facts = facts  # ids that were seen, the latest last


class LiveObjective:
    """One objective as it is counted now."""

    def __init__(self, name: str, generation: int, spec: ObjectiveSpec, now_ns: int) -> None:
        self.name = name
        self.generation = generation
        self.spec = spec
        self.counting = counting_of(spec)
        self.compiled = compile_counting(self.counting)
        self.windows: tuple[Window, ...] = windows_of(spec)
        self.period_s = period_s(spec)
        self.spans = spans_of(spec, self.windows)  # every length of window that is looked at, with its name
        reach = max(self.period_s + DAY_S, *self.spans)
        self.tally = Tally(len(spec.by), spec.slices_max, reach, now_ns)
        self.reach_s = reach
        self.since_ns = -(-now_ns // FINE_NS) * FINE_NS  # from here on the feed has told everything
        self.filled = False
        self.stale = False  # a fact was about a request that is not at hand
        self.partial = False  # a business key came again, so that facts may have moved
        self.verdicts = Verdicts() if self.counting.quality else None
        self.read_ns = 0  # when it was last read by query

    def add_rows(self, rows: Sequence[Outcome]) -> None:
        """Count final outcomes; those of one slice and slot together, because rings cost more than tests."""
        compiled = self.compiled
        is_event, is_bad, slice_of = compiled.is_event, compiled.is_bad, compiled.slice_of
        counts: dict[tuple[Slice, int], list[int]] = {}
        for row in rows:
            if is_event(row):
                place = (slice_of(row), row.at_ns // FINE_NS)
                counted = counts.get(place)
                if counted is None:
                    counted = counts[place] = [0, 0]
                counted[0] += 1
                counted[1] += is_bad(row)
        for (key, slot), (total, bad) in counts.items():
            self.tally.add(key, slot * FINE_NS, total, bad)

    def add_fact(self, row: Outcome, fact: Label | Feedback | Evaluation, again: bool = False) -> None:
        """Count, or count anew, a request that a fact is about."""
        assert self.verdicts is not None
        assert self.counting.quality is not None
        if not self.compiled.is_event(row):
            return
        if not self.verdicts.complete:
            self.stale = True
            return
        key = self.compiled.slice_of(row)
        content = content_of(fact)
        self._judge(JudgedRow(row.id, row.at_ns, row.prediction, key, fact.at_ns, fact.id, *content), again)

    def _judge(self, row: JudgedRow, again: bool = False) -> None:
        """Of facts learnt at one moment the later in the log stands; one that is told `again` has had its turn."""
        assert self.verdicts is not None
        assert self.counting.quality is not None
        quality, by_id = self.counting.quality, self.verdicts.by_id
        old = by_id.get(row.id)
        facts: tuple[str, ...] = (row.fact,)
        if old is not None:
            if row.fact in old.facts or row.known_ns < old.known_ns + again:
                return
            facts = (*old.facts[-7:], row.fact)
            if old.bad is not None:
                self.tally.add(old.key, old.at_ns, -1, -int(old.bad))
        elif len(by_id) >= EVENTS_MAX:
            self.verdicts.complete, self.stale = False, True
            by_id.clear()
            return
        bad = judge(quality, row.prediction, row.value, row.text)
        at_ns = row.known_ns if quality.counted_at == "known" else row.at_ns
        by_id[row.id] = Judged(row.key, at_ns, bad, row.known_ns, facts)
        if bad is not None:
            self.tally.add(row.key, at_ns, 1, int(bad))

    def fill(self, before_ns: int, fine: Iterable[Slot], coarse: Iterable[Slot], now_ns: int) -> None:
        """Take what a query counted before a fine boundary in place of what is there."""
        held = self._held()
        self.tally.advance(now_ns)
        self.tally.fill(before_ns, fine, coarse)
        if self.verdicts is not None:
            self._count_news(held)
        self.filled, self.read_ns, self.stale, self.partial = True, now_ns, False, False

    def load(self, rows: Sequence[JudgedRow], now_ns: int) -> None:
        """Take the judged requests that a query found in place of those at hand."""
        assert self.verdicts is not None
        counters = {key: (one.events_total, one.bad_total) for key, one in self.tally.slices.items()}
        known, self.verdicts = self.verdicts.by_id, Verdicts()
        self.tally.advance(now_ns)
        self.tally.empty()
        for row in rows:
            self._judge(row)
        for key, one in self.tally.slices.items():
            one.events_total, one.bad_total = counters.get(key, (0, 0))
        for id_, judged in self.verdicts.by_id.items():
            if self.filled and id_ not in known and judged.bad is not None:
                one = self.tally.slice(judged.key)
                one.events_total += 1
                one.bad_total += judged.bad
        self.filled, self.read_ns, self.stale, self.partial = True, now_ns, False, False

    def _held(self) -> dict[Slice, tuple[int, int]]:
        return {key: one.coarse.sums(0, one.coarse.head + 1) for key, one in self.tally.slices.items()}

    def _count_news(self, before: dict[Slice, tuple[int, int]]) -> None:
        """Counters follow what a query has found more of; the first look at history is no news."""
        if not self.filled:
            return
        for key, (total, bad) in self._held().items():
            had = before.get(key, (0, 0))
            self.tally.slices[key].events_total += max(0, total - had[0])
            self.tally.slices[key].bad_total += min(max(0, bad - had[1]), max(0, total - had[0]))


class LiveObjectives:
    """The feed's consumer: every objective there is."""

    name = "objectives"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.objectives: dict[str, LiveObjective] = {}
        self._recent: OrderedDict[str, Outcome] = OrderedDict()
        self._by_reference: dict[str, str] = {}
        self._by_response: dict[str, str] = {}
        self._journal: deque[Label | Feedback | Evaluation] = deque(maxlen=JOURNAL_MAX)
        self.unresolved = 0  # facts about requests that were not at hand

    def put(self, name: str, generation: int, spec: ObjectiveSpec) -> None:
        """Begin to count an objective, or anew after its spec changed."""
        known = self.objectives.get(name)
        if known is None or known.generation != generation:
            self.objectives[name] = LiveObjective(name, generation, spec, self._clock.now_ns())

    def remove(self, name: str) -> None:
        """Stop counting one."""
        self.objectives.pop(name, None)

    def take_rows(self, entries: Sequence[Entry]) -> None:
        """Count rows: final outcomes of requests, each once."""
        now_ns = self._clock.now_ns()
        rows = [
            entry.row
            for entry in entries
            if isinstance(entry.row, Outcome) and entry.row.final and entry.row.arm != "shadow"
        ]
        judging = False
        for objective in self.objectives.values():
            objective.tally.advance(now_ns)
            if objective.verdicts is not None:
                judging = True
                continue
            objective.add_rows(rows)
        if judging:
            for row in rows:
                self._remember(row)

    def take_facts(self, facts: Sequence[Fact]) -> None:
        """Count facts that judge answers."""
        now_ns = self._clock.now_ns()
        judges = [one for one in self.objectives.values() if one.verdicts is not None]
        for objective in judges:
            objective.tally.advance(now_ns)
        while self._journal and self._journal[0].at_ns < now_ns - 12 * JOURNAL_S:
            self._journal.popleft()
        for fact in facts:
            if isinstance(fact, Label | Feedback | Evaluation):
                self._journal.append(fact)
                self._take(fact, judges)

    def replay(self, objective: LiveObjective, since_ns: int) -> None:
        """Take facts again that came while the objective was read; what it knows already changes nothing."""
        for fact in list(self._journal):
            if fact.at_ns >= since_ns - JOURNAL_S:
                self._take(fact, [objective], again=True)

    def _take(
        self, fact: Label | Feedback | Evaluation, judges: Sequence[LiveObjective], again: bool = False
    ) -> None:
        asked = [one for one in judges if one.counting.quality and is_about(one.counting.quality, fact)]
        if not asked:
            return
        rows = self._rows_of(fact)
        self.unresolved += not rows
        for objective in asked:
            if not rows:
                objective.stale = True
            for row in rows:
                objective.add_fact(row, fact, again)

    def _rows_of(self, fact: Label | Feedback | Evaluation) -> list[Outcome]:
        if fact.request is not None:
            ids = [fact.request]
        elif fact.reference is not None:
            ids = [self._by_reference.get(fact.reference, "")]
        else:
            ids = [self._by_response.get(fact.response or "", "")]
        return [self._recent[id_] for id_ in ids if id_ in self._recent]

    def _remember(self, row: Outcome) -> None:
        """Keep a row at hand. Of several with one business key, or one id of the answer, the latest is meant."""
        self._recent[row.id] = row
        for keys, key in ((self._by_reference, row.reference), (self._by_response, row.response_id)):
            if key is None:
                continue
            before = self._recent.get(keys.get(key, ""))
            if before is None or before.at_ns <= row.at_ns:
                keys[key] = row.id
            if before is not None:
                self._doubt()
        if len(self._recent) <= RECENT_ROWS_MAX:
            return
        _, old = self._recent.popitem(last=False)
        for keys, key in ((self._by_reference, old.reference), (self._by_response, old.response_id)):
            if key is not None and keys.get(key) == old.id:
                del keys[key]

    def _doubt(self) -> None:
        """A key came again: a fact that named it is about the new request now, which only a query can tell."""
        for objective in self.objectives.values():
            objective.partial |= objective.verdicts is not None


def is_about(quality: QualitySpec, fact: Label | Feedback | Evaluation) -> bool:
    """Whether a fact is of the kind and name that judges."""
    if isinstance(fact, Label):
        return quality.source == "label" and fact.name == quality.name
    if isinstance(fact, Feedback):
        return quality.source == "feedback" and fact.kind == quality.name
    return quality.source == "evaluation" and fact.name == quality.name


def content_of(fact: Label | Feedback | Evaluation) -> tuple[float | None, str | None]:
    """Value and text of a fact."""
    if isinstance(fact, Label):
        return fact.value, fact.text
    if isinstance(fact, Feedback):
        return fact.value, None
    return fact.score, fact.label
