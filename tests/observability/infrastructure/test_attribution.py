"""Whose work a device did: shares add up to the device, whatever ran and whenever it was told."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.kernel.devices import DeviceReading
from andon.observability.infrastructure.attribution import (
    SECOND,
    SETTLE_NS,
    UNATTRIBUTED,
    Attribution,
    Work,
    split,
)

START = 1_800_000_000 * SECOND


def device(
    uuid: str, utilisation: float | None, joules: float | None = None, index: int = 0
) -> DeviceReading:
    return DeviceReading(index=index, uuid=uuid, name="gpu", utilisation=utilisation, energy_joules=joules)


def works(draw: st.DrawFn) -> Work:
    begin = draw(st.integers(0, 60_000))
    length = draw(st.integers(0, 30_000))
    since = START + begin * SECOND // 1000
    return Work(
        draw(st.sampled_from(["chat", "embed", "rank"])),
        draw(st.sampled_from(["r1", "r2", "r3", "away"])),
        since,
        since + length * SECOND // 1000,
        draw(st.integers(0, 500)),
    )


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.composite(works)(), max_size=40),
    st.lists(st.tuples(st.integers(1, 9_000), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12),
    st.data(),
)
def test_shares_add_up_to_the_device(
    drawn: list[Work], steps: list[tuple[int, float, float]], data: st.DataObject
) -> None:
    """Conservation, to 1e-9: by device, by endpoint over devices, and in the counters, whenever rows come."""
    attribution = Attribution()
    uses = {"r1": ("a",), "r2": ("b",), "r3": ("a", "b")}
    at, energy = START, 0.0
    attribution.sample(at, [device("a", 0.5, 0.0), device("b", 0.1, 0.0, 1)], uses)
    left = list(drawn)
    busy = {"a": 0.0, "b": 0.0}
    before = {"a": 0.5, "b": 0.1}
    for length, one, other in steps:
        told = data.draw(st.integers(0, len(left)))
        attribution.add(left[:told])
        del left[:told]
        at += length * SECOND // 1000
        energy += 50.0
        attribution.sample(at, [device("a", one, energy), device("b", other, energy, 1)], uses)
        for uuid, value in (("a", one), ("b", other)):
            busy[uuid] += (before[uuid] + value) / 2 * (length / 1000)
            before[uuid] = value
    attribution.add(left)
    found = attribution.devices()
    for share in found:
        assert share.busy_s == pytest.approx(busy[share.device], abs=1e-9)
        assert sum(share.gpu_s.values()) == pytest.approx(share.busy_s, abs=1e-9)
        assert share.joules == pytest.approx(energy, abs=1e-9)
        assert sum(share.joules_by.values()) == pytest.approx(share.joules, abs=1e-9)
        assert all(value >= 0 for value in share.gpu_s.values())
    assert sum(one.gpu_s for one in attribution.endpoints()) == pytest.approx(sum(busy.values()), abs=1e-9)
    attribution.sample(at + SETTLE_NS, [device("a", 0.0, energy), device("b", 0.0, energy, 1)], uses)
    for share in found:
        settled = sum(value for (_, uuid), value in attribution.settled_s.items() if uuid == share.device)
        assert settled == pytest.approx(share.busy_s, abs=1e-9)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.composite(works)(), max_size=25), st.integers(0, 25))
def test_it_does_not_matter_when_rows_are_told(drawn: list[Work], early: int) -> None:
    """All rows before the samples, all after, or some of each: the same shares."""
    results = []
    for cut in (0, early, len(drawn)):
        attribution = Attribution()
        uses = {"r1": ("a",), "r2": ("a",), "r3": ("a",)}
        attribution.sample(START, [device("a", 1.0)], uses)
        attribution.add(drawn[:cut])
        for step in range(1, 10):
            attribution.sample(START + step * 10 * SECOND, [device("a", 1.0)], uses)
        attribution.add(drawn[cut:])
        (share,) = attribution.devices()
        results.append({name: round(value, 9) for name, value in sorted(share.gpu_s.items())})
    assert results[0] == results[1] == results[2]


def test_in_flight_seconds_decide_and_nothing_in_flight_is_unattributed() -> None:
    attribution = Attribution()
    uses = {"r1": ("a",), "r2": ("a",)}
    attribution.sample(START, [device("a", 1.0, 1000.0)], uses)
    attribution.sample(START + 10 * SECOND, [device("a", 1.0, 4000.0)], uses)
    attribution.sample(START + 20 * SECOND, [device("a", 0.0, 4100.0)], uses)
    attribution.add(
        [
            Work("chat", "r1", START, START + 6 * SECOND, tokens=600),
            Work("chat", "r1", START, START + 3 * SECOND, tokens=300),
            Work("rank", "r2", START + 7 * SECOND, START + 10 * SECOND),
        ]
    )
    (share,) = attribution.devices()
    assert share.gpu_s == pytest.approx({"chat": 7.5, "rank": 2.5, UNATTRIBUTED: 5.0})
    assert share.joules_by == pytest.approx({"chat": 2250.0, "rank": 750.0, UNATTRIBUTED: 100.0})
    chat, rank, nobody = attribution.endpoints()
    assert (chat.endpoint, rank.endpoint, nobody.endpoint) == ("chat", "rank", UNATTRIBUTED)
    assert chat.tokens_per_gpu_s == pytest.approx(900 / 7.5)
    assert chat.joules_per_token == pytest.approx(2250 / 900)
    assert (rank.tokens_per_gpu_s, rank.joules_per_token) == (None, None)


def test_what_is_told_after_it_was_counted_is_late_and_changes_no_counter() -> None:
    attribution = Attribution()
    uses = {"r1": ("a",)}
    for step in range(20):
        attribution.sample(START + step * 10 * SECOND, [device("a", 1.0)], uses)
    before = dict(attribution.settled_s)
    attribution.add([Work("chat", "r1", START, START + 10 * SECOND)])
    attribution.sample(START + 200 * SECOND, [device("a", 1.0)], uses)
    assert attribution.late_s == pytest.approx(10.0)
    assert ("chat", "a") not in attribution.settled_s
    assert attribution.settled_s[UNATTRIBUTED, "a"] >= before[UNATTRIBUTED, "a"]


def test_a_driver_that_was_loaded_again_takes_no_energy_back() -> None:
    attribution = Attribution()
    attribution.sample(START, [device("a", 0.0, 5000.0)], {})
    attribution.sample(START + 10 * SECOND, [device("a", 0.0, 3.0)], {})
    assert attribution.devices()[0].joules == 0.0


def test_nothing_is_kept_without_devices() -> None:
    attribution = Attribution()
    attribution.add([Work("chat", "r1", START, START + SECOND)])
    attribution.sample(START, [], {})
    attribution.add([Work("chat", "r1", START, START + SECOND)])
    assert attribution.devices() == []
    assert attribution.endpoints() == []


@given(
    st.floats(0, 1e9),
    st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 10**15), max_size=30),
)
def test_a_split_adds_up(amount: float, weights: dict[str, int]) -> None:
    assert sum(split(amount, weights).values()) == pytest.approx(amount, rel=1e-12, abs=1e-9)
