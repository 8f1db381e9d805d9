"""Limits at work on exchanges: reserve, settle, take back; answers and headers that clients understand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.kernel.errors import AndonError, Refused, Transient
from andon.kernel.exchange import Exchange, Operation
from andon.kernel.snapshot import EndpointEntry, KeyEntry, LimitEntry, Snapshot
from andon.security.limits.counters import LocalCounters
from andon.security.limits.headers import duration
from andon.security.limits.invariants import broken
from andon.security.limits.model import LIMIT, LimitSpec, Rule, check_limit, limit_entry
from andon.security.limits.stage import LimitStage
from andon.store.model import Record
from tests.security.conftest import HandClock

ENDPOINTS = (
    EndpointEntry(name="chat", protocol="openai", max_output_tokens=4096, aliases=("gpt",)),
    EndpointEntry(name="credit", protocol="oip"),
)
ADA = KeyEntry(id="ada", digest="", team="risk")
BOB = KeyEntry(id="bob", digest="", team="risk")


def snapshot(*limits: LimitEntry) -> Snapshot:
    return Snapshot(
        version=1,
        factory="f",
        revision=1,
        compiled_at_ns=0,
        limits=limits,
        keys=(ADA, BOB),
        endpoints=ENDPOINTS,
    )


def stage(clock: Any, *limits: LimitEntry) -> tuple[LimitStage, LocalCounters]:
    store = LocalCounters()
    made = LimitStage(clock, store)
    made.adopt(snapshot(*limits))()
    return made, store


def limit(name: str = "limit", scope: Any = "key", **ceilings: Any) -> LimitEntry:
    return LimitEntry(name=name, scope=scope, **ceilings)


def exchange(
    key: KeyEntry | None = ADA, name: str = "chat", size: int = 40, cap: int | None = None
) -> Exchange:
    made = Exchange()
    made.key = key
    made.name = name
    made.body = b"x" * size
    made.max_output_tokens = cap
    made.operation = Operation.CHAT if name != "credit" else Operation.INFER
    return made


def finish(limits: LimitStage, done: Exchange, *, used: tuple[int | None, int | None] = (None, None)) -> None:
    done.upstream_started_at = 1.0
    done.input_tokens, done.output_tokens = used
    done.status = done.status or 200
    limits.settle(done)


def lines(done: Exchange) -> dict[str, str]:
    return dict(line.split(": ") for line in done.reservations.headers().decode().split("\r\n") if line)


def denied(answer: AndonError | None) -> Transient:
    assert isinstance(answer, Transient)
    assert (answer.status, answer.code) == (429, "rate_limit_exceeded")
    return answer


def test_requests_are_counted_for_each_key_on_its_own(clock: HandClock) -> None:
    limits, _ = stage(clock, limit(requests_per_minute=2))
    assert limits.admit(exchange()) is None
    assert limits.admit(exchange()) is None
    refusal = denied(limits.admit(exchange()))
    assert refusal.should_retry
    assert refusal.retry_after_s == pytest.approx(30.0)
    assert limits.admit(exchange(BOB)) is None
    clock.seconds += refusal.retry_after_s
    assert limits.admit(exchange()) is None


def test_keys_of_a_team_share_its_limit_and_aliases_share_their_endpoints(clock: HandClock) -> None:
    limits, _ = stage(clock, limit("t", "team", requests_per_minute=2))
    assert limits.admit(exchange(ADA)) is None
    assert limits.admit(exchange(BOB)) is None
    assert "team 'risk'" in denied(limits.admit(exchange(ADA))).message
    limits, _ = stage(clock, limit("e", "endpoint", subject="chat", requests_per_minute=2))
    assert limits.admit(exchange(name="chat")) is None
    assert limits.admit(exchange(name="gpt")) is None
    denied(limits.admit(exchange(name="gpt")))
    assert limits.admit(exchange(name="credit")) is None


def test_anonymous_callers_share_one_subject(clock: HandClock) -> None:
    limits, _ = stage(clock, limit(requests_per_minute=1))
    assert limits.admit(exchange(None)) is None
    denied(limits.admit(exchange(None)))
    assert limits.admit(exchange(ADA)) is None


def test_tokens_are_reserved_by_the_stated_cap_and_settled_to_use(clock: HandClock) -> None:
    limits, _ = stage(clock, limit(tokens_per_minute=1000))
    first = exchange(size=400, cap=700)
    assert limits.admit(first) is None
    assert lines(first)["x-ratelimit-remaining-tokens"] == "200"
    denied(limits.admit(exchange(size=400, cap=700)))
    finish(limits, first, used=(90, 10))
    assert lines(first)["x-ratelimit-remaining-tokens"] == "900"
    assert limits.admit(exchange(size=400, cap=700)) is None


@pytest.mark.parametrize(
    ("used", "status", "left"),
    [
        ((0, 0), 200, 1000),
        ((None, None), 200, 700),
        ((None, 50), 200, 850),
        ((100, None), 200, 700),
        ((None, None), 502, 1000),
        ((None, None), 499, 700),
        ((100, 20), 499, 880),
    ],
)
def test_zero_is_honoured_and_the_unknown_keeps_its_estimate(
    clock: HandClock, used: tuple[int | None, int | None], status: int, left: int
) -> None:
    limits, _ = stage(clock, limit(tokens_per_minute=1000))
    asked = exchange(size=400, cap=200)
    assert limits.admit(asked) is None
    asked.status = status
    finish(limits, asked, used=used)
    assert lines(asked)["x-ratelimit-remaining-tokens"] == str(left)


def test_a_small_limit_stays_usable_without_a_stated_cap(clock: HandClock) -> None:
    limits, _ = stage(clock, limit(tokens_per_minute=100))
    assert limits.admit(exchange(size=2_000_000)) is None
    assert limits.admit(exchange(size=10)) is None


def test_a_request_larger_than_the_limit_is_told_not_to_come_back(clock: HandClock) -> None:
    limits, _ = stage(clock, limit(tokens_per_minute=1000))
    refusal = denied(limits.admit(exchange(cap=2000)))
    assert not refusal.should_retry
    assert "at most 1000" in refusal.message


def test_a_refusal_by_a_later_stage_counts_nothing(clock: HandClock) -> None:
    limits, store = stage(clock, limit(requests_per_minute=1, tokens_per_minute=100, concurrency=1))
    for _ in range(5):
        asked = exchange(cap=50)
        assert limits.admit(asked) is None
        limits.settle(asked)
        limits.settle(asked)
    assert limits.cancelled == 5
    assert broken(limits, store, []) == []


def test_a_place_in_flight_is_released_exactly_once(clock: HandClock) -> None:
    limits, store = stage(clock, limit(concurrency=1))
    first = exchange()
    assert limits.admit(first) is None
    second = exchange()
    assert "1 requests in flight" in denied(limits.admit(second)).message
    limits.settle(second)  # it was refused: nothing to release
    denied(limits.admit(exchange()))
    finish(limits, first)
    finish(limits, first)
    assert limits.admit(exchange()) is None
    denied(limits.admit(exchange()))
    assert store.all()[0].active == 1


def test_one_tight_limit_leaves_nothing_reserved_in_the_others(clock: HandClock) -> None:
    limits, store = stage(
        clock,
        limit("k", "key", requests_per_minute=100, tokens_per_minute=10_000, concurrency=10),
        limit("t", "team", requests_per_minute=100, tokens_per_minute=10_000, concurrency=10),
        limit("e", "endpoint", requests_per_minute=1),
    )
    first = exchange(cap=10)
    assert limits.admit(first) is None
    for _ in range(3):
        denied(limits.admit(exchange(cap=10)))
    assert broken(limits, store, [first.reservations]) == []
    assert lines(first)["x-ratelimit-limit-requests"] == "1"


def test_counters_survive_a_new_snapshot(clock: HandClock) -> None:
    limits, _ = stage(clock, limit(requests_per_minute=2))
    first = exchange()
    assert limits.admit(first) is None
    limits.adopt(snapshot(limit(requests_per_minute=2), limit("other", concurrency=5)))()
    assert limits.admit(exchange()) is None
    denied(limits.admit(exchange()))
    limits.adopt(snapshot())()
    finish(limits, first)
    assert limits.admit(exchange()) is None


def test_a_refused_answer_carries_the_lines_too(clock: HandClock) -> None:
    limits, _ = stage(clock, limit(requests_per_minute=1))
    assert limits.admit(exchange()) is None
    asked = exchange()
    denied(limits.admit(asked))
    assert lines(asked) == {
        "x-ratelimit-limit-requests": "1",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m0s",
    }


def test_without_limits_nothing_is_kept(clock: HandClock) -> None:
    limits, store = stage(clock)
    asked = exchange()
    assert limits.admit(asked) is None
    assert asked.reservations is None
    limits.settle(asked)
    assert len(store) == 0


@pytest.mark.parametrize(
    "entry",
    [
        limit(),
        limit(requests_per_minute=0),
        limit(concurrency=1, burst_tokens=5),
        limit(tokens_per_minute=-1),
    ],
)
def test_a_limit_that_cannot_be_enforced_is_refused_with_the_snapshot(
    clock: HandClock, entry: LimitEntry
) -> None:
    limits, _ = stage(clock)
    with pytest.raises(Refused, match="Limit 'limit'"):
        limits.adopt(snapshot(entry))
    with pytest.raises(Refused, match="same name"):
        limits.adopt(snapshot(limit(concurrency=1), limit(concurrency=2)))


def test_a_factory_file_cannot_hold_what_is_not_enforced() -> None:
    record = Record(kind="Limit", name="a", spec={"scope": "team", "requestsPerMinute": 5})
    assert limit_entry(record) == LimitEntry(name="a", scope="team", requests_per_minute=5)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"scope": "team", "tokensPerHour": 5}, LimitSpec)
    assert [problem.path for problem in check_limit(LimitSpec(scope="team"), record, {})] == ["spec"]
    unknown = LimitSpec(scope="team", subject="x", concurrency=1)
    assert [problem.path for problem in check_limit(unknown, record, {})] == ["spec.subject"]
    world = {("Team", "x"): Record(kind="Team", name="x", spec={})}
    assert LIMIT.check(unknown, record, world) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-1, "0s"),
        (0.0004, "1ms"),
        (0.12, "120ms"),
        (1, "1s"),
        (6.5, "6.5s"),
        (90, "1m30s"),
        (3600, "60m0s"),
    ],
)
def test_durations_are_written_as_clients_read_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


ACT = st.tuples(
    st.sampled_from(["admit", "finish", "refuse", "wait", "swap"]), st.integers(0, 7), st.integers(0, 60)
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ACT, max_size=60))
def test_no_interleaving_loses_or_invents_a_reservation(acts: list[tuple[str, int, int]]) -> None:
    clock = HandClock()
    entries = (
        limit("k", "key", requests_per_minute=30, concurrency=3),
        limit("t", "team", tokens_per_minute=500, concurrency=4),
        limit("e", "endpoint", requests_per_minute=60, tokens_per_minute=900),
    )
    limits, store = stage(clock, *entries)
    walking: list[Exchange] = []
    for act, which, number in acts:
        if act == "admit":
            asked = exchange(
                (ADA, BOB)[which % 2], ("chat", "gpt", "credit")[which % 3], number, number or None
            )
            if limits.admit(asked) is None:
                walking.append(asked)
        elif act == "wait":
            clock.seconds += number / 4
        elif act == "swap":
            limits.adopt(snapshot(*entries))()
        elif walking:
            done = walking.pop(which % len(walking))
            if act == "finish":
                finish(limits, done, used=(number, number // 2))
            else:
                limits.settle(done)
        assert broken(limits, store, [asked.reservations for asked in walking]) == []
    for done in walking:
        limits.settle(done)
    assert broken(limits, store, []) == []


def test_the_sweep_never_leaves_a_stage_with_a_forgotten_counter(clock: HandClock) -> None:
    store = LocalCounters(counters_max=2)
    limits = LimitStage(clock, store)
    limits.adopt(
        snapshot(limit("k", requests_per_minute=1), limit("e", "endpoint", requests_per_minute=60))
    )()
    first = exchange(ADA)
    assert limits.admit(first) is None
    refused = limits.admit(exchange(BOB))
    assert isinstance(refused, Transient)
    assert refused.code == "limits_full"
    finish(limits, first)
    clock.seconds += 120
    assert limits.admit(exchange(BOB)) is None  # makes room by forgetting what is idle
    denied(limits.admit(exchange(BOB)))
    assert len(store) <= 2
    assert isinstance(Rule(limit(concurrency=1)).concurrency, int)


@pytest.mark.parametrize("cap", [-1, -900, -(10**12)])
def test_a_cap_below_zero_lends_nobody_tokens(clock: HandClock, cap: int) -> None:
    """It is refused by a later stage; where counters are shared, others are counted in between."""
    limits, store = stage(clock, limit(scope="team", tokens_per_minute=1000))
    first, odd, third = exchange(cap=900), exchange(cap=cap), exchange(BOB, cap=900)
    assert limits.admit(first) is None
    assert limits.admit(odd) is None
    assert [counter.held for counter in store.all()] == [900 + 10 + 10]
    denied(limits.admit(third))
    limits.settle(odd)
    assert [counter.held for counter in store.all()] == [900 + 10]
