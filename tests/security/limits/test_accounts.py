"""The authority over shared accounts: its meaning in memory, and the same of the script inside a real Redis."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.security.limits.accounts import (
    BUCKET,
    DAY,
    GRANTED,
    HOUR,
    MONTH,
    PLACES,
    REFUSED,
    TOO_LARGE,
    WINDOW,
    Authority,
    Definition,
    window_of,
)
from andon.security.limits.redis_channel import RedisChannel
from andon.security.limits.script import SCRIPT
from tests.security.limits.stores import running_redis

LEASE_US = 1_000_000
SMALL: Definition = (BUCKET, 5.0, 0.001, 0)
KEYS = ["a:1", "a:2", "a:3"]
DEFINITIONS: list[Definition] = [(BUCKET, 20.0, 0.0001, 0), (PLACES, 4.0, 0.0, 0), (WINDOW, 30.0, 0.0, MONTH)]

units = st.integers(0, 8).map(float)
back = st.integers(-6, 0).map(float)
need = st.tuples(st.integers(0, 2), units, units)
batches = st.tuples(
    st.sampled_from(["g1", "g2", "g3"]),
    st.lists(st.tuples(st.integers(0, 2), back, back, st.just(0.0)), max_size=3),
    st.lists(
        st.lists(need, min_size=1, max_size=3, unique_by=lambda found: found[0]), max_size=3
    ),  # an ask names an account once
    st.lists(st.tuples(st.integers(0, 2), units), max_size=2),
    st.integers(0, 700_000),  # microseconds before it
)


def packed(*parts: object) -> bytes:
    return msgspec.msgpack.encode([LEASE_US, *parts])


def ask(authority: Authority, gateway: str, number: int, units_asked: float, now_us: int = 10**6) -> object:
    payload = packed([SMALL], [], [], [[(0, units_asked, 0.0)]], [])
    return msgspec.msgpack.decode(authority.apply(gateway, number, ["k"], payload, now_us))[2][0]


def test_the_sum_of_what_is_held_never_exceeds_the_limit() -> None:
    authority = Authority()
    assert [ask(authority, f"g{n}", 1, 2.0) for n in range(2)] == [GRANTED, GRANTED]
    assert ask(authority, "g3", 1, 2.0)[0] == REFUSED
    assert ask(authority, "g3", 2, 1.0) == GRANTED
    assert ask(authority, "g4", 1, 9.0)[0] == TOO_LARGE


def test_a_batch_sent_again_is_answered_again_and_not_done_again() -> None:
    authority = Authority()
    assert ask(authority, "g", 1, 3.0) == ask(authority, "g", 1, 3.0) == GRANTED
    assert ask(authority, "g", 2, 2.0) == GRANTED
    assert ask(authority, "g", 3, 1.0)[0] == REFUSED


def test_what_a_dead_gateway_held_comes_back_with_its_lease() -> None:
    authority = Authority()
    assert ask(authority, "dead", 1, 5.0) == GRANTED
    assert ask(authority, "g", 1, 1.0, 10**6 + LEASE_US)[0] == REFUSED
    assert ask(authority, "g", 2, 5.0, 10**6 + LEASE_US + 1) == GRANTED
    payload = packed(
        [SMALL], [], [(0, 0.0, -5.0, 0.0)], [], []
    )  # it was only asleep: it gives back what it lost
    answer = msgspec.msgpack.decode(authority.apply("dead", 2, ["k"], payload, 10**6 + LEASE_US + 2))
    assert answer[0] == 1  # and is told so
    assert authority.records["k"].held == 5.0


@pytest.mark.parametrize(
    ("kind", "at", "ends"),
    [
        (HOUR, "2026-03-01T10:59:59", "2026-03-01T11:00:00"),
        (DAY, "2026-12-31T23:59:59", "2027-01-01T00:00:00"),
        (MONTH, "2024-02-29T12:00:00", "2024-03-01T00:00:00"),
        (MONTH, "2026-12-31T23:59:59", "2027-01-01T00:00:00"),
    ],
)
def test_windows_are_those_of_the_calendar(kind: int, at: str, ends: str) -> None:
    now_us, end_us = (
        int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**6 for text in (at, ends)
    )
    assert window_of(kind, now_us)[1] == end_us
    assert window_of(kind, end_us)[0] == window_of(kind, now_us)[0] + 1


@settings(max_examples=150, deadline=None)
@given(st.lists(batches, max_size=25))
def test_no_schedule_grants_more_than_there_is(steps: list[tuple[object, ...]]) -> None:
    authority, numbers, now_us = Authority(), {}, 10**12
    for gateway, moves, asks, wants, passed_us in steps:
        now_us += passed_us
        numbers[gateway] = numbers.get(gateway, 0) + 1
        authority.apply(gateway, numbers[gateway], KEYS, packed(DEFINITIONS, [], moves, asks, wants), now_us)
        for key, definition in zip(KEYS, DEFINITIONS, strict=True):
            record = authority.records[key]
            assert record.debt + record.held + record.lent <= definition[1] + 1e-6
            for place, total in enumerate((record.lent, record.held)):
                own = [held.get(key, [0.0, 0.0])[place] for held in authority.holdings.values()]
                assert min(own) >= 0
                assert sum(own) == pytest.approx(total)


def test_the_script_means_what_the_authority_means(tmp_path: Path) -> None:
    """Random batches to both. The store's clock runs on, so rates are nil here; windows are of a month."""
    with running_redis(tmp_path) as server, redis.Redis(port=server.port) as client:
        script = client.register_script(SCRIPT)
        dice = random.Random(5)

        def draw(low: int = 0, high: int = 8) -> float:
            return float(dice.randint(low, high))

        authority, numbers = Authority(), {}
        for _ in range(400):
            gateway = dice.choice(["g1", "g2", "g3"])
            parts = (
                DEFINITIONS,
                [(dice.randrange(3), draw(), draw())] if dice.random() < 0.05 else [],
                [
                    (dice.randrange(3), draw(-6, 0), draw(-6, 0), draw(-2, 2))
                    for _ in range(dice.randrange(3))
                ],
                [
                    [(place, draw(0, 3), draw(0, 2)) for place in dice.sample(range(3), dice.randint(1, 3))]
                    for _ in range(dice.randrange(3))
                ],
                [(dice.randrange(3), draw())] if dice.random() < 0.3 else [],
            )
            numbers[gateway] = number = numbers.get(gateway, 0) + (
                dice.random() < 0.95 or gateway not in numbers
            )
            payload = msgspec.msgpack.encode([3600 * 10**6, *parts])
            seconds, micros = client.time()
            expected = authority.apply(gateway, number, KEYS, payload, seconds * 10**6 + micros)
            found = script(
                keys=["alive", f"held:{gateway}", f"answers:{gateway}", *KEYS],
                args=[gateway, number, payload, "held:", 60_000],
            )
            assert _comparable(msgspec.msgpack.decode(found)) == _comparable(msgspec.msgpack.decode(expected))


