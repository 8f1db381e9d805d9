"""Traffic of the demo: real applicants sent to the gateway at a steady pace, from a thread of its own.

Keeps only counts. A client that cannot keep up sends less and says so; it never queues without end.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

from andon.app.demo.credit import Applicants, infer_body
from andon.kernel.clock import SystemClock
from andon.kernel.errors import AndonError
from andon.kernel.snapshot import TargetEntry
from andon.wire.client import Client

IN_FLIGHT_MAX = 64  # beyond, a turn is skipped and counted


class Traffic:
    """Sends one applicant after the other, round and round, `rate` a second, until stopped."""

    def __init__(
        self, gateway_url: str, key: str, endpoint: str, applicants: Applicants, rate: float
    ) -> None:
        self._target = TargetEntry(id="gateway", url=gateway_url, protocol="oip")
        self._path = f"/v2/models/{endpoint}/infer".encode()
        self._headers = (
            (b"authorization", f"Bearer {key}".encode()),
            (b"content-type", b"application/json"),
        )
        self._bodies = [infer_body(applicants, row) for row in range(len(applicants))]
        self._period_s = 1 / rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self.sent = 0
        self.skipped = 0
        self.statuses: Counter[int] = Counter()  # 0 = no answer at all
        self.arms: Counter[str] = Counter()

    def start(self) -> None:
        """Begin sending."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more and wait for what is under way."""
        self._stop.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        asyncio.run(self._send_all())

    async def _send_all(self) -> None:
        clock = SystemClock()
        client = Client(clock)
        tasks: set[asyncio.Task[None]] = set()
        due = clock.monotonic()
        try:
            while not self._stop.is_set():
                due = max(due + self._period_s, clock.monotonic() - 1.0)
                await clock.sleep(max(0.0, due - clock.monotonic()))
                if len(tasks) >= IN_FLIGHT_MAX:
                    self.skipped += 1
                    continue
                task = asyncio.ensure_future(self._send(client, clock, self.sent))
                self.sent += 1
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            if tasks:
                await asyncio.wait(tasks, timeout=10)
        finally:
            await client.close()

    async def _send(self, client: Client, clock: SystemClock, place: int) -> None:
        try:
            answer = await client.send(
                self._target,
                b"POST",
                self._path,
                self._headers,
                self._bodies[place % len(self._bodies)],
                connect_timeout_s=2,
                first_byte_timeout_s=10,
                idle_timeout_s=10,
                deadline_at=clock.monotonic() + 15,
            )
        except AndonError:
            self.statuses[0] += 1
            return
        self.statuses[answer.status] += 1
        for name, value in answer.headers:
            if name == b"x-andon-arm":
                self.arms[value.decode()] += 1
