"""New certificates come into force without a restart: files are looked at, and loaded into the contexts in use.

One loop in each process that listens with TLS. A pair that cannot be loaded is left alone and told; the old one goes on
until it ends.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError
from andon.security.certificates.contexts import load_chain

PERIOD_S = 10.0

_logger = structlog.get_logger("andon.certificates")


@dataclass
class Pair:
    """A certificate and its key as files, and the contexts that use them."""

    certificate: Path
    private: Path
    contexts: list[ssl.SSLContext] = field(default_factory=list)
    seen: tuple[tuple[int, int], ...] = ()  # of both files: time of change and inode
    loads: int = 0

    def look(self) -> bool:
        """Load what is new; whether something was. Raises Refused for files that cannot be used."""
        marks = tuple(
            (found.st_mtime_ns, found.st_ino) for found in (self.certificate.stat(), self.private.stat())
        )
        if marks == self.seen:
            return False
        if self.seen:
            for context in self.contexts:
                load_chain(context, self.certificate, self.private)
            self.loads += 1
        self.seen = marks
        return True


async def watch(pairs: list[Pair], clock: Clock, renew: Callable[[], object]) -> None:
    """Renew what is ours and load what is new, every few seconds, until cancelled."""
    while True:
        try:
            renew()
        except (AndonError, OSError) as error:
            _logger.error("certificate not renewed", reason=str(error))
        for pair in pairs:
            loads = pair.loads
            try:
                pair.look()
            except (AndonError, OSError) as error:
                _logger.error("certificate not loaded", file=str(pair.certificate), reason=str(error))
            if pair.loads > loads:
                _logger.info("certificate loaded", file=str(pair.certificate))
        await clock.sleep(PERIOD_S)
