"""A small OTLP/HTTP collector for proofs and tests: decodes what is sent to it and remembers what was asked for.

Written on opentelemetry-proto alone, so that what the product sends is read by somebody else's definition. It answers
as it is told, trouble included; one thread per connection.
"""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces

REQUESTS = {
    "/v1/traces": (traces.ExportTraceServiceRequest, traces.ExportTraceServiceResponse),
    "/v1/metrics": (metrics.ExportMetricsServiceRequest, metrics.ExportMetricsServiceResponse),
    "/v1/logs": (logs.ExportLogsServiceRequest, logs.ExportLogsServiceResponse),
}


def value_of(value: Any) -> Any:
    """A value of an attribute as Python has it."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(value_of(one) for one in value.array_value.values)
    return getattr(value, kind) if kind else None


def attributes_of(pairs: Any) -> dict[str, Any]:
    """Attributes as a mapping."""
    return {pair.key: value_of(pair.value) for pair in pairs}


class Collector:
    """What was received. `answer` says what a request gets: a status, and a body for 200."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.records: list[Any] = []
        self.metrics: dict[str, Any] = {}  # the latest of each name
        self.resource: dict[str, Any] = {}
        self.headers: dict[str, str] = {}
        self.requests = 0
        self.answer: Callable[[str, Any], tuple[int, bytes]] = lambda path, message: (200, b"")
        self.url = ""
        self._lock = threading.Lock()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """One request."""
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        message = REQUESTS[path][0].FromString(body)
        with self._lock:
            self.requests += 1
            self.headers = headers
            status, text = self.answer(path, message)
            if status == 200:
                self._keep(message)
        return status, text

    def _keep(self, message: Any) -> None:
        for group in getattr(message, "resource_spans", ()):
            self.resource = attributes_of(group.resource.attributes)
            self.spans += [span for scope in group.scope_spans for span in scope.spans]
        for group in getattr(message, "resource_logs", ()):
            self.records += [record for scope in group.scope_logs for record in scope.log_records]
        for group in getattr(message, "resource_metrics", ()):
            self.metrics |= {metric.name: metric for scope in group.scope_metrics for metric in scope.metrics}

    def roots(self) -> list[Any]:
        """Spans of kind SERVER: one for each exchange."""
        with self._lock:
            return [span for span in self.spans if span.kind == 2]


@contextlib.contextmanager
def collecting(port: int = 0) -> Iterator[Collector]:
    """A collector that listens on loopback until the end."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, text = collector.take(self.path, headers, body)
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *words: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
