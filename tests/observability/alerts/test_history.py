"""History by query equals what the live windows said at the same moments; objectives and silence likewise."""

from __future__ import annotations

import numpy as np
import pytest

from andon.ledger.facts.model import KpiEvent
from andon.ledger.reader import Entry
from andon.ledger.row import Outcome
from andon.observability.alerts.burning import objective_history
from andon.observability.alerts.figures import figure_of
from andon.observability.alerts.history import absent_history, query_history, window_history
from andon.observability.alerts.model import AbsentWhen, AlertSpec, ObjectiveWhen, QueryWhen, When, WindowWhen
from andon.observability.alerts.rules import NS, compile_rule
from andon.observability.alerts.sightings import Sightings, ask_last
from andon.observability.objectives.model import AvailabilitySpec, IndicatorSpec, ObjectiveSpec
from andon.observability.windows.service import Windows
from tests.ledger.queries.rig import Rig
from tests.observability.windows.test_windows import HandClock

BASE_S = 1_760_000_040  # at a whole minute
MINUTES = 40


def rows() -> list[Outcome]:
    """Two endpoints, one of which fails for ten minutes; retries, shadows, refusals and streams among them."""
    chance = np.random.default_rng(5)
    found = []
    for second in range(MINUTES * 60):
        for name in ("credit", "chat"):
            number = len(found)
            ill = name == "chat" and 600 <= second < 1200
            bad = bool(chance.random() < (0.5 if ill else 0.002))
            status = 500 if bad else int(chance.choice([200, 200, 200, 429, 499]))
            found.append(
                Outcome(
                    f"r-{number}",
                    at_ns=(BASE_S + second) * NS + number,
                    final=bool(chance.random() < 0.95),
                    endpoint=name,
                    release=f"{name}@1",
                    arm="shadow" if chance.random() < 0.05 else "stable",
                    status=status,
                    provider_error=bad,
                    stream=bool(chance.random() < 0.5),
                    duration_us=int(chance.lognormal(10, 1)),
                    upstream_us=int(chance.lognormal(10, 1)),
                    first_byte_us=int(chance.lognormal(8, 1)),
                    input_tokens=3,
                    output_tokens=int(chance.integers(1, 50)),
                    cost_micros=7,
                )
            )
    return found


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    made = Rig(tmp_path_factory.mktemp("home"))
    made.write("rows", rows())
    made.write(
        "facts", [KpiEvent("k-1", at_ns=(BASE_S + 60) * NS, event_ns=(BASE_S + 60) * NS, name="batch")]
    )
    return made


def span() -> tuple[int, int]:
    return BASE_S * NS, (BASE_S + MINUTES * 60) * NS


@pytest.mark.parametrize(
    "metric",
    ["errorRate", "attemptErrorRate", "refusedRate", "cancelledRate", "requests", "tokensPerS", "costMicros"]
    + ["duration.p99", "firstToken.p50", "perToken.p90"],
)
def test_history_is_what_the_windows_said(rig: Rig, metric: str) -> None:
    when = When(window=WindowWhen(metric=metric, above=0.1, over="5m", minimum_events=10))
    history = window_history(rig.engine, compile_rule("r", AlertSpec(when=when)), *span())
    clock = HandClock(BASE_S * NS)
    windows = Windows(clock)
    given = rows()
    compared = 0
    for at in range(10, MINUTES, 7):
        end_ns = (BASE_S + at * 60) * NS
        clock.at_ns = end_ns
        new = [row for row in given if row.at_ns < end_ns]
        given = given[len(new) :]
        windows.take_rows([Entry(number + 1, row) for number, row in enumerate(new)])
        for track in history.tracks:
            reading = windows.window(track.labels["endpoint"], "", 300.0)
            value = float(track.values[list(history.times_ns).index(end_ns)])
            assert reading.since_ns == end_ns - 300 * NS
            assert value == pytest.approx(figure_of(reading, metric), rel=1e-9)
            compared += 1
    assert compared >= 8
    assert [track.labels["endpoint"] for track in history.tracks] in (["chat", "credit"], ["credit", "chat"])


def test_an_objectives_windows_fire_in_the_outage_only(rig: Rig) -> None:
    spec = ObjectiveSpec(
        indicator=IndicatorSpec(availability=AvailabilitySpec()), objective=0.99, by=("endpoint",)
    )
    history = objective_history(rig.engine, "answers", spec, ObjectiveWhen(name="answers"), span())
    truths = {track.labels["endpoint"]: track.truth for track in history.tracks}
    assert truths["chat"] is not None
    assert truths["credit"] is not None
    first = (int(history.times_ns[int(np.argmax(truths["chat"]))]) // NS - BASE_S) / 60
    assert 10 <= first <= 14
    assert not truths["credit"].any()


def test_silence_is_counted_since_the_last_one(rig: Rig) -> None:
    history = absent_history(rig.engine, AbsentWhen(kpi="batch", during="10m"), *span())
    (track,) = history.tracks
    assert float(track.values[-1]) == MINUTES * 60 - 60
    assert float(track.values[1]) <= 60
    assert ask_last(rig.engine, ("kpi", "batch")) == (BASE_S + 60) * NS
    assert ask_last(rig.engine, ("kpi", "other")) == 0


def test_a_query_is_asked_at_its_moments(rig: Rig) -> None:
    sql = (
        "SELECT endpoint, count(*) AS value FROM attempts "
        "WHERE provider_error AND at_ns >= $since AND at_ns < $until GROUP BY endpoint HAVING count(*) > 60"
    )
    when = QueryWhen(sql=sql, over="5m")
    rule = compile_rule("q", AlertSpec(when=When(query=when), every="5m"))
    history = query_history(rig.engine, rule, when, *span(), lambda: True)
    (track,) = history.tracks
    assert track.labels == {"endpoint": "chat"}
    assert track.truth is not None
    assert 1 <= track.truth.sum() <= 3


def test_sightings_follow_the_feed() -> None:
    sightings = Sightings()
    sightings.take_rows([Entry(1, row) for row in rows()[:10]])
    sightings.take_facts([KpiEvent("k", at_ns=5, name="batch")])
    assert sightings.last_ns(("kpi", "batch")) == 5
    assert sightings.last_ns(("requests", "")) > BASE_S * NS
    assert sightings.last_ns(("requests", "nowhere")) == 0
