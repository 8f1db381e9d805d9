"""The step of the chain that refuses what could not be audited, where the factory is closed to it.

Memory only: a loop beside the requests reads how far the auditor is. It fails closed by itself: where that loop hangs,
the file goes or stops changing, or the ledger's disk fails, the age grows until requests are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Refused
from andon.kernel.exchange import Exchange
from andon.kernel.ports import Runner
from andon.kernel.snapshot import Snapshot
from andon.security.audit.records import unavailable
from andon.security.audit.sealed import Sealed, SealedWatch

LOOK_S: Final = 1.0


class _Log(Protocol):
    @property
    def problem(self) -> Any:
        """Why rows cannot be made durable; None while they can."""
        ...


class AuditTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What was agreed, and where to look."""

    closed: bool
    lag_s: float
    read: Callable[[], Sealed | None]  # blocking; never raises


class AuditStage:
    """Refuses while the auditor is late or rows cannot be kept; without terms, or open, it lets everything through."""

    name = "audit"

    def __init__(self, clock: Clock) -> None:
        self._monotonic = clock.monotonic
        self._clock = clock
        self._closed = False
        self._log: _Log | None = None
        self._watch: SealedWatch | None = None
        self._terms: AuditTerms | None = None
        self._late = False  # as of the last look; counted in the open mode
        self.unaudited = 0  # requests let through while the auditor was late

    @property
    def engaged(self) -> bool:
        """Whether there are terms to hold to."""
        return self._terms is not None

    def engage(self, terms: AuditTerms, log: _Log) -> None:
        """Hold to the terms from now on. The grace of the start begins."""
        self._terms, self._log, self._closed = terms, log, terms.closed
        self._watch = SealedWatch(terms.lag_s, self._monotonic())

    def adopt(self, snapshot: Snapshot) -> Callable[[], None]:
        """Raises `Refused` where rows may be lost on purpose and the factory is closed to that."""
        for endpoint in snapshot.endpoints if self._closed else ():
            if endpoint.durability == "relaxed" or endpoint.on_full_disk == "shed":
                raise Refused(
                    "audit_unenforceable",
                    f"Endpoint {endpoint.name} may lose rows, and this gateway serves only what can be audited.",
                    hint="Set audit_mode alike for control and gateways; control then compiles it as acknowledged.",
                )
        return _nothing

    def admit(self, exchange: Exchange) -> AndonError | None:
        """A 503 (`audit_unavailable`) where it could not be audited."""
        watch = self._watch
        if watch is None:
            return None
        if not self._closed:
            self.unaudited += self._late
            return None
        if watch.is_late(self._monotonic()):
            return unavailable("its auditor is too far behind")
        if self._log is not None and self._log.problem is not None:
            return unavailable("its ledger cannot be written")
        return None

    def settle(self, exchange: Exchange) -> None:
        """Nothing was taken."""

    async def run(self, files: Runner) -> None:
        """Look each second, until cancelled."""
        terms, watch = self._terms, self._watch
        while terms is not None and watch is not None:
            sealed = await files.run(terms.read)
            now = self._monotonic()
            watch.look(sealed, now)
            self._late = watch.is_late(now)
            await self._clock.sleep(LOOK_S)

    def gauges(self) -> dict[str, float]:
        """How old what is not audited may be, and what was served meanwhile; nothing where nobody audits."""
        if self._watch is None:
            return {}
        return {
            "andon_audit_lag_seconds": self._watch.lag_s(self._monotonic()),
            "andon_audit_unaudited_requests": self.unaudited,
        }


def _nothing() -> None:
    """Nothing to put in force."""
