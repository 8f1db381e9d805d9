"""Learns signing keys that are not known yet: when an issuer rotates, its next token need not wait for control.

Beside the gateway's chain and the admin plane's door, asked only with a refusal that a key is missing. Whatever
strangers send, an issuer is asked once at a time, at most once in `INTERVAL_S`, and nobody waits longer than it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Unlearnt
from andon.kernel.snapshot import IssuerEntry
from andon.security.identity.discovery import Upstreams, fetch_keys

INTERVAL_S: Final = 10.0  # between two questions to one issuer, whatever came of the first
WAITING_MAX: Final = 1_000  # callers that wait for answers; the rest are refused at once
ABSENT_S: Final = 60.0
ABSENT_MAX: Final = (
    10_000  # ids that an issuer did not have when it was asked; at the bound all are forgotten
)

_logger = structlog.get_logger("andon.identity")

Adopt = Callable[[str, str], None]  # name of an issuer, its key set


class KeyLearner:
    """Port `Learner` over one table of issuers."""

    def __init__(
        self,
        entries: Callable[[], Mapping[str, IssuerEntry]],
        adopt: Adopt,
        upstreams: Upstreams,
        clock: Clock,
    ) -> None:
        self._entries = entries
        self._adopt = adopt
        self._upstreams = upstreams
        self._clock = clock
        self._asked_at: dict[str, float] = {}
        self._absent: dict[tuple[str, str], float] = {}
        self._under_way: dict[str, asyncio.Task[bool]] = {}
        self._waiting = 0
        self.asked = 0
        self.failed = 0

    async def learn(self, refusal: Unlearnt) -> bool:
        """Ask the issuer for its keys, or wait for the answer to somebody who has. False where that cannot help."""
        entry = self._entries().get(refusal.issuer)
        if entry is None or not entry.keys_url or self._waiting >= WAITING_MAX:
            return False
        now = self._clock.monotonic()
        if self._absent.get((entry.name, refusal.signer), -1.0) > now:
            return False
        task = self._under_way.get(entry.name)
        if task is None:
            asked_at = self._asked_at.get(entry.name)
            if asked_at is not None and now - asked_at < INTERVAL_S:
                return False
            self._asked_at[entry.name] = now
            task = asyncio.create_task(self._ask(entry))
            self._under_way[entry.name] = task
        self._waiting += 1
        try:
            # A caller that leaves must not take the answer from the others.
            learnt = await asyncio.shield(task)
        finally:
            self._waiting -= 1
        if learnt:
            self._note_absent(entry.name, refusal.signer)
        return learnt

    async def close(self) -> None:
        """Stop asking."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, entry: IssuerEntry) -> bool:
        self.asked += 1
        try:
            keys, ids = await fetch_keys(entry.name, entry.keys_url, self._upstreams(entry.ca), self._clock)
        except (AndonError, OSError) as error:
            self.failed += 1
            _logger.warning("signing keys not learnt", issuer=entry.name, reason=str(error))
            return False
        finally:
            self._under_way.pop(entry.name, None)
        if keys != entry.keys:
            _logger.info("signing keys learnt", issuer=entry.name, keys=ids)
            self._adopt(entry.name, keys)
        return True

    def _note_absent(self, issuer: str, signer: str) -> None:
        """Remember an id that is not there now either: it need not be asked for again for a while."""
        entry = self._entries().get(issuer)
        if entry is None or not signer or f'"{signer}"' in entry.keys:
            return
        if len(self._absent) >= ABSENT_MAX:
            self._absent.clear()
        self._absent[(issuer, signer)] = self._clock.monotonic() + ABSENT_S
