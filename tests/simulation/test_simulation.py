"""The real factory under seeds: fixed ones that say the same each time, and random ones for as long as is asked."""

from __future__ import annotations

import os
import secrets
import time

import pytest

from andon.testing.simulate import simulate, told

SECONDS = float(os.environ.get("ANDON_SIM_SECONDS", "60"))


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_everything_holds_under_fixed_seeds(seed: int) -> None:
    ran = simulate(seed, steps=40)
    assert ran.failed_at is None, told(ran)
    assert ran.requests > 50


def test_equal_seeds_have_equal_histories_and_others_do_not() -> None:
    first, again, other = simulate(5, steps=20), simulate(5, steps=20), simulate(6, steps=20)
    assert first.digest == again.digest
    assert first.digest != other.digest


def test_everything_holds_under_random_seeds() -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        seed = secrets.randbits(32)
        print(f"seed {seed}")
        ran = simulate(seed, steps=100)
        assert ran.failed_at is None, told(ran)
