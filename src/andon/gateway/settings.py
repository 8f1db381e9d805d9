"""What an operator may set for one gateway process; everything else comes with the snapshot.

Every bound of the room stands here, with what happens when it is reached.
"""

from __future__ import annotations

import msgspec


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one gateway. Times in seconds, sizes in bytes."""

    gateway: str = "gateway-0"  # names this process in reports and rows
    attempts_max: int = 8  # sends for one exchange, fallbacks included; then the last answer stands
    breaker_failures: int = 5  # consecutive failures that open a target's breaker
    breaker_open_s: float = 2.0  # first pause of an open breaker; doubles with each failed probe
    breaker_open_max_s: float = 60.0
    retry_share: float = 0.2  # retries that each request earns its endpoint
    retry_reserve: float = 20.0  # retries an endpoint may save up; beyond, failures are final
    refusal_rows_per_s: int = 100  # rows for refused requests; beyond, one in `refusal_sample` and a counter
    refusal_sample: int = 100
    shadow_in_flight_max: int = 64  # copies under way; beyond, copies are dropped and counted
    sse_event_bytes_max: int = 2**20  # one event of a stream; beyond, the upstream is malformed
    error_bytes_max: int = 64 * 1024  # of an upstream's error body to a stream; beyond, it is cut
    idempotency_entries_max: int = 10_000  # remembered answers; beyond, the oldest is forgotten
    idempotency_bytes_max: int = 64 * 2**20
    idempotency_ttl_s: float = 3600.0
    health_period_s: float = 2.0  # between two looks at each target
    health_timeout_s: float = 1.0
    health_failures: int = 2  # failed looks in a row that open a breaker
    drain_notice_s: float = 0.0  # between /readyz saying 503 and closing the listener
    drain_timeout_s: float = 30.0
