"""Properties of the arithmetic of limits over arbitrary schedules."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from andon.kernel.snapshot import LimitEntry
from andon.security.limits import rules
from andon.security.limits.counters import LocalCounters
from andon.security.limits.model import Counter, Rule


def counter(**ceilings: int) -> Counter:
    return Counter(Rule(LimitEntry(name="limit", scope="key", **ceilings)), "subject")


def state(found: Counter, now: float) -> tuple[int, int, float, float]:
    return (
        found.active,
        found.held,
        round(max(found.request_paid_at - now, 0.0), 6),
        round(max(found.token_paid_at - now, 0.0), 6),
    )


STEP = st.tuples(
    st.sampled_from(["start", "end", "cancel", "wait"]),
    st.integers(0, 40),  # tokens of a start; which of the open ones ends
    st.floats(0, 30),  # share of tokens really used; seconds of a wait
)


@settings(max_examples=300, deadline=None)
@given(
    schedule=st.lists(STEP, max_size=80),
    rpm=st.integers(1, 200),
    tpm=st.integers(1, 600),
    concurrency=st.integers(1, 8),
    burst=st.integers(1, 50),
)
def test_no_window_of_any_schedule_exceeds_burst_plus_rate(
    schedule: list[tuple[str, int, float]], rpm: int, tpm: int, concurrency: int, burst: int
) -> None:
    found = counter(
        requests_per_minute=rpm,
        tokens_per_minute=tpm,
        concurrency=concurrency,
        burst_requests=burst,
        burst_tokens=tpm,
    )
    now = 1000.0
    in_flight: list[tuple[int, float]] = []  # (index of the grant, when)
    grants: list[list[float]] = []  # [time, requests, tokens used]; a cancelled one counts nothing
    for kind, number, share in schedule:
        if kind == "wait":
            now += share
        elif kind == "start":
            if rules.reserve([found], number, now) is None:
                grants.append([now, 1.0, float(number)])
                in_flight.append((len(grants) - 1, now))
        elif in_flight:
            index, at = in_flight.pop(number % len(in_flight))
            tokens = int(grants[index][2])
            if kind == "cancel":
                rules.cancel([found], tokens, at, now)
                grants[index][1] = grants[index][2] = 0.0
            else:
                used = int(tokens * share / 30)
                rules.settle([found], tokens, used, now)
                grants[index][2] = float(used)
        assert 0 <= found.active == len(in_flight) <= concurrency
        assert found.held == sum(int(grants[index][2]) for index, _ in in_flight) >= 0
    for first in range(len(grants)):
        requests = tokens_used = 0.0
        for at, count, used_tokens in grants[first:]:
            requests += count
            tokens_used += used_tokens
            seconds = at - grants[first][0]
            assert requests <= burst + rpm / 60 * seconds + 1e-3
            assert tokens_used <= tpm + tpm / 60 * seconds + 1e-3


@given(
    before=st.lists(st.integers(0, 50), max_size=5),
    tokens=st.integers(0, 100),
    ceilings=st.lists(
        st.tuples(st.integers(1, 100), st.integers(1, 300), st.integers(1, 6)), min_size=1, max_size=4
    ),
)
def test_all_or_nothing_and_an_immediate_cancel_restores_exactly(
    before: list[int], tokens: int, ceilings: list[tuple[int, int, int]]
) -> None:
    counters = [counter(requests_per_minute=r, tokens_per_minute=t, concurrency=c) for r, t, c in ceilings]
    for number in before:
        rules.reserve(counters, number, 5.0)
    old = [state(each, 5.0) for each in counters]
    denial = rules.reserve(counters, tokens, 5.0)
    if denial is not None:
        assert [state(each, 5.0) for each in counters] == old
        assert denial.wait_s > 0
    else:
        rules.cancel(counters, tokens, 5.0, 5.0)
        assert [state(each, 5.0) for each in counters] == old


@given(
    rpm=st.integers(1, 600),
    tpm=st.integers(10, 1000),
    taken=st.lists(st.integers(1, 10), min_size=1, max_size=60),
)
def test_waiting_as_long_as_told_is_enough(rpm: int, tpm: int, taken: list[int]) -> None:
    found = counter(requests_per_minute=rpm, tokens_per_minute=tpm)
    for number in taken:
        if (denial := rules.reserve([found], number, 7.0)) is not None:
            assert rules.reserve([found], number, 7.0 + denial.wait_s) is None
            return
        rules.settle([found], number, number, 7.0)


@given(st.integers(1, 500), st.floats(0, 1e7))
def test_a_quiet_bucket_grants_exactly_its_burst(burst: int, now: float) -> None:
    found = counter(requests_per_minute=7, burst_requests=burst)
    granted = sum(rules.reserve([found], 0, now) is None for _ in range(burst + 3))
    assert granted == burst
    assert rules.requests_left(found, now) == 0


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(0, 10**6))
def test_a_change_of_ceilings_keeps_what_was_counted(old: int, new: int, used: int) -> None:
    store = LocalCounters()
    rule = Rule(LimitEntry(name="limit", scope="key", tokens_per_minute=old))
    found = store.find(rule, "a", 1.0)
    assert isinstance(found, Counter)
    rules.reserve([found], 0, 1.0)
    rules.settle([found], 0, used, 1.0)
    changed = Rule(LimitEntry(name="limit", scope="key", tokens_per_minute=new))
    store.adopt([changed], 1.0)
    assert store.find(changed, "a", 1.0) is found
    assert abs(rules.tokens_left(found, 1.0) - max(0, new - used)) <= 1


def test_more_than_was_reserved_is_paid_before_more_is_granted() -> None:
    found = counter(tokens_per_minute=60)
    assert rules.reserve([found], 10, 0.0) is None
    rules.settle([found], 10, 90, 0.0)
    denial = rules.reserve([found], 30, 0.0)
    assert denial is not None
    assert denial.dimension == "tokens"
    assert abs(denial.wait_s - 60.0) < 1e-6
    assert rules.reserve([found], 30, 60.0) is None


def test_the_denial_that_lasts_longest_is_told() -> None:
    slow, fast = counter(requests_per_minute=1), counter(requests_per_minute=60, burst_requests=1)
    assert rules.reserve([fast, slow], 0, 0.0) is None
    denial = rules.reserve([fast, slow], 0, 0.0)
    assert denial is not None
    assert denial.counter is slow


def test_only_idle_counters_are_forgotten_and_a_full_table_refuses() -> None:
    store = LocalCounters(counters_max=2)
    rule = Rule(LimitEntry(name="limit", scope="key", requests_per_minute=60))
    a, b = store.find(rule, "a", 0.0), store.find(rule, "b", 0.0)
    assert isinstance(a, Counter)
    assert isinstance(b, Counter)
    rules.reserve([a], 0, 0.0)
    rules.reserve([b], 0, 0.0)
    refused = store.find(rule, "c", 0.0)
    assert not isinstance(refused, Counter)
    assert refused.status == 503
    rules.settle([b], 0, 0, 1.5)
    assert isinstance(store.find(rule, "c", 1.5), Counter)
    assert store.find(rule, "a", 1.5) is a  # in flight: never forgotten
    assert len(store) == 2
