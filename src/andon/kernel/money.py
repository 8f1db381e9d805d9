"""Money as integer micros with a currency; never a float, never a zero that means unknown.

An unknown amount is `None` at every place that can hold a `Money`.
"""

from __future__ import annotations

import msgspec


class Money(msgspec.Struct, frozen=True, order=True):
    """An exact amount: `micros` millionths of one unit of `currency` (ISO 4217)."""

    micros: int
    currency: str = "USD"

    def __add__(self, other: Money) -> Money:
        if other.currency != self.currency:
            raise ValueError(f"cannot add {other.currency} to {self.currency}: convert first")
        return Money(self.micros + other.micros, self.currency)
