"""Copies of requests for a release that serves nobody yet: bounded, droppable, counted, never felt by a client.

Started by `gateway/gateway` beside the real dispatch. The result goes to the ledger with arm "shadow", and to stages
that say `settles_copies`; a copy takes no limit, no retry, no fallback and no breaker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from andon.gateway.dialects import openai
from andon.gateway.meters import Meters
from andon.gateway.recording import Recorder
from andon.gateway.retries import fault_of_status
from andon.gateway.settings import GatewaySettings
from andon.gateway.targets import ReleaseTargets, Target, Targets, pick
from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Transient
from andon.kernel.exchange import Dialect, Exchange
from andon.kernel.ports import Upstream
from andon.kernel.random import Random
from andon.kernel.trace import pass_on_copy
from andon.ledger.row import Outcome
from andon.wire.model import Header


class Shadows:
    """The copies under way of one gateway."""

    def __init__(
        self,
        upstream: Upstream,
        targets: Targets,
        recorder: Recorder,
        *,
        clock: Clock,
        random: Random,
        settings: GatewaySettings,
        meters: Meters,
    ) -> None:
        self._upstream = upstream
        self._targets = targets
        self._recorder = recorder
        self._clock = clock
        self._random = random
        self._settings = settings
        self._meters = meters
        self._tasks: set[asyncio.Task[None]] = set()
        self.observers: tuple[Callable[[Exchange], None], ...] = ()  # told of each copy's outcome

    def copy(self, x: Exchange) -> None:
        """Send a copy of `x` to its shadow release, or drop it and count that."""
        endpoint, shadow = x.endpoint, x.shadow
        if endpoint is None or shadow is None:
            return
        release = self._targets.table.releases.get((endpoint.name, shadow.id))
        target = None
        if release is not None:
            target = pick(release.targets, (), self._clock.monotonic(), self._random)
        if release is None or target is None or len(self._tasks) >= self._settings.shadow_in_flight_max:
            self._meters.count("shadow_dropped")
            return
        task = asyncio.get_running_loop().create_task(self._send(x, release, target))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel what is under way."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, x: Exchange, release: ReleaseTargets, target: Target) -> None:
        endpoint = release.endpoint
        # Everything is read from the exchange before the first wait: it may be over before the copy is.
        row = Outcome(
            id=x.id, attempt=0, final=False, endpoint=endpoint.name, release=release.id, arm="shadow",
            target=target.entry.id, operation=x.operation, dialect=x.dialect, request_bytes=len(x.body),
            durability="relaxed", traceparent=x.traceparent, reference=x.reference or None,
            snapshot=None if x.snapshot is None else x.snapshot.version,
        )  # fmt: skip
        ghost = _ghost(x)
        body = x.body
        if x.dialect is Dialect.OPENAI and target.model != x.name:
            body = openai.edit(body, model=target.model, include_usage=False)
        headers: list[Header] = [
            *target.headers,
            (b"content-type", x.content_type),
            (b"x-request-id", x.id.encode()),
            (b"traceparent", pass_on_copy(x.id, x.traceparent)),
        ]
        if x.header_length is not None:
            headers.append((b"inference-header-content-length", b"%d" % x.header_length))
        started_at = ghost.upstream_started_at = self._clock.monotonic()
        try:
            answer = await self._upstream.send(
                target.entry,
                b"POST",
                target.paths[x.operation],
                headers,
                body,
                connect_timeout_s=endpoint.connect_timeout_s,
                first_byte_timeout_s=endpoint.first_byte_timeout_s,
                idle_timeout_s=endpoint.idle_timeout_s,
                deadline_at=started_at + endpoint.timeout_s,
            )
            fault = fault_of_status(answer.status, None)
            row.status, row.response_bytes = answer.status, len(answer.body)
            row.error_code, row.provider_error = (fault.code, fault.blame) if fault else (None, False)
        except Transient as error:
            row.status, row.error_code, row.provider_error = error.status, error.code, True
        except AndonError as error:
            row.status, row.error_code = error.status, error.code
        row.at_ns = self._clock.now_ns()
        row.upstream_us = row.duration_us = int((self._clock.monotonic() - started_at) * 1e6)
        self._recorder.shadow(row)
        self._meters.count("shadow_sent")
        ghost.status, ghost.error_code, ghost.provider_error = (
            row.status,
            row.error_code or "",
            row.provider_error,
        )
        ghost.upstream_ended_at = self._clock.monotonic()
        for observe in self.observers:
            observe(ghost)


def _ghost(x: Exchange) -> Exchange:
    """The exchange as it would be had the copy been the request."""
    ghost = Exchange()
    ghost.id, ghost.dialect, ghost.operation, ghost.name = x.id, x.dialect, x.operation, x.name
    ghost.snapshot, ghost.key, ghost.endpoint, ghost.unit = x.snapshot, x.key, x.endpoint, x.unit
    ghost.release, ghost.arm, ghost.started_at = x.shadow, "shadow", x.started_at
    return ghost
