"""Chance as a port. The only place of the product that draws random numbers.

`SystemRandom` draws secrets from the operating system and fast numbers from a seeded generator; `andon.testing`
seeds both.
"""

from __future__ import annotations

import random
import secrets
from typing import Protocol


class Random(Protocol):
    """Uniform numbers for routing and jitter; bytes for secrets and ids."""

    def uniform(self) -> float:
        """A float in [0, 1)."""
        ...

    def bits(self, count: int) -> int:
        """A non-negative integer of `count` random bits; not for secrets."""
        ...

    def secret_bytes(self, count: int) -> bytes:
        """Bytes fit for keys."""
        ...


class SystemRandom:
    """Chance from the operating system."""

    def __init__(self) -> None:
        source = random.Random(secrets.randbits(128))
        self.uniform = source.random
        self.bits = source.getrandbits

    def secret_bytes(self, count: int) -> bytes:
        """Bytes fit for keys."""
        return secrets.token_bytes(count)


class SeededRandom:
    """The same numbers for the same seed: for tests, simulations and demos, never for production keys."""

    def __init__(self, seed: int) -> None:
        source = random.Random(seed)
        self.uniform = source.random
        self.bits = source.getrandbits
        self.secret_bytes = source.randbytes
