"""How many different things were seen, in 256 bytes: HyperLogLog (Flajolet et al. 2007) with linear counting below.

Pure. The standard error is 1.04/sqrt(256) = 6.5 %. Hashes are keyed by a salt of the process, so that nobody outside
can choose inputs that count as one.
"""

from __future__ import annotations

import math
from typing import Final

REGISTERS: Final = 256
_BITS: Final = 8
_ALPHA: Final = 0.7213 / (1 + 1.079 / REGISTERS)
_POWERS: Final = tuple(2.0**-rank for rank in range(64))


class Sketch:
    """A set that knows about how many members it has."""

    __slots__ = ("registers",)

    def __init__(self) -> None:
        self.registers = bytearray(REGISTERS)

    def add(self, mark: int) -> None:
        """One member, by 64 bits of its hash."""
        place = mark & (REGISTERS - 1)
        rest = mark >> _BITS
        rank = (64 - _BITS) - rest.bit_length() + 1
        if rank > self.registers[place]:
            self.registers[place] = rank

    def count(self) -> float:
        """About how many different members there are."""
        total = sum(_POWERS[rank] for rank in self.registers)
        estimate = _ALPHA * REGISTERS * REGISTERS / total
        empty = self.registers.count(0)
        if estimate <= 2.5 * REGISTERS and empty:
            return REGISTERS * math.log(REGISTERS / empty)
        return estimate
