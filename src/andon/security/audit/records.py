"""Decisions of the admin plane, remembered durably before they take effect: the `Records` of one process.

A log of its own for each process, with the ledger's machinery: one commit for many, recovery after a crash. Where it
cannot be written the declared mode holds: closed refuses what changes anything, open goes on and counts.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import structlog

from andon.kernel.access import Access
from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Transient
from andon.ledger.folder import open_log
from andon.ledger.log import Log
from andon.ledger.settings import LogSettings

UNAVAILABLE: Final = "audit_unavailable"
RETRY_S: Final = 2.0  # between two attempts to open the log
_SETTINGS: Final = LogSettings(segment_bytes=8 * 2**20, segment_age_s=600.0, reserve_bytes=0)
_READING: Final = ".read"

_logger = structlog.get_logger("andon.access")


class AccessRecords:
    """Remembers decisions. Use from one event loop; `close` it at the end."""

    def __init__(self, folder: Path, process: str, clock: Clock, *, closed: bool) -> None:
        self._folder = folder / process
        self._process = process
        self._clock = clock
        self._closed = closed
        self._stack = contextlib.AsyncExitStack()
        self._log: Log | None = None
        self._tried_at: float | None = None
        self.lost = 0  # decisions that took effect without a record, since the start

    async def record(self, access: Access) -> None:
        """Return once it is on disk. Raises `Transient` (`audit_unavailable`) where the mode is closed and it is not.

        What gateways may do as gateways is not recorded: it is the factory talking to itself, many times a minute.
        """
        if (
            access.allowed
            and access.principal.startswith("gateway:")
            and access.action.startswith("gateway.")
        ):
            return
        try:
            log = await self._opened()
            if log.problem is not None:
                raise OSError(log.problem.message)
            log.append(access)
            await log.committed()
        except (AndonError, OSError) as error:
            self.lost += 1
            if self.lost == 1 or self.lost % 1000 == 0:
                _logger.error("access_not_recorded", lost=self.lost, reason=str(error))
            if self._closed and access.allowed and not access.action.endswith(_READING):
                raise unavailable("its record cannot be written") from error

    async def close(self) -> None:
        """Write what is pending."""
        self._log = None
        await self._stack.aclose()

    async def _opened(self) -> Log:
        if self._log is not None:
            return self._log
        now = self._clock.monotonic()
        if self._tried_at is not None and now - self._tried_at < RETRY_S:
            raise OSError("the log of access records could not be opened")
        self._tried_at = now
        self._log = await self._stack.enter_async_context(
            open_log(self._folder, self._clock, self._process, _SETTINGS)
        )
        return self._log


def unavailable(why: str) -> Transient:
    """What is said where nothing may happen that cannot be audited."""
    return Transient(
        UNAVAILABLE,
        f"This factory does nothing that it cannot audit, and {why}.",
        hint="Try again; the operator finds the reason with andon audit status.",
        retry_after_s=2.0,
    )
