"""Live tallies: rings, late and corrected labels, history filled in, and the board over them, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from andon.ledger.facts.model import Label
from andon.ledger.reader import Entry
from andon.ledger.row import Outcome
from andon.observability.objectives.board import Board
from andon.observability.objectives.live import LiveObjective, LiveObjectives
from andon.observability.objectives.metrics import ObjectiveMetrics
from andon.observability.objectives.model import (
    AlertingSpec,
    AvailabilitySpec,
    IndicatorSpec,
    ObjectiveSpec,
    QualitySpec,
    WindowSpec,
)
from andon.observability.objectives.repository import JudgedRow
from andon.observability.objectives.tallies import COARSE_NS, FINE_NS, NS, OTHER, Slot, Tally, align_ns

START_NS = 1_780_000_000 * NS


class Clock:
    def __init__(self) -> None:
        self.ns = START_NS

    def now_ns(self) -> int:
        return self.ns

    def monotonic(self) -> float:
        return self.ns / NS

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody waits here")


def world(spec: ObjectiveSpec) -> tuple[Clock, LiveObjectives, LiveObjective]:
    clock = Clock()
    live = LiveObjectives(clock)
    live.put("o", 1, spec)
    live.objectives["o"].filled = True
    return clock, live, live.objectives["o"]


def availability(**rest: object) -> ObjectiveSpec:
    indicator = IndicatorSpec(availability=AvailabilitySpec())
    return ObjectiveSpec(indicator=indicator, objective=0.999, period="30d", **rest)  # type: ignore[arg-type]  # by name


def quality(counted_at: str = "known") -> ObjectiveSpec:
    spec = QualitySpec(counted_at=counted_at)  # type: ignore[arg-type]  # one of two words
    return ObjectiveSpec(indicator=IndicatorSpec(quality=spec), objective=0.9, period="30d")


def feed(live: LiveObjectives, rows: Sequence[Outcome]) -> None:
    live.take_rows([Entry(number, row) for number, row in enumerate(rows)])


def total(objective: LiveObjective, from_ns: int, to_ns: int) -> tuple[int, int]:
    return objective.tally.slices[()].window(*align_ns(from_ns, to_ns))


def test_rings_count_any_window_as_plain_python_does() -> None:
    chance = random.Random(7)
    clock, live, objective = world(availability())
    seen: list[tuple[int, bool]] = []
    for _ in range(3_000):
        clock.ns += int(chance.expovariate(1 / (600 * NS)))
        late_ns = chance.choice((0, 0, 3 * NS, 400 * NS))
        failed = chance.random() < 0.2
        at_ns = clock.ns - late_ns
        feed(live, [Outcome(id="r", at_ns=at_ns, status=500 if failed else 200)])
        seen.append((at_ns, failed))
        if chance.random() < 0.05:
            length_s = chance.choice((300, 3_600, 21_600, 86_400, 30 * 86_400))
            begin, end = align_ns(clock.ns - length_s * NS, clock.ns)
            inside = [bad for at, bad in seen if begin <= at < end]
            assert objective.tally.slices[()].window(begin, end) == (len(inside), sum(inside))


def test_history_is_put_in_place_of_what_the_rings_had_before() -> None:
    clock, live, objective = world(availability())
    clock.ns = START_NS + 7 * NS
    before_ns = START_NS + 5 * NS  # a fine boundary in the middle of a coarse slot
    ok = [Outcome(id="r", at_ns=START_NS + n * NS, status=200) for n in range(7)]
    feed(live, ok)  # those before the boundary are in the query as well
    fine = [Slot((), (START_NS + n * NS) // FINE_NS, 1, 1) for n in range(5)]
    coarse = [Slot((), START_NS // COARSE_NS, 5, 5), Slot((), START_NS // COARSE_NS - 288, 40, 4)]
    for _ in range(2):  # once more changes nothing
        objective.fill(before_ns, fine, coarse, clock.ns)
        assert total(objective, START_NS - 3_600 * NS, START_NS + 10 * NS) == (7, 5)
        assert total(objective, START_NS - 2 * 86_400 * NS, START_NS + 10 * NS) == (47, 9)


def test_rows_of_a_wrong_clock_are_left_out_and_told() -> None:
    _, live, objective = world(availability())
    feed(live, [Outcome(id="r", at_ns=START_NS + 3_600 * NS, status=200)])
    assert objective.tally.misplaced == 1
    assert total(objective, START_NS - 3_600 * NS, START_NS) == (0, 0)


def test_shadows_and_attempts_that_were_retried_are_no_events() -> None:
    _, live, objective = world(availability())
    feed(
        live,
        [
            Outcome(id="a", at_ns=START_NS, status=500, final=False),
            Outcome(id="a", at_ns=START_NS, status=200),
            Outcome(id="b", at_ns=START_NS, status=500, arm="shadow"),
        ],
    )
    assert total(objective, START_NS - 60 * NS, START_NS + 60 * NS) == (1, 0)


def test_slices_are_bounded() -> None:
    tally = Tally(1, 2, 86_400, START_NS)
    for name in ("a", "b", "c", "d", "a"):
        tally.add((name,), START_NS, 1, 0)
    assert set(tally.slices) == {("a",), ("b",), (OTHER,)}
    assert tally.folded == 2


@pytest.mark.parametrize("axis", ["known", "request"])
def test_a_late_label_counts_and_a_corrected_one_is_taken_back(axis: str) -> None:
    clock, live, objective = world(quality(axis))
    row = Outcome(id="r", at_ns=START_NS, status=200, prediction="1", reference="order-1")
    feed(live, [row])
    clock.ns += 7_200 * NS
    first = Label(id="l1", at_ns=clock.ns, reference="order-1", value=0.0)
    live.take_facts([first, first])
    hour = (clock.ns - 3_600 * NS, clock.ns + 5 * NS)
    day = (clock.ns - 86_400 * NS, clock.ns + 5 * NS)
    assert total(objective, *hour) == ((1, 1) if axis == "known" else (0, 0))
    assert total(objective, *day) == (1, 1)
    clock.ns += 3_600 * NS
    live.take_facts([Label(id="l2", at_ns=clock.ns, request="r", value=1.0), first])
    assert total(objective, clock.ns - 86_400 * NS, clock.ns + 5 * NS) == (1, 0)
    assert not objective.stale


def test_a_label_of_a_request_that_is_not_at_hand_asks_for_a_reading() -> None:
    clock, live, objective = world(quality())
    fact = Label(id="l", at_ns=clock.ns, request="older", value=0.0)
    live.take_facts([fact])
    assert objective.stale
    assert live.unresolved == 1
    objective.load([JudgedRow("older", clock.ns - 10**12, "1", (), clock.ns, "l", 0.0, None)], clock.ns)
    live.replay(objective, clock.ns)
    assert total(objective, clock.ns - 3_600 * NS, clock.ns + 5 * NS) == (1, 1)
    assert objective.tally.slices[()].events_total == 1  # the counter tells what is new
    objective.stale = False
    objective.load([JudgedRow("older", clock.ns - 10**12, "1", (), clock.ns, "l", 0.0, None)], clock.ns)
    assert objective.tally.slices[()].events_total == 1


def test_the_board_pages_in_time_and_recovers_with_the_short_window() -> None:
    clock, live, objective = world(availability())
    board = Board(live, clock)
    for second in range(3_600):
        objective.tally.add((), START_NS - (second + 1) * NS, 10, 0)
    began_ns, paged_ns, quiet_ns = clock.ns, 0, 0
    while not quiet_ns and clock.ns < began_ns + 3_600 * NS:
        failing = clock.ns < began_ns + 120 * NS
        feed(live, [Outcome(id="r", at_ns=clock.ns, status=503 if failing else 200)] * 10)
        clock.ns += NS
        board.evaluate()
        loud = {signal.severity for signal in board.firing()}
        paged_ns = paged_ns or (clock.ns if "page" in loud else 0)
        quiet_ns = clock.ns if paged_ns and "page" not in loud else 0
    assert (paged_ns - began_ns) / NS <= 60
    assert 0 < (quiet_ns - began_ns) / NS <= 120 + 1_800 + 10
    (page,) = (verdict for verdict in board.readings["o"].slices[0].verdicts if verdict.window == "1h")
    assert page.why == "the short window has recovered"


def test_a_window_with_a_wait_fires_only_after_it() -> None:
    window = WindowSpec(long="10m", burn=2.0, after="1m")
    clock, live, _ = world(availability(alerting=AlertingSpec(windows=(window,))))
    board = Board(live, clock)
    fired_s = 0.0
    while not fired_s and clock.ns < START_NS + 600 * NS:
        feed(live, [Outcome(id="r", at_ns=clock.ns, status=503)] * 20)
        clock.ns += NS
        board.evaluate()
        fired_s = (clock.ns - START_NS) / NS if board.firing() else 0.0
    assert 60 <= fired_s <= 75


def test_what_is_not_filled_is_not_judged_for_a_minute() -> None:
    clock, live, objective = world(availability())
    objective.filled = False
    board = Board(live, clock)
    clock.ns += 10 * NS
    board.evaluate()
    assert not board.readings
    clock.ns += 60 * NS
    board.evaluate()
    assert not board.readings["o"].history


def test_metrics_are_exact_and_named_as_the_rules_ask() -> None:
    clock, live, _ = world(availability(by=("endpoint",)))
    board = Board(live, clock)
    feed(
        live,
        [Outcome(id="r", at_ns=clock.ns, status=status, endpoint="credit") for status in (200, 500, 404)],
    )
    clock.ns += 10 * NS
    board.evaluate()
    families = {family.name: family for family in ObjectiveMetrics(live, board).families()}
    (events,) = families["andon_objective_events_total"].samples
    (bad,) = families["andon_objective_bad_total"].samples
    assert events.labels == (("objective", "o"), ("endpoint", "credit"))
    assert (events.value, bad.value) == (2.0, 1.0)
    assert families["andon_objective_attained_ratio"].samples[0].value == 0.5
