"""A request becomes an `Exchange`: identity, clock, and the few headers that decisions need.

First step of the walk. Reads headers once; the body is read by the route's dialect. Refuses nothing by itself.
"""

from __future__ import annotations

from typing import Final

from andon.gateway.routing import Route, Routes
from andon.kernel.clock import Clock
from andon.kernel.errors import Refused
from andon.kernel.exchange import Exchange
from andon.kernel.ids import Ids
from andon.wire.model import Request

DEADLINE_S: Final = 60.0  # until the endpoint is known
IDEMPOTENCY_KEY_BYTES_MAX: Final = 255
_READ: Final = frozenset(
    (
        b"content-type",
        b"content-encoding",
        b"inference-header-content-length",
        b"traceparent",
        b"idempotency-key",
        b"x-stainless-retry-count",
    )
)


class Ingress:
    """Makes exchanges."""

    def __init__(self, clock: Clock, ids: Ids) -> None:
        self._now = clock.monotonic
        self._now_ns = clock.now_ns
        self._next_id = ids.next

    def open(self, request: Request) -> Exchange:
        """An exchange with what every request has."""
        x = Exchange()
        x.id = self._next_id()
        x.received_ns = self._now_ns()
        x.started_at = self._now()
        x.deadline_at = x.started_at + DEADLINE_S
        x.headers = request.headers
        x.body = request.body
        return x

    def read(self, x: Exchange, route: Route, routes: Routes) -> Refused | None:
        """Fill in what the route, the headers and the body say; the refusal if they cannot be read."""
        x.dialect = route.dialect
        x.operation = route.operation
        x.snapshot = routes.snapshot
        x.name = route.name
        error = None
        for name, value in x.headers:
            if name in _READ:
                error = _take(x, name, value) or error
        error = error or route.read(x)
        endpoint = route.endpoint or routes.names.get(x.name)
        if endpoint is not None:
            x.endpoint = endpoint
            x.deadline_at = x.started_at + endpoint.timeout_s
        return error


def _take(x: Exchange, name: bytes, value: bytes) -> Refused | None:
    """Put one header on the exchange; the refusal if its value cannot be."""
    if name == b"content-type":
        x.content_type = value
    elif name == b"traceparent":
        x.traceparent = value
    elif name == b"idempotency-key":
        if not 0 < len(value) <= IDEMPOTENCY_KEY_BYTES_MAX:
            return Refused("invalid_header", "Idempotency-Key must have 1 to 255 characters.")
        x.idempotency_key = value
    elif name == b"inference-header-content-length":
        if not value.isdigit() or len(value) > 10:
            return Refused(
                "invalid_header_length", "Inference-Header-Content-Length must be a number of bytes."
            )
        x.header_length = int(value)
    elif name == b"content-encoding":
        if value != b"identity":
            return Refused(
                "unsupported_encoding",
                "Compressed requests are not supported.",
                hint="Send the body without content-encoding.",
                status=415,
            )
    elif value.isdigit() and len(value) < 4:
        x.client_retry = int(value)  # x-stainless-retry-count
    return None
