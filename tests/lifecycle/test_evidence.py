"""The sequential test: honest under every null that it claims, whatever is betted, and quick under alternatives."""

from __future__ import annotations

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from andon.kernel.random import SeededRandom
from andon.kernel.snapshot import GateEntry
from andon.lifecycle.rollouts.evidence import Evidence, factors, nearest_null
from andon.lifecycle.rollouts.gates import LatencyGate

shares = st.floats(0.001, 0.999)
rates = st.floats(0.0, 1.0)


def see(evidence: Evidence, canary: bool, bad: bool, share: float) -> None:
    evidence.observe(evidence.place(canary, share), canary, bad)


def expected(row: tuple[float, float, float, float], share: float, theta_c: float, theta_s: float) -> float:
    canary = theta_c * row[1] + (1 - theta_c) * row[0]
    stable = theta_s * row[3] + (1 - theta_s) * row[2]
    return share * canary + (1 - share) * stable


@given(
    stable=st.floats(1e-4, 0.9),
    excess=st.floats(0.0, 1.0),
    share=shares,
    margin=st.sampled_from([0.0, 0.001, 0.005, 0.02, 0.2]),
    theta_s=rates,
    below=rates,
)
def test_one_step_never_expects_more_than_one_under_the_null(
    stable: float, excess: float, share: float, margin: float, theta_s: float, below: float
) -> None:
    canary = min(0.98, stable + margin + excess * (1 - stable - margin))
    theta_c = below * min(1.0, theta_s + margin)
    row = factors(canary, stable, share, margin)
    assert expected(row, share, theta_c, theta_s) <= 1 + 1e-12


@given(stable=st.floats(1e-3, 0.5), share=st.floats(0.01, 0.99), margin=st.floats(0.0, 0.2))
def test_the_nearest_null_is_a_minimum_of_the_divergence(stable: float, share: float, margin: float) -> None:
    canary = stable + margin + 0.2

    def divergence(q_stable: float) -> float:
        def kl(p: float, q: float) -> float:
            return p * log(p / q) + (1 - p) * log((1 - p) / (1 - q))

        return share * kl(canary, q_stable + margin) + (1 - share) * kl(stable, q_stable)

    q_canary, q_stable = nearest_null(canary, stable, share, margin)
    assert q_canary == pytest.approx(q_stable + margin)
    for step in (-1e-3, 1e-3):
        if q_stable + step > 0 and q_stable + step + margin < 1:
            assert divergence(q_stable) <= divergence(q_stable + step) + 1e-12


def test_a_dead_canary_needs_three_or_four_requests() -> None:
    evidence = Evidence()
    for _ in range(3):
        for _ in range(9):
            see(evidence, False, False, 0.1)
        see(evidence, True, True, 0.1)
    assert evidence.log_value >= log(1 / 0.008)


def test_false_alarms_stay_below_alpha_while_the_base_rate_drifts() -> None:
    random, alarms, alpha = SeededRandom(5), 0, 0.05
    for _ in range(200):
        evidence = Evidence()
        for turn in range(1500):
            rate = 0.01 if (turn // 300) % 2 == 0 else 0.6  # a shared outage comes and goes
            see(evidence, random.uniform() < 0.1, random.uniform() < rate, 0.1)
        alarms += evidence.peak >= log(1 / alpha)
    assert alarms / 200 <= alpha


def test_without_chance_nothing_is_learnt() -> None:
    evidence = Evidence()
    for _ in range(100):
        see(evidence, True, True, 1.0)
    assert evidence.log_value == pytest.approx(0.0)


def test_evidence_cannot_overflow() -> None:
    evidence = Evidence()
    for _ in range(30_000):
        see(evidence, True, True, 0.5)
        see(evidence, False, False, 0.5)
    assert 1_000 < evidence.log_value < float("inf")


def test_awaited_answers_only_ever_lower_the_evidence() -> None:
    evidence, awaited = Evidence(), []
    for _ in range(3_000):
        awaited.append(
            evidence.place(True, 0.5)
        )  # the stable arm answers; the canary's answers are on their way
        see(evidence, False, False, 0.5)
    assert evidence.log_value > log(200)
    assert evidence.discounted(1.0) <= 0.0
    assert evidence.discounted(0.0) == evidence.log_value
    for table in awaited:
        evidence.observe(table, True, False)
    assert evidence.log_value <= 1e-9


def test_a_written_state_goes_on_where_it_stopped() -> None:
    whole, first = Evidence(0.01), Evidence(0.01)
    random = SeededRandom(9)
    seen = [(random.uniform() < 0.2, random.uniform() < 0.2) for _ in range(400)]
    for canary, bad in seen:
        see(whole, canary, bad, 0.2)
    for canary, bad in seen[:200]:
        see(first, canary, bad, 0.2)
    second = Evidence(0.01)
    second.resume(first.state())
    for canary, bad in seen[200:]:
        see(second, canary, bad, 0.2)
    assert second.state().canary == whole.state().canary
    assert second.log_value == pytest.approx(whole.log_value, abs=2.0)


def test_a_difference_within_the_slack_is_never_held_against_the_canary() -> None:
    entry = GateEntry(name="latency", metric="latency", alpha=0.002, margin=1.25, slack_ms=2.0)
    lax, strict = LatencyGate(entry), LatencyGate(structs.replace(entry, slack_ms=0.0))
    for turn in range(4000):
        canary = turn % 10 == 0
        latency_s = 0.0009 if canary else 0.0004 + (turn % 7) * 1e-5
        for gate in (lax, strict):
            gate.observe(gate.place(canary, 0.1), canary, False, latency_s)
    assert lax.log_value < lax.bar
    assert strict.log_value > strict.bar
