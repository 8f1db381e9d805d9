"""Which requests the ledger knows of late, by id, business key, response id and trace: fed by the feed, memory only.

Decides at once whether a fact is about something known, and counts how many served requests have a label. What it has
forgotten is looked up in the tables; labels that came before their row wait here to be counted when it comes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from andon.ledger.facts.model import Fact
from andon.ledger.reader import Entry
from andon.ledger.row import Outcome

REQUESTS_MAX = 50_000  # of one generation; two are kept, at about 500 bytes a request
WAITING_MAX = 50_000  # labels without a row, about 100 bytes each
ENDPOINTS_MAX = 200  # series of coverage; the rest is counted together
OTHER = "other"

REQUEST, REFERENCE, RESPONSE, TRACE = "request", "reference", "response", "trace"
Subject = tuple[str, str]  # of the four, and its value


class Seen:
    """One request as facts need it."""

    __slots__ = ("at_ns", "endpoint", "id", "is_labelled", "is_served", "release", "shares_trace")

    def __init__(self, row: Outcome) -> None:
        self.id = row.id
        self.at_ns = row.at_ns
        self.endpoint = row.endpoint or ""
        self.release = row.release or ""
        self.is_served = row.status < 400 and row.refused_by is None
        self.is_labelled = False
        self.shares_trace = False  # with another request: its trace alone does not say which is meant


class _Generation:
    """Requests of one stretch of time, with their counts, so that forgetting them costs nothing."""

    def __init__(self) -> None:
        self.requests = 0
        # Hashes, not texts: a collision (1 in 10^13 for each look-up) says "known" where it should say "unknown".
        self.index: dict[int, Seen] = {}
        self.served: dict[str, int] = {}
        self.labelled: dict[str, int] = {}


class KnownRequests:
    """A consumer of the feed. Used on the event loop only."""

    name = "known_requests"

    def __init__(self, requests_max: int = REQUESTS_MAX, waiting_max: int = WAITING_MAX) -> None:
        self._requests_max = requests_max
        self._waiting_max = waiting_max
        self._young = _Generation()
        self._old = _Generation()
        self._waiting: OrderedDict[int, None] = OrderedDict()
        self.joined_late = 0  # labels whose row came after them
        self.given_up = 0  # labels forgotten here before their row came; the tables join them all the same

    def take_rows(self, entries: Sequence[Entry]) -> None:
        """Remember what was answered."""
        for entry in entries:
            row = entry.row
            if isinstance(row, Outcome) and row.final and row.arm != "shadow":
                self._remember(row)

    def take_facts(self, facts: Sequence[Fact]) -> None:
        """Facts are heard of when they are taken in."""

    def find(self, subject: Subject) -> Seen | None:
        """The request, if it is remembered."""
        mark = hash(subject)
        return self._young.index.get(mark) or self._old.index.get(mark)

    def mark_labelled(self, subject: Subject) -> bool:
        """A label has come; False if its request is not remembered: then it waits for the row."""
        mark = hash(subject)
        for generation in (self._young, self._old):
            seen = generation.index.get(mark)
            if seen is not None:
                _label(generation, seen)
                return True
        if len(self._waiting) >= self._waiting_max:
            self._waiting.popitem(last=False)
            self.given_up += 1
        self._waiting[mark] = None
        return False

    def forget_waiting(self, subject: Subject) -> None:
        """Its row is an old one, which will not come again."""
        self._waiting.pop(hash(subject), None)

    def coverage(self) -> dict[str, tuple[int, int]]:
        """By endpoint: requests served and those of them with a label, of all that are remembered."""
        both = (self._young, self._old)
        names = {name for generation in both for name in generation.served}
        return {
            name: (
                sum(generation.served.get(name, 0) for generation in both),
                sum(generation.labelled.get(name, 0) for generation in both),
            )
            for name in sorted(names)
        }

    @property
    def waiting(self) -> int:
        """Labels whose row has not come."""
        return len(self._waiting)

    def _remember(self, row: Outcome) -> None:
        if self._young.requests >= self._requests_max:
            self._old, self._young = self._young, _Generation()
        young, seen = self._young, Seen(row)
        young.requests += 1
        if seen.is_served:
            if seen.endpoint not in young.served and len(young.served) >= ENDPOINTS_MAX:
                seen.endpoint = OTHER
            young.served[seen.endpoint] = young.served.get(seen.endpoint, 0) + 1
        for subject in _subjects(row):
            mark = hash(subject)
            if subject[0] == TRACE and not seen.shares_trace:
                other = self.find(subject)
                seen.shares_trace = other is not None and other.id != row.id
            young.index[mark] = seen  # of several with one business key, the latest
            if mark in self._waiting:
                del self._waiting[mark]
                self.joined_late += 1
                _label(young, seen)


def _label(generation: _Generation, seen: Seen) -> None:
    if seen.is_served and not seen.is_labelled:
        seen.is_labelled = True
        generation.labelled[seen.endpoint] = generation.labelled.get(seen.endpoint, 0) + 1


def _subjects(row: Outcome) -> list[Subject]:
    subjects = [(REQUEST, row.id)]
    if row.reference:
        subjects.append((REFERENCE, row.reference))
    if row.response_id:
        subjects.append((RESPONSE, row.response_id))
    trace = row.traceparent or ""
    if len(trace) >= 52:  # version, trace and span (W3C Trace Context §3.2)
        subjects += [(TRACE, trace[3:35]), (TRACE, trace[3:52])]
    return subjects
