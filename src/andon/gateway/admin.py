"""The gateway's own listener: liveness, readiness, metrics, what snapshot is in force. Never on the data port.

Answers from memory. It must not be reachable by clients: it says what endpoints there are and how they fare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from andon.gateway.gateway import Gateway
from andon.gateway.snapshots import Holder
from andon.wire.model import Header, Reply, Request

_JSON = b"content-type: application/json\r\ncache-control: no-store\r\n"
_TEXT = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"
_encode = msgspec.json.Encoder().encode


class Admin:
    """The admin listener's application (wire `Application`)."""

    def __init__(
        self,
        gateway: Gateway,
        holder: Holder,
        *,
        connected: Callable[[], bool],
        counters: Callable[[], Mapping[str, float]] = dict,
        gauges: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self._gateway = gateway
        self._holder = holder
        self._connected = connected
        self._counters = counters  # of what the gateway stands on, by their full names
        self._more_gauges = gauges

    async def handle(self, request: Request, reply: Reply) -> None:
        """Answer one request."""
        if request.method != b"GET":
            reply.send(405, _JSON + b"allow: GET\r\n", b'{"error":"This listener takes GET only."}')
            return
        path = request.path
        if path == b"/livez":
            reply.send(200, _JSON, b'{"live":true}')
        elif path in (b"/readyz", b"/healthz"):
            why = self._unready()
            reply.send(503 if why else 200, _JSON, _encode({"ready": not why, "reason": why}))
        elif path == b"/metrics":
            reply.send(200, _TEXT, self._exposition())
        elif path == b"/debug/snapshot":
            reply.send(200, _JSON, _encode(self._summary()))
        else:
            reply.send(404, _JSON, b'{"error":"There is no such path on this listener."}')

    def body_bytes_max(self, method: bytes, path: bytes, headers: Sequence[Header]) -> int:
        """Nothing here takes a body."""
        return 1024

    def refuse(self, path: bytes, status: int, code: str, message: str) -> tuple[bytes, bytes]:
        """A refusal of the protocol itself."""
        return _JSON, _encode({"error": message, "code": code})

    def _exposition(self) -> bytes:
        return self._gateway.meters.exposition(self._gauges(), self._counters()).encode()

    def _unready(self) -> str:
        if self._gateway.draining:
            return "draining"
        return "" if self._holder.current is not None else "no snapshot yet"

    def _gauges(self) -> dict[str, float]:
        targets = self._gateway.targets.table.targets.values()
        return {
            "andon_snapshot_version": self._holder.version,
            "andon_ledger_lag_seconds": self._gateway.log.lag_s,
            "andon_ledger_in_trouble": float(self._gateway.log.problem is not None),
            "andon_control_connected": float(self._connected()),
            "andon_targets": len(targets),
            "andon_targets_open": sum(not target.breaker.closed or bool(target.broken) for target in targets),
            **self._more_gauges(),
        }

    def _in_flight(self, endpoint: str, release: str) -> int:
        found = self._gateway.targets.table.releases.get((endpoint, release))
        return sum(target.in_flight for target in found.targets) if found else 0

    def _summary(self) -> dict[str, object]:
        current = self._holder.current
        if current is None:
            return {"version": 0}
        return {
            "version": current.version,
            "factory": current.factory,
            "revision": current.revision,
            "compiled_at_ns": current.compiled_at_ns,
            "endpoints": {
                endpoint.name: {
                    release.id: {
                        "arm": release.arm,
                        "weight": release.weight,
                        "targets": len(release.targets),
                        "in_flight": self._in_flight(endpoint.name, release.id),
                    }
                    for release in endpoint.releases
                }
                for endpoint in current.endpoints
            },
            "targets": [
                {
                    "endpoint": target.endpoint,
                    "id": target.entry.id,
                    "in_flight": target.in_flight,
                    "open": not target.breaker.closed,
                    "broken": target.broken,
                }
                for target in self._gateway.targets.table.targets.values()
            ],
        }
