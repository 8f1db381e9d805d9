"""What protects a gateway, told to control: as notices, which become events of the journal.

Called on rare occasions only; the queue is the one of all reports and never waits.
"""

from __future__ import annotations

from collections.abc import Callable

from andon.kernel.clock import Clock
from andon.kernel.reports import Notice, Report
from andon.security.abuse.extraction import Suspicion


class Telling:
    """Makes notices of one gateway."""

    def __init__(self, gateway: str, send: Callable[[Report], None], clock: Clock) -> None:
        self._gateway = gateway
        self._send = send
        self._clock = clock

    def counters(self, away: bool, why: str) -> None:
        """The store of shared counters was lost, or is back."""
        name = "limits.lost" if away else "limits.restored"
        self._tell(name, f"Gateway/{self._gateway}", {"reason": why} if why else {})

    def suspicion(self, found: Suspicion) -> None:
        """Somebody's questions look like the copying of a model."""
        self._tell(
            "extraction.suspected",
            f"Endpoint/{found.endpoint}",
            {
                "principal": found.principal,
                "policy": found.policy.name,
                "sign": found.sign,
                "value": round(found.value, 4),
                "expected": round(found.expected, 4),
                "distinctInputs": float(found.distinct),
                "requests": float(found.requests),
                "action": found.policy.action,
            },
        )

    def _tell(self, name: str, subject: str, data: dict[str, str | float]) -> None:
        at_ns = self._clock.now_ns()
        self._send(Notice(gateway=self._gateway, at_ns=at_ns, name=name, subject=subject, data=data))
