"""Bytes into OTLP messages: protobuf, or JSON as OTLP means it (ids in hexadecimal, enums as integers). Pure.

Unknown fields are ignored in both; anything malformed is refused for good, because sending it again would not help.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace

from andon.kernel.errors import Refused
from andon.observability.intake.status import JSON

Signal = Literal["traces", "metrics", "logs"]

_REQUESTS: dict[str, type[Message]] = {
    "traces": trace.ExportTraceServiceRequest,
    "metrics": metrics.ExportMetricsServiceRequest,
    "logs": logs.ExportLogsServiceRequest,
}
_RESPONSES: dict[str, type[Message]] = {
    "traces": trace.ExportTraceServiceResponse,
    "metrics": metrics.ExportMetricsServiceResponse,
    "logs": logs.ExportLogsServiceResponse,
}
_REJECTED = {
    "traces": "rejected_spans",
    "metrics": "rejected_data_points",
    "logs": "rejected_log_records",
}
_IDS = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")
# Where messages with ids may stand; values that users chose the names of are never looked into.
_WAYS = frozenset(
    "resourceSpans scopeSpans spans links resourceLogs scopeLogs logRecords "
    "resource_spans scope_spans resource_logs scope_logs log_records".split()
)


def decode_request(signal: Signal, data: bytes, media_type: str) -> Any:
    """The export request. Raises `Refused` 400 (`otlp_malformed`)."""
    kind = _REQUESTS[signal]
    try:
        if media_type != JSON:
            return kind.FromString(data)
        tree = msgspec.json.decode(data or b"{}")
        if not isinstance(tree, dict):
            raise Refused("otlp_malformed", "The body is no JSON object.", hint="Send an OTLP request.")
        if signal == "metrics":
            _drop_exemplars(tree)
        return json_format.ParseDict(_with_bytes(tree), kind(), ignore_unknown_fields=True)
    except (DecodeError, json_format.ParseError, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Refused(
            "otlp_malformed",
            f"The body is not an OTLP request for {signal}: {str(error)[:300]}.",
            hint="Send it as the OTLP specification says, in the encoding that content-type names.",
        ) from error


def encode_response(signal: Signal, media_type: str, rejected: int, message: str) -> bytes:
    """The export response; `partial_success` is set only where there is something to say."""
    response: Any = _RESPONSES[signal]()
    if rejected or message:
        partial = response.partial_success
        setattr(partial, _REJECTED[signal], rejected)
        partial.error_message = message
    if media_type == JSON:
        return str(json_format.MessageToJson(response, indent=None)).encode()
    return bytes(response.SerializeToString())


def count_points(request: Any) -> int:
    """Data points of a metrics request."""
    count = 0
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                sort = metric.WhichOneof("data")
                count += len(getattr(metric, sort).data_points) if sort else 0
    return count


def _with_bytes(tree: dict[str, Any]) -> dict[str, Any]:
    """Ids from hexadecimal (OTLP) to base64 (protobuf's JSON). One that is no hexadecimal is left empty: invalid."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if name in _IDS:
            found[name] = _to_base64(value)
        elif name in _WAYS and isinstance(value, list):
            found[name] = [_with_bytes(one) if isinstance(one, dict) else one for one in value]
        else:
            found[name] = value
    return found


def _to_base64(value: Any) -> str:
    try:
        raw = bytes.fromhex(value)
    except (ValueError, TypeError):
        return ""
    return str(msgspec.to_builtins(raw))


def _drop_exemplars(tree: Any) -> None:
    """Exemplars hold ids too, and nothing of them is read."""
    if isinstance(tree, dict):
        tree.pop("exemplars", None)
        for value in tree.values():
            _drop_exemplars(value)
    elif isinstance(tree, list):
        for value in tree:
            _drop_exemplars(value)
