"""What the demo reports of one release, read from the factory.

Made by `story`, printed by `narration` and as JSON. Holds what was seen; it never judges.
"""

from __future__ import annotations

import msgspec


class Chapter(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one release."""

    version: str
    note: str
    verdict: str  # "promoted", "stopped itself"
    canary_requests: int
    seconds: float  # from the canary's first request to the cut; for a promotion, the whole rollout
    gate: str  # the gate that stopped it
    evidence: float | None
    threshold: float | None
    canary_value: float | None
    stable_value: float | None
    reason: str
