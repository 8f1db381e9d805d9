"""Whose questions look like the copying of a model: by how many, how regular and how near to where answers flip."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.gateway.dialects.oip import InferRequest, Tensor
from andon.kernel.exchange import Exchange, Told
from andon.kernel.snapshot import AbuseEntry, EndpointEntry, PredictionEntry, RecordingEntry
from andon.security.abuse.extraction import Extraction, Suspicion
from andon.security.abuse.settings import AbuseSettings
from andon.security.abuse.sketch import Sketch

POLICY = AbuseEntry(
    name="copies", window_s=3600.0, distinct_inputs=400, peers_ratio=5.0, boundary_margin=0.05,
    action="alert", limit_rpm=10, hold_s=600.0,
)  # fmt: skip
ENDPOINT = EndpointEntry(
    name="credit",
    protocol="oip",
    recording=RecordingEntry(prediction=PredictionEntry(output="p", threshold=0.4)),
)


def asked(vector: list[float], score: float | None = None, number: int = 0) -> Exchange:
    x = Exchange()
    x.endpoint = ENDPOINT
    data = json.dumps(vector).encode()
    x.request = InferRequest([Tensor("x", [1, len(vector)], "FP32", data=data)], id=str(number))
    x.body = b'{"id":"%d","inputs":%b}' % (number, data)
    if score is not None:
        x.told = Told()
        x.told.score = score
    return x


class Watch:
    """An `Extraction` and who asked what of it."""

    def __init__(self, **settings: object) -> None:
        self.extraction = Extraction(AbuseSettings(**settings), b"salt")
        self.now = 100.0

    def ask(self, who: str, vector: list[float], score: float | None = None, number: int = 0) -> None:
        x = asked(vector, score, number)
        self.extraction.ask(x, who, POLICY, self.now)
        self.extraction.hear(x, who, POLICY)

    def signs(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for suspicion in self.extraction.judge({"credit": POLICY}, self.now):
            assert isinstance(suspicion, Suspicion)
            found.setdefault(suspicion.principal, set()).add(suspicion.sign)
        return found


def crowd(watch: Watch, dice: random.Random, count: int = 200) -> None:
    """Ordinary callers: people who come again, now and then near the threshold."""
    for who in range(6):
        people = [[round(dice.gauss(0, 1), 3) for _ in range(4)] for _ in range(60)]
        for _ in range(count):
            watch.ask(f"key:{who}", dice.choice(people), dice.random())


@given(st.integers(0, 5000), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_a_sketch_counts_within_its_error(members: int, seed: int) -> None:
    sketch, dice = Sketch(), random.Random(seed)
    for mark in {dice.getrandbits(64) for _ in range(members)}:
        sketch.add(mark)
        sketch.add(mark)
    assert sketch.count() == pytest.approx(members, rel=0.3, abs=3)  # more than four standard errors


def test_ordinary_callers_are_left_alone() -> None:
    watch = Watch()
    crowd(watch, random.Random(1), 1500)
    assert watch.signs() == {}


def test_a_busy_caller_among_busy_callers_is_ordinary() -> None:
    watch, dice = Watch(), random.Random(2)
    for _ in range(1000):
        for who in range(5):
            watch.ask(f"key:{who}", [dice.gauss(0, 1) for _ in range(4)], dice.random())
    assert watch.signs() == {}


def test_many_more_different_questions_than_others_ask_are_told() -> None:
    watch, dice = Watch(), random.Random(3)
    crowd(watch, dice)
    for number in range(2000):
        watch.ask("key:thief", [dice.gauss(0, 1) for _ in range(4)], dice.random(), number)
    assert watch.signs() == {"key:thief": {"coverage"}}


def test_the_same_question_under_other_ids_is_one_question() -> None:
    watch, dice = Watch(), random.Random(4)
    crowd(watch, dice)
    for number in range(3000):
        watch.ask("key:poller", [1.0, 2.0, 3.0, 4.0], None, number)
    assert watch.signs() == {}


def test_walking_a_grid_is_told_early() -> None:
    watch, dice = Watch(), random.Random(5)
    crowd(watch, dice)
    for a in range(12):
        for b in range(12):
            watch.ask("key:grid", [a / 10, b / 10, 0.0, 0.0], dice.random())
    assert watch.signs() == {"key:grid": {"grid"}}


def test_probing_where_the_answer_flips_is_told_early() -> None:
    watch, dice = Watch(), random.Random(6)
    crowd(watch, dice)
    for _ in range(150):
        watch.ask("key:probe", [dice.gauss(0, 1) for _ in range(4)], 0.4 + dice.uniform(-0.03, 0.03))
    assert watch.signs() == {"key:probe": {"boundary"}}


def test_what_somebody_always_asks_is_their_own_baseline() -> None:
    watch, dice = Watch(), random.Random(7)
    for _ in range(3):
        for _ in range(900):
            watch.ask("key:batch", [dice.gauss(0, 1) for _ in range(4)])
        last = watch.signs()
        watch.now += POLICY.window_s
    assert last == {}


def test_memory_is_bounded_whoever_comes() -> None:
    watch = Watch(watched_max=50)
    for number in range(500):
        watch.ask(f"key:{number}", [1.0])
    assert len(watch.extraction) == 50
    assert watch.extraction.forgotten == 450
    for kept in (50, 0):  # a window later they are remembered, after one without a question no more
        watch.now += POLICY.window_s
        assert watch.signs() == {}
        assert len(watch.extraction) == kept


@given(st.binary(max_size=200))
def test_no_input_breaks_it(data: bytes) -> None:
    watch = Watch()
    x = asked([1.0])
    x.request.inputs[0].data = data
    watch.extraction.ask(x, "key:a", POLICY, 1.0)
    x.request, x.body = None, data
    watch.extraction.ask(x, "key:a", POLICY, 1.0)


@pytest.mark.parametrize(
    "text", [b"[1e400]", b"[NaN]", b'["a","b"]', b"[[1,2],[3]]", b"[true]", b"[null]", b"[[[]]]"]
)
def test_odd_numbers_are_survived(text: bytes) -> None:
    watch = Watch()
    for _ in range(2):
        x = asked([1.0])
        x.request.inputs[0].data = text
        watch.extraction.ask(x, "key:a", POLICY, 1.0)
