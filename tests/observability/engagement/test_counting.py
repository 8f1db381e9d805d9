"""Feedback and KPI events as metrics: by the release that answered, bounded, thumbs and ratings told apart."""

from __future__ import annotations

from andon.ledger.facts.known import KnownRequests
from andon.ledger.facts.model import Feedback, KpiEvent, Label
from andon.ledger.reader import Entry
from andon.ledger.row import Outcome
from andon.observability.engagement.counting import KPIS_MAX, EngagementCounts
from andon.observability.families import Family


def row(name: str, release: str) -> Entry:
    outcome = Outcome(
        id=name, endpoint="credit", release=release, status=200, final=True, reference=f"loan-{name}"
    )
    return Entry(row=outcome, position=0)


def told(counts: EngagementCounts) -> dict[str, Family]:
    return {family.name: family for family in counts.families()}


def values(family: Family) -> dict[tuple[str, ...], float]:
    return {tuple(value for _, value in sample.labels): sample.value for sample in family.samples}


def test_feedback_is_counted_by_the_release_that_answered() -> None:
    known = KnownRequests()
    known.take_rows([row("1", "credit@1"), row("2", "credit@2")])
    counts = EngagementCounts(known)
    counts.take_facts(
        [
            Feedback(id="a", request="1", kind="thumb", value=1.0),
            Feedback(id="b", reference="loan-2", kind="thumb", value=0.0),
            Feedback(id="c", request="2", kind="rating", value=4.0),
            Feedback(id="d", request="nobody", kind="odd"),
            Label(id="e", request="1", value=1.0),
        ]
    )
    families = told(counts)
    assert values(families["andon_feedback_total"]) == {
        ("credit", "credit@1", "thumb"): 1,
        ("credit", "credit@2", "thumb"): 1,
        ("credit", "credit@2", "rating"): 1,
        ("other", "other", "other"): 1,
    }
    assert values(families["andon_feedback_thumbs_total"]) == {
        ("credit", "credit@1", "up"): 1,
        ("credit", "credit@2", "down"): 1,
    }
    (rating,) = families["andon_feedback_rating"].samples
    assert (rating.value, rating.count) == (4.0, 1)
    assert rating.buckets == ((1.0, 0), (2.0, 0), (3.0, 0), (4.0, 1), (5.0, 1))


def test_kpi_values_add_up_and_junk_names_do_not_grow_the_series() -> None:
    known = KnownRequests()
    known.take_rows([row("1", "credit@1")])
    counts = EngagementCounts(known)
    counts.take_facts([KpiEvent(id="s", request="1", name="sale", value=20.0, currency="EUR")])
    counts.take_facts([KpiEvent(id="r", request="1", name="sale", value=-5.0, currency="EUR")])
    assert values(told(counts)["andon_kpi_value"]) == {("credit", "credit@1", "sale", "EUR"): 15.0}
    counts.take_facts(
        [KpiEvent(id=str(n), request="1", name=f"junk-{n}", currency="x" * 50) for n in range(10_000)]
    )
    assert len(told(counts)["andon_kpi_events_total"].samples) == KPIS_MAX + 1
    assert (
        values(told(counts)["andon_kpi_events_total"])["credit", "credit@1", "other"] == 10_000 - KPIS_MAX + 1
    )
