"""The routes of the OTLP/HTTP receiver: OTEL_EXPORTER_OTLP_ENDPOINT is http://HOST:8793/otlp, or control's address.

`/v1/traces` is there as well, where MLflow's clients send theirs. Errors are a google.rpc.Status, as OTLP says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from andon.kernel.errors import AndonError
from andon.observability.intake.status import JSON, PROTOBUF, Reply, render_status
from andon.web.routes import Bytes, Raw, Route

BODY_BYTES_MAX = 64 * 2**20


class PartialSuccess(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What was not kept, and why. Not to be sent again."""

    rejected_spans: str = "0"
    rejected_data_points: str = "0"
    rejected_log_records: str = "0"
    error_message: str = ""


class Exported(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """ExportTraceServiceResponse, ExportMetricsServiceResponse or ExportLogsServiceResponse, as JSON."""

    partial_success: PartialSuccess | None = None


def otlp_routes(verbs: Any) -> Sequence[Route]:
    """`verbs` has one for each signal: traces, metrics, logs."""
    return (
        _route("/otlp/v1/traces", "exportTraces", verbs.traces, "Take spans, as OTLP/HTTP"),
        _route("/otlp/v1/metrics", "exportMetrics", verbs.metrics, "Refuse metrics, as OTLP/HTTP"),
        _route("/otlp/v1/logs", "exportLogs", verbs.logs, "Take evaluations among log records, as OTLP/HTTP"),
        _route(
            "/v1/traces", "exportMlflowTraces", verbs.traces, "Take spans of MLflow's clients, as OTLP/HTTP"
        ),
    )


def _route(path: str, name: str, verb: Any, summary: str) -> Route:
    return Route(
        method="POST",
        path=path,
        name=name,
        action="telemetry.write",
        request=Bytes,
        media_types=(PROTOBUF, JSON),
        body_bytes_max=BODY_BYTES_MAX,
        response=Exported,
        handler=verb,
        summary=summary,
        problem=_problem,
    )


def to_raw(reply: Reply) -> Raw:
    """An answer of OTLP as the web layer sends it."""
    headers = {"content-type": reply.media_type}
    if reply.retry_after_s:
        headers["retry-after"] = str(reply.retry_after_s)
    return Raw(body=reply.body, status=reply.status, headers=headers)


def _problem(error: AndonError, content_type: str) -> Raw:
    return to_raw(render_status(error, content_type))
