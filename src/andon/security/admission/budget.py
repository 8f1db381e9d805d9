"""How much one scan may do, whatever it is given: operations, bytes unpacked, members, nesting.

Every loop of the scan spends from here. What is not looked at because the budget is spent is a finding, never "clean".
"""

from __future__ import annotations

import msgspec


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one scan."""

    operations: int = 12_000_000  # opcodes and protobuf fields: about ten seconds
    unpacked_bytes: int = 1 << 30  # of all archives and compressed streams together
    member_bytes: int = 256 << 20  # of one of them: what is in memory at a time
    members: int = 20_000
    depth: int = 5  # archives in archives
    ratio: int = 400  # unpacked to packed, from 16 MiB on; deflate cannot exceed 1032


class Exhausted(Exception):
    """The budget of the scan is spent; `what` says which."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Budget:
    """What is left of an allowance."""

    def __init__(self, allowance: Allowance | None = None) -> None:
        self.allowance = allowance or Allowance()
        self.operations = 0
        self.unpacked_bytes = 0
        self.members = 0

    def operate(self, count: int = 1) -> None:
        """Spend operations; raises `Exhausted`."""
        self.operations += count
        if self.operations > self.allowance.operations:
            raise Exhausted(f"more than {self.allowance.operations} operations")

    def unpack(self, count: int) -> None:
        """Spend unpacked bytes; raises `Exhausted`."""
        self.unpacked_bytes += count
        if self.unpacked_bytes > self.allowance.unpacked_bytes:
            raise Exhausted(f"more than {self.allowance.unpacked_bytes >> 20} MiB unpacked")

    def member(self) -> None:
        """Spend a member of an archive; raises `Exhausted`."""
        self.members += 1
        if self.members > self.allowance.members:
            raise Exhausted(f"more than {self.allowance.members} members of archives")
