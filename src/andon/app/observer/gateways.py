"""What the gateway says of itself on its admin listener, for the observer: traffic in flight, weights, metrics.

Asked at most once a second, in turn; a gateway that does not answer is simply unknown. Never on the data port.
"""

from __future__ import annotations

from typing import Any

import msgspec

from andon.app.home import Home
from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError
from andon.kernel.ports import Upstream
from andon.kernel.snapshot import TargetEntry

WAIT_S = 1.0


class GatewayLook:
    """One gateway's admin listener, found through the home's run info."""

    def __init__(self, home: Home, upstream: Upstream, clock: Clock) -> None:
        self._home = home
        self._upstream = upstream
        self._clock = clock

    async def snapshot(self) -> dict[str, Any]:
        """The summary of the snapshot in force; empty where the gateway does not answer."""
        body = await self._get(b"/debug/snapshot")
        if not body:
            return {}
        decoded: dict[str, Any] = msgspec.json.decode(body)
        return decoded

    async def metrics(self) -> dict[str, float]:
        """Its metrics without labels, by name; empty where it does not answer."""
        return plain_metrics((await self._get(b"/metrics")).decode())

    async def _get(self, path: bytes) -> bytes:
        info = self._home.read_run_info()
        if info is None:
            return b""
        target = TargetEntry(id="gateway-admin", url=info.gateway_admin_url, protocol="oip")
        try:
            answer = await self._upstream.send(
                target,
                b"GET",
                path,
                (),
                b"",
                connect_timeout_s=WAIT_S,
                first_byte_timeout_s=WAIT_S,
                idle_timeout_s=WAIT_S,
                deadline_at=self._clock.monotonic() + 2 * WAIT_S,
            )
        except AndonError:
            return b""  # it may be starting or gone: what it would have said is unknown, and shown as such
        return answer.body if answer.status == 200 else b""


def plain_metrics(text: str) -> dict[str, float]:
    """Samples without labels of a Prometheus text (exposition format 0.0.4)."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if line.startswith("#") or "{" in name or not value:
            continue
        try:
            found[name] = float(value)
        except ValueError:
            continue  # not a sample
    return found
