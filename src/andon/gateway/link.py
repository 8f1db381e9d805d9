"""The gateway's side of control: snapshots come by long poll, reports go out in batches.

Both loops run for ever beside the data path and never touch it: with control away, traffic flows on the snapshot in
force and reports wait, bounded. A `Cut` is never dropped from the queue; after a crash its stage sends it again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog

from andon.gateway.meters import Meters
from andon.gateway.retries import BACKOFF_MAX_S
from andon.gateway.snapshots import Holder
from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError
from andon.kernel.ports import Answer, Upstream
from andon.kernel.random import Random
from andon.kernel.reports import Cut, Progress, Report
from andon.kernel.snapshot import TargetEntry
from andon.wire.model import Header

_logger = structlog.get_logger("andon.gateway.link")
CONTROL: Final = "control"  # the target id of control, for the client's pools
WAIT_S: Final = 20.0
REPORTS_MAX: Final = 1_000  # queued; beyond, the oldest Progress is dropped, then the oldest TargetHealth
BATCH_MAX: Final = 100
_encode = msgspec.json.Encoder().encode


class ReportQueue:
    """Reports on their way (kernel port `Reports`). `send` never waits and never raises."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._queue: deque[Report] = deque()
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queue)

    def waiting(self, kind: type[Report]) -> int:
        """How many reports of a kind control has not confirmed."""
        return sum(isinstance(report, kind) for report in self._queue)

    def send(self, report: Report) -> None:
        """Queue a report, at the bound in the place of one that is stale or dispensable."""
        if isinstance(report, Progress):
            self._drop(lambda old: isinstance(old, Progress) and old.rollout == report.rollout)
        if len(self._queue) >= REPORTS_MAX and not self._drop(lambda old: isinstance(old, Progress)):
            self._drop(lambda old: not isinstance(old, Cut))
        self._queue.append(report)
        self._arrived.set()

    async def batch(self) -> list[Report]:
        """The oldest reports, as soon as there are any; they stay until `delivered`."""
        await self._arrived.wait()
        return [self._queue[index] for index in range(min(BATCH_MAX, len(self._queue)))]

    def delivered(self, reports: list[Report]) -> None:
        """Control has these: forget them."""
        gone = set(map(id, reports))
        self._queue = deque(report for report in self._queue if id(report) not in gone)
        if not self._queue:
            self._arrived.clear()

    def _drop(self, stale: Callable[[Report], bool]) -> bool:
        for index, report in enumerate(self._queue):
            if stale(report):
                del self._queue[index]
                self._meters.count("report_dropped")
                return True
        return False


class Link:
    """Talks to control."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        upstream: Upstream,
        holder: Holder,
        reports: ReportQueue,
        clock: Clock,
        random: Random,
        meters: Meters,
    ) -> None:
        self._target = TargetEntry(id=CONTROL, url=url, protocol="oip")
        self._headers: tuple[Header, ...] = (
            (b"authorization", b"Bearer " + key.encode()),
            (b"content-type", b"application/json"),
        )
        self._upstream = upstream
        self._holder = holder
        self._reports = reports
        self._clock = clock
        self._random = random
        self._meters = meters
        self.connected = False
        # Called with each new snapshot before it is adopted, such as to ask for secrets; it must not raise.
        self.prepare: Callable[[bytes], Awaitable[None]] | None = None

    async def run(self) -> None:
        """Both loops, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._forever(self.fetch))
            group.create_task(self._forever(self.deliver))

    async def fetch(self) -> bool:
        """Ask for a newer snapshot once and adopt it; False if there is none or it was refused."""
        path = b"/v1/snapshot?have=%d&wait_s=%d" % (self._holder.version, int(WAIT_S))
        answer = await self._ask(b"GET", path, b"", WAIT_S + 10)
        self.connected = True
        if answer.status == 304:
            return False
        if answer.status != 200:
            raise ConnectionError(f"control answered {answer.status} when asked for a snapshot")
        if self.prepare is not None:
            await self.prepare(answer.body)
        await self._holder.adopt(answer.body)
        return True

    async def deliver(self) -> bool:
        """Send one batch of reports as soon as there is one."""
        batch = await self._reports.batch()
        answer = await self._ask(b"POST", b"/v1/reports", _encode({"reports": batch}), 10.0)
        if not 200 <= answer.status < 300:
            raise ConnectionError(f"control answered {answer.status} to reports")
        self._reports.delivered(batch)
        return True

    async def _ask(self, method: bytes, path: bytes, body: bytes, timeout_s: float) -> Answer:
        return await self._upstream.send(
            self._target,
            method,
            path,
            self._headers,
            body,
            connect_timeout_s=2.0,
            first_byte_timeout_s=timeout_s,
            idle_timeout_s=10.0,
            deadline_at=self._clock.monotonic() + timeout_s,
        )

    async def _forever(self, turn: Callable[[], Awaitable[bool]]) -> None:
        """Turn after turn; back off with jitter while control is away or sends what cannot be enforced."""
        failures = 0
        while True:
            began = self._clock.monotonic()
            try:
                await turn()
            except (AndonError, OSError) as error:
                failures += 1
                self._meters.count("control_failure")
                if failures == 1:
                    self.connected = False
                    _logger.warning("control is away", reason=str(error))
                ceiling = min(0.1 * 2 ** min(failures, 10), BACKOFF_MAX_S)
                await self._clock.sleep(ceiling * (0.5 + self._random.uniform() / 2))
                continue
            failures = 0
            if self._clock.monotonic() - began < 0.01:
                await self._clock.sleep(0.01)  # a control that answers at once must not make this loop spin
