"""A request becomes an `Exchange`: identity, clock, and the few headers that decisions need.

First step of the walk. Reads headers once; the body is read by the route's dialect. Refuses nothing by itself.
"""

from __future__ import annotations

from typing import Final

from andon.gateway.features import add, read_declared
from andon.gateway.meters import Meters
from andon.gateway.routing import Route, Routes
from andon.kernel.clock import Clock
from andon.kernel.errors import Refused
from andon.kernel.exchange import Exchange
from andon.kernel.ids import Ids
from andon.kernel.labels import LABELS, RANKS
from andon.kernel.trace import Beginnings, parse_traceparent, parse_xray, render
from andon.wire.model import Request

DEADLINE_S: Final = 60.0  # until the endpoint is known
IDEMPOTENCY_KEY_BYTES_MAX: Final = 255
REFERENCE_MAX: Final = 200
# What tells of a request and decides nothing: read together, where there is any of it.
_TELLING: Final = frozenset(
    (b"traceparent", b"tracestate", b"baggage", b"x-amzn-trace-id", b"x-andon-features")
)
_READ: Final = frozenset(
    (
        b"content-type",
        b"content-encoding",
        b"inference-header-content-length",
        b"idempotency-key",
        b"x-stainless-retry-count",
        b"x-andon-reference",
        b"x-andon-label",
        *_TELLING,
    )
)


class Ingress:
    """Makes exchanges."""

    def __init__(self, clock: Clock, ids: Ids, meters: Meters) -> None:
        self._meters = meters
        self._begun = Beginnings().traceparent
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
        x.peer = request.peer
        x.body = request.body
        return x

    def read(self, x: Exchange, route: Route, routes: Routes) -> Refused | None:
        """Fill in what the route, the headers and the body say; the refusal if they cannot be read."""
        x.dialect = route.dialect
        x.operation = route.operation
        x.snapshot = routes.snapshot
        x.name = route.name
        error = None
        has_more = False
        for name, value in x.headers:
            if name in _READ:
                if name in _TELLING:
                    has_more = True
                elif name == b"x-andon-label":
                    error = _take_label(x, value) or error
                else:
                    error = _take(x, name, value) or error
        if has_more:
            _trace(x)
            self._measure(x)
        x.traceparent = self._begun(x.id) if x.trace is None else render(x.id, x.trace)
        x.pinned = route.release is not None
        error = error or route.read(x)
        endpoint = route.endpoint or routes.names.get(x.name)
        if endpoint is not None:
            x.endpoint = endpoint
            x.deadline_at = x.started_at + endpoint.timeout_s
        return error

    def _measure(self, x: Exchange) -> None:
        """Take in how long the client's features took; what cannot be read is counted, never refused."""
        for name, value in x.headers:
            if name == b"x-andon-features":
                found, unread = read_declared(value)
                if found is not None:
                    x.features = add(x.features, found)
                if unread:
                    self._meters.count("features_unreadable")


def _trace(x: Exchange) -> None:
    """Join the caller's trace, W3C's form before X-Ray's; what is malformed or said twice is as if it were absent.

    `tracestate` belongs to a `traceparent` that could be read (W3C Trace Context §3.3); `baggage` stands alone.
    """
    w3c = [value for name, value in x.headers if name == b"traceparent"]
    xray = [value for name, value in x.headers if name == b"x-amzn-trace-id"]
    x.trace = parse_traceparent(w3c[0]) if len(w3c) == 1 else None
    joined = x.trace is not None
    other = parse_xray(xray[0]) if len(xray) == 1 else None
    if other is not None:
        x.trace = other if x.trace is None else x.trace._replace(is_xray=True)
    onward = [
        (name, value) for name, value in x.headers if name == b"baggage" or (name == b"tracestate" and joined)
    ]
    if onward:
        x.onward = onward


def _take_label(x: Exchange, value: bytes) -> Refused | None:
    """The data class that the caller says its data has; it can only raise the endpoint's own."""
    for label in LABELS:
        if value == label.encode():
            if RANKS[label] > RANKS[x.label]:
                x.label = label
            return None
    return Refused("invalid_header", f"x-andon-label is one of {', '.join(LABELS)}.")


def _take(x: Exchange, name: bytes, value: bytes) -> Refused | None:
    """Put one header on the exchange; the refusal if its value cannot be."""
    if name == b"content-type":
        x.content_type = value
    elif name == b"x-andon-reference":
        text = value.decode("utf-8", "replace")
        if not 0 < len(text) <= REFERENCE_MAX or "\ufffd" in text or not text.isprintable():
            return Refused(
                "invalid_header", f"x-andon-reference must have 1 to {REFERENCE_MAX} printable characters."
            )
        x.reference = text
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