def _comparable(answer: list[object]) -> list[object]:
    fresh, alive, verdicts, left, lent, scarce = answer
    verdicts = [one if one == 0 else one[:2] for one in verdicts]
    return [fresh, alive, verdicts, [round(one, 2) for one in left], lent, scarce]


def test_a_channel_survives_the_loss_of_its_script_and_names_no_password(tmp_path: Path) -> None:
    with running_redis(tmp_path, "--requirepass", "hush-hush") as server:

        async def main() -> None:
            wrong = RedisChannel(server.url, "f", "g:1", password="guess")
            with pytest.raises(OSError, match="store of counters") as failure:
                await wrong.open()
            assert "guess" not in str(failure.value)
            await wrong.close()
            channel = RedisChannel(server.url, "f", "g:1", password="hush-hush")
            await channel.open()
            await channel.send(1, ["andon:{f}:k"], packed([SMALL], [], [], [[(0, 1.0, 0.0)]], []))
            first = await channel.receive()
            with redis.Redis(port=server.port, password="hush-hush") as client:
                client.script_flush()
            await channel.send(1, ["andon:{f}:k"], packed([SMALL], [], [], [[(0, 1.0, 0.0)]], []))
            with pytest.raises(OSError, match="script"):
                await channel.receive()
            await channel.close()
            await channel.open()
            await channel.send(1, ["andon:{f}:k"], packed([SMALL], [], [], [[(0, 1.0, 0.0)]], []))
            assert await channel.receive() == first
            await channel.close()

        asyncio.run(main())
