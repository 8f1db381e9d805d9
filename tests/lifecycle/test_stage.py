"""The stage as the gateway's chain sees it: who goes where, what counts, and that a worse release stops at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.kernel.errors import Refused, Transient
from andon.kernel.exchange import Exchange
from andon.kernel.snapshot import PinEntry, ReleaseEntry, Snapshot
from andon.lifecycle.rollouts.stage import bucket_of
from tests.lifecycle.gateway_fakes import ERRORS, LATENCY, Bench, DictDisk, snapshot


def canaries(bench: Bench, count: int) -> int:
    return sum(bench.pass_one().arm == "canary" for _ in range(count))


def test_weights_are_honoured_and_said_as_propensities() -> None:
    bench = Bench(snapshot(2000))
    arms = [bench.admit() for _ in range(4000)]
    chosen = [exchange for exchange in arms if exchange.arm == "canary"]
    assert 700 <= len(chosen) <= 900
    assert {exchange.propensity for exchange in chosen} == {0.2}
    assert {exchange.propensity for exchange in arms if exchange.arm == "stable"} == {0.8}


@given(st.text(min_size=1, max_size=40), st.integers(0, 9999), st.integers(0, 9999))
def test_a_unit_that_is_in_stays_in_while_the_weight_grows(unit: str, weight: int, growth: int) -> None:
    place = bucket_of("salt", unit)
    assert 0 <= place < 10_000
    assert not (place < weight and place >= min(10_000, weight + growth))
    assert place == bucket_of("salt", unit)


def test_sticky_shares_are_exact_in_the_long_run_and_units_return_to_their_arm() -> None:
    bench = Bench(snapshot(1000, sticky_header="X-User"))
    arms = {}
    for number in range(5000):
        exchange = bench.admit([(b"x-user", str(number).encode())])
        arms[number] = exchange.arm
        assert exchange.unit == str(number)
    assert 430 <= list(arms.values()).count("canary") <= 570
    for number in range(0, 5000, 50):
        assert bench.admit([(b"x-user", str(number).encode())]).arm == arms[number]


def test_repeats_of_one_unit_count_once() -> None:
    bench = Bench(snapshot(5000, sticky_header="x-user"))
    for _ in range(500):
        exchange = bench.admit([(b"x-user", b"one")])
        bench.settle(exchange, failed=True)
    assert not bench.reports.cuts()
    reading = bench.reports.progress()[-1].readings[0]
    assert reading.canary_n + reading.stable_n <= 1


def test_a_dead_canary_is_stopped_within_four_of_its_requests_and_told_once() -> None:
    bench = Bench(snapshot(1000))
    for _ in range(500):
        bench.pass_one(canary_fails=True)
    (cut,) = bench.reports.cuts()
    assert cut.canary_requests <= 5
    assert cut.action == "abort"
    assert cut.readings[0].verdict == "breach"
    assert canaries(bench, 300) == 0


def test_a_slow_canary_is_stopped_by_the_latency_gate() -> None:
    bench = Bench(snapshot(1000))
    for _ in range(600):
        bench.pass_one(canary_latency_s=0.15)
    (cut,) = bench.reports.cuts()
    assert [reading.verdict for reading in cut.readings if reading.gate == "latency"] == ["breach"]


def test_answers_that_merely_come_late_do_not_breach_the_error_gate() -> None:
    bench = Bench(snapshot(5000, gates=(ERRORS,)))
    late: list[Exchange] = []
    for _ in range(4000):
        exchange = bench.admit()
        if exchange.arm == "canary":
            late.append(exchange)  # a stream that has not ended yet
        else:
            bench.settle(exchange)
    assert not bench.reports.cuts()
    for exchange in late:
        bench.settle(exchange)
    assert not bench.reports.cuts()


def test_a_shared_outage_stops_nobody() -> None:
    bench = Bench(snapshot(1000))
    for turn in range(2000):
        exchange = bench.admit()
        bench.settle(exchange, failed=turn > 1000)
    assert not bench.reports.cuts()


def test_a_cut_survives_snapshots_of_the_same_and_of_newer_generations() -> None:
    bench = Bench(snapshot(1000))
    for _ in range(300):
        bench.pass_one(canary_fails=True)
    bench.adopt(snapshot(1000, version=2))
    assert canaries(bench, 200) == 0
    bench.adopt(snapshot(2500, version=3, generation=2))  # compiled before the cut was known
    assert canaries(bench, 200) == 0
    assert len(bench.reports.cuts()) == 1


def test_only_a_person_lifts_a_cut_and_the_gate_begins_again() -> None:
    bench = Bench(snapshot(1000))
    for _ in range(300):
        bench.pass_one(canary_fails=True)
    bench.adopt(snapshot(1000, version=2, generation=2, overrules=1))
    assert canaries(bench, 300) > 5
    for _ in range(300):
        bench.pass_one(canary_fails=True)
    assert len(bench.reports.cuts()) == 2


def test_a_restarted_gateway_keeps_the_cut_without_control_and_tells_it_again() -> None:
    disk = DictDisk()
    bench = Bench(snapshot(1000), disk=disk)
    for _ in range(300):
        bench.pass_one(canary_fails=True)
    again = Bench(snapshot(1000), disk=disk)
    assert canaries(again, 300) == 0
    assert again.reports.cuts() == bench.reports.cuts()


def test_a_full_disk_does_not_keep_a_bad_release_alive() -> None:
    bench = Bench(snapshot(1000))
    bench.disk.full = True
    for _ in range(300):
        bench.pass_one(canary_fails=True)
    assert len(bench.reports.cuts()) == 1
    assert bench.cuts.unwritten == 1


def test_a_corrupt_cut_file_is_counted_and_does_not_stop_the_gateway() -> None:
    disk = DictDisk()
    disk.files["cuts.json"] = b"{half"
    assert Bench(snapshot(1000), disk=disk).cuts.unreadable == 1


def test_a_warning_tells_and_goes_on() -> None:
    gate = ERRORS.__class__(name="errors", metric="errorRate", alpha=0.008, margin=0.0, on_breach="warn")
    bench = Bench(snapshot(1000, gates=(gate,)))
    for _ in range(500):
        bench.pass_one(canary_fails=True)
    (cut,) = bench.reports.cuts()
    assert cut.action == "warn"
    assert canaries(bench, 300) > 5


def test_pins_win_over_weights_and_are_no_evidence() -> None:
    pins = (PinEntry(arm="canary", header="X-Release", value="next"), PinEntry(arm="canary", cohort="beta"))
    bench = Bench(snapshot(0, pins=pins))
    for _ in range(100):
        exchange = bench.admit([(b"x-release", b"next")])
        assert (exchange.arm, exchange.pinned) == ("canary", True)
        bench.settle(exchange, failed=True)
    assert not bench.reports.cuts()
    assert bench.reports.progress()[-1].readings[0].verdict == "no-data"


def test_a_canary_without_targets_gives_its_share_to_the_stable_release() -> None:
    bench = Bench(snapshot(5000, canary_ready=False))
    assert canaries(bench, 200) == 0
    assert 60 <= bench.stage.diverted <= 140


def test_a_stable_release_without_targets_is_helped_out_but_never_judged_by_it() -> None:
    bench = Bench(snapshot(1000, stable_ready=False))
    exchanges = [bench.pass_one(canary_fails=True) for _ in range(200)]
    assert {(exchange.arm, exchange.propensity) for exchange in exchanges} == {("canary", 1.0)}
    assert not bench.reports.cuts()
    assert bench.reports.progress()[-1].readings[0].stable_n == 0


def test_clients_that_left_and_requests_never_sent_are_no_observations() -> None:
    bench = Bench(snapshot(5000, gates=(ERRORS,)))
    for _ in range(200):
        bench.settle(bench.admit(), status=499)
        bench.stage.settle(bench.admit())  # refused by a later stage: no upstream was asked
    bench.clock.at += 2
    bench.stage.tick()
    assert bench.reports.progress()[-1].readings[0].verdict == "no-data"


def test_copies_of_shadowed_requests_are_evidence_while_the_canary_has_no_traffic() -> None:
    bench = Bench(snapshot(0, gates=(ERRORS,), shadow_share=2000))
    for _ in range(200):
        exchange = bench.admit()
        assert exchange.arm == "stable"
        if exchange.shadow is not None:
            copy = Exchange()
            copy.name, copy.endpoint, copy.release, copy.arm = (
                "credit",
                exchange.endpoint,
                exchange.shadow,
                "shadow",
            )
            bench.settle(copy, failed=True)
        bench.settle(exchange)
    assert len(bench.reports.cuts()) == 1


def test_weights_that_are_not_whole_are_refused_before_they_are_in_force() -> None:
    bench = Bench(snapshot(1000))
    good = bench.snapshot.endpoints[0]
    broken = good.__class__(
        name="credit", protocol="oip", releases=(ReleaseEntry(id="x", arm="stable", weight=9),)
    )
    with pytest.raises(Refused):
        bench.stage.adopt(Snapshot(version=9, factory="f", revision=1, compiled_at_ns=0, endpoints=(broken,)))
    assert canaries(bench, 200) > 0


def test_unknown_names_and_releases_without_targets_are_refused() -> None:
    bench = Bench(snapshot(0, stable_ready=False, canary_ready=False))
    with pytest.raises(Transient):
        bench.admit()
    stranger = Exchange()
    stranger.name = "nobody"
    refusal = bench.stage.admit(stranger)
    assert refusal is not None
    assert refusal.status == 404


def test_progress_comes_once_a_second_with_the_verdicts() -> None:
    bench = Bench(snapshot(5000, gates=(ERRORS, LATENCY)))
    for _ in range(1000):
        bench.pass_one()
    told = bench.reports.progress()
    assert 9 <= len(told) <= 11
    assert [reading.verdict for reading in told[-1].readings] == ["pass", "pass"]
