"""Looks at targets from time to time, so that a breaker opens before clients pay and closes without their help.

A small loop beside the data path. Model replicas are asked whether they are ready; providers, who may charge or count
requests, only while their breaker is open. It never sends inference.
"""

from __future__ import annotations

import asyncio
from typing import Final

from andon.gateway.settings import GatewaySettings
from andon.gateway.targets import Target, Targets
from andon.kernel.clock import Clock
from andon.kernel.errors import Transient
from andon.kernel.ports import Reports, Upstream
from andon.kernel.random import Random
from andon.kernel.reports import TargetHealth

AT_ONCE: Final = 8  # looks under way at the same time


class HealthLoop:
    """The looks of one gateway."""

    def __init__(
        self,
        upstream: Upstream,
        targets: Targets,
        reports: Reports,
        *,
        clock: Clock,
        random: Random,
        settings: GatewaySettings,
    ) -> None:
        self._upstream = upstream
        self._targets = targets
        self._reports = reports
        self._clock = clock
        self._random = random
        self._settings = settings

    async def run(self) -> None:
        """Look at everything, for ever; with jitter, so that gateways do not look in step."""
        while True:
            await self._clock.sleep(self._settings.health_period_s * (0.75 + self._random.uniform() / 2))
            await self.round()

    async def round(self) -> None:
        """Look once at every target that is due."""
        due = [
            target
            for target in self._targets.table.targets.values()
            if not target.broken and (target.entry.protocol == "oip" or not target.breaker.closed)
        ]
        for start in range(0, len(due), AT_ONCE):
            await asyncio.gather(*(self._look(target) for target in due[start : start + AT_ONCE]))

    async def _look(self, target: Target) -> None:
        timeout_s = self._settings.health_timeout_s
        try:
            answer = await self._upstream.send(
                target.entry,
                b"GET",
                target.probe,
                target.headers,
                b"",
                connect_timeout_s=timeout_s,
                first_byte_timeout_s=timeout_s,
                idle_timeout_s=timeout_s,
                deadline_at=self._clock.monotonic() + timeout_s,
            )
            healthy = answer.status < 300 if target.entry.protocol == "oip" else answer.status < 500
            reason = f"health look answered {answer.status}"
        except Transient as error:
            healthy, reason = False, f"health look failed: {error.code}"
        if healthy:
            target.probe_failures = 0
            if target.breaker.succeed():
                self._tell(target, healthy=True, reason=reason)
            return
        target.probe_failures += 1
        if target.probe_failures >= self._settings.health_failures and target.breaker.trip(
            self._clock.monotonic()
        ):
            self._tell(target, healthy=False, reason=reason)

    def _tell(self, target: Target, *, healthy: bool, reason: str) -> None:
        self._reports.send(
            TargetHealth(
                endpoint=target.endpoint,
                target=target.entry.id,
                gateway=self._settings.gateway,
                at_ns=self._clock.now_ns(),
                healthy=healthy,
                reason=reason,
            )
        )
