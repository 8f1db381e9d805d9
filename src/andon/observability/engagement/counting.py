"""What people and the business told of answers, counted as it comes: feedback, thumbs, ratings, KPI events.

A consumer of the feed and a source of metrics. What was corrected later is counted twice here, because counters never
fall; the ledger has the latest version. Label sets are closed: names beyond a bound, and requests that nobody
remembers, are `other`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from andon.ledger.facts.known import REFERENCE, REQUEST, RESPONSE, KnownRequests
from andon.ledger.facts.model import Fact, Feedback, KpiEvent
from andon.ledger.reader import Entry
from andon.observability.families import OTHER, Family, Sample

KINDS: Final = frozenset({"thumb", "rating", "regenerate", "abandon", "accept", "edit", "copy"})
STARS: Final = (1.0, 2.0, 3.0, 4.0, 5.0)
KPIS_MAX: Final = 50
SERIES_MAX: Final = 2_000  # of one family
UP: Final = 0.5  # a thumb from here on is up

Labels = tuple[tuple[str, str], ...]


class EngagementCounts:
    """Counts since the observer began. Used on the event loop only."""

    name = "engagement"

    def __init__(self, known: KnownRequests) -> None:
        self._known = known
        self._kpis: set[str] = set()
        self._feedback: dict[Labels, float] = {}
        self._thumbs: dict[Labels, float] = {}
        self._ratings: dict[Labels, list[float]] = {}  # counts by star, then the sum
        self._events: dict[Labels, float] = {}
        self._values: dict[Labels, float] = {}

    def take_rows(self, entries: Sequence[Entry]) -> None:
        """Rows are remembered by `KnownRequests`."""

    def take_facts(self, facts: Sequence[Fact]) -> None:
        """Count feedback and KPI events."""
        for fact in facts:
            if isinstance(fact, Feedback):
                self._take_feedback(fact)
            elif isinstance(fact, KpiEvent):
                self._take_kpi(fact)

    def families(self) -> tuple[Family, ...]:
        """All of them, now."""
        return (
            _family("andon_feedback_total", "Pieces of feedback, by kind.", self._feedback),
            _family("andon_feedback_thumbs_total", "Thumbs, up and down.", self._thumbs),
            Family(
                "andon_feedback_rating",
                "histogram",
                "Ratings from 1 to 5.",
                tuple(_rating(labels, counts) for labels, counts in sorted(self._ratings.items())),
            ),
            _family("andon_kpi_events_total", "KPI events.", self._events),
            Family(
                "andon_kpi_value",
                "gauge",
                "What the values of KPI events add up to since the observer began; falls where one is negative.",
                tuple(Sample(labels, value) for labels, value in sorted(self._values.items())),
            ),
        )

    def _take_feedback(self, fact: Feedback) -> None:
        place = self._place(fact)
        kind = fact.kind if fact.kind in KINDS else OTHER
        _add(self._feedback, (*place, ("kind", kind)))
        if fact.value is None:
            return
        if kind == "thumb":
            _add(self._thumbs, (*place, ("thumb", "up" if fact.value >= UP else "down")))
        elif kind == "rating":
            place = place if place in self._ratings or len(self._ratings) < SERIES_MAX else _PLACELESS
            counts = self._ratings.setdefault(place, [0.0] * (len(STARS) + 1))
            counts[min(len(STARS), max(1, round(fact.value))) - 1] += 1
            counts[-1] += fact.value

    def _take_kpi(self, fact: KpiEvent) -> None:
        place = self._place(fact)
        if fact.name not in self._kpis and len(self._kpis) < KPIS_MAX:
            self._kpis.add(fact.name)
        kpi = ("kpi", fact.name if fact.name in self._kpis else OTHER)
        currency = fact.currency or ""
        named = currency if len(currency) == 3 and currency.isalpha() and currency.isupper() else ""
        _add(self._events, (*place, kpi))
        _add(self._values, (*place, kpi, ("currency", named)), fact.value)

    def _place(self, fact: Feedback | KpiEvent) -> Labels:
        for kind, value in ((REQUEST, fact.request), (REFERENCE, fact.reference), (RESPONSE, fact.response)):
            seen = self._known.find((kind, value)) if value else None
            if seen is not None:
                return (("endpoint", seen.endpoint or OTHER), ("release", seen.release or OTHER))
        return _PLACELESS


_PLACELESS: Final[Labels] = (("endpoint", OTHER), ("release", OTHER))


def _add(held: dict[Labels, float], labels: Labels, amount: float = 1.0) -> None:
    if labels not in held and len(held) >= SERIES_MAX:
        labels = tuple((name, OTHER) for name, _ in labels)
    held[labels] = held.get(labels, 0.0) + amount


def _family(name: str, meaning: str, held: dict[Labels, float]) -> Family:
    return Family(name, "counter", meaning, tuple(Sample(labels, held[labels]) for labels in sorted(held)))


def _rating(labels: Labels, counts: list[float]) -> Sample:
    buckets, total = [], 0
    for bound, count in zip(STARS, counts[:-1], strict=True):
        total += int(count)
        buckets.append((bound, total))
    return Sample(labels, counts[-1], tuple(buckets), total)
