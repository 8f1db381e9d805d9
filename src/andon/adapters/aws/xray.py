"""Spans to X-Ray as segment documents. Blocking; call it in a thread.

The span of an exchange is a segment with what was derived from the same row nested in it; the span of an earlier
attempt is a subsegment sent on its own. Source: AWS X-Ray segment documents (64 kB, names, annotations).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from andon.adapters.aws.service import ask
from andon.kernel.telemetry import SpanRecord, Taken
from andon.kernel.trace import to_xray

DOCUMENT_BYTES_MAX: Final = 64_000
BATCH: Final = 25
NAME_MAX: Final = 200
_UNNAMEABLE: Final = re.compile(r"[^\w\s.:/%&#=+\\\-@]")
# Indexed for search; everything else goes to the metadata.
_ANNOTATED: Final = (
    "andon.request.id",
    "andon.endpoint",
    "andon.release",
    "andon.arm",
    "andon.team",
    "andon.attempt",
    "error.type",
    "gen_ai.request.model",
)


def documents(spans: Sequence[SpanRecord], service: str) -> Iterator[str]:
    """The documents of spans: trees as far as parents are among them, each within 64 kB."""
    known = {(span.trace_id, span.span_id) for span in spans}
    children: dict[tuple[str, str], list[SpanRecord]] = {}
    tops: list[SpanRecord] = []
    for span in spans:
        parent = (span.trace_id, span.parent_id)
        if span.kind != "server" and parent in known:
            children.setdefault(parent, []).append(span)
        else:
            tops.append(span)
    while tops:  # ends: each turn takes one away, and a span is put back once at most
        span = tops.pop(0)
        text = msgspec.json.encode(_document(span, children, service, nested=False)).decode()
        if len(text.encode()) > DOCUMENT_BYTES_MAX:
            # Too large as a tree: its children go on their own, pointing at it.
            tops += children.pop((span.trace_id, span.span_id), [])
            text = msgspec.json.encode(_document(span, children, service, nested=False)).decode()
        yield text


def _document(
    span: SpanRecord, children: dict[tuple[str, str], list[SpanRecord]], service: str, *, nested: bool
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": _UNNAMEABLE.sub("_", service if span.kind == "server" else span.name)[:NAME_MAX],
        "id": span.span_id,
        "start_time": span.start_ns / 1e9,
        "end_time": span.end_ns / 1e9,
    }
    if not nested:
        found["trace_id"] = to_xray(span.trace_id)
        if span.parent_id:
            found["parent_id"] = span.parent_id
        if span.kind != "server":
            found["type"] = "subsegment"
    if span.kind == "client":
        found["namespace"] = "remote"
    if span.fault:
        found[span.fault] = True
        if span.fault == "throttle":
            found["error"] = True
    if span.kind == "server":
        found["http"] = _http(span)
    attributes = span.attributes
    annotations = {name.replace(".", "_"): attributes[name] for name in _ANNOTATED if name in attributes}
    if annotations:
        found["annotations"] = annotations
    rest = {name: value for name, value in attributes.items() if name not in _ANNOTATED}
    if rest or span.events:
        moments = {event.name: event.at_ns / 1e9 for event in span.events}
        found["metadata"] = {"andon": {**rest, **moments}}
    below = children.get((span.trace_id, span.span_id), ())
    if below:
        found["subsegments"] = [_document(child, children, service, nested=True) for child in below]
    return found


def _http(span: SpanRecord) -> dict[str, Any]:
    attributes = span.attributes
    request = {
        "method": attributes.get("http.request.method", "POST"),
        "url": attributes.get("url.path", "/"),
    }
    response: dict[str, Any] = {"status": attributes.get("http.response.status_code", 0)}
    if "http.response.body.size" in attributes:
        response["content_length"] = attributes["http.response.body.size"]
    return {"request": request, "response": response}


class SegmentSender:
    """Sends documents to X-Ray."""

    def __init__(self, client: Any, service: str) -> None:
        self._client = client
        self._service = service

    def send(self, spans: Sequence[SpanRecord]) -> Taken:
        """Send a batch; counts documents. Raises `Transient` or `Permanent`."""
        texts = list(documents(spans, self._service))
        rejected, reason = 0, ""
        for start in range(0, len(texts), BATCH):
            unprocessed = ask("segments", partial(self._put, texts[start : start + BATCH]))
            rejected += len(unprocessed)
            if unprocessed:
                reason = str(
                    unprocessed[0].get("Message") or unprocessed[0].get("ErrorCode") or "unprocessed"
                )
        return Taken(len(texts) - rejected, rejected, reason)

    def _put(self, texts: Sequence[str]) -> Sequence[dict[str, Any]]:
        told = self._client.put_trace_segments(TraceSegmentDocuments=texts)
        return told.get("UnprocessedTraceSegments") or ()

    def close(self) -> None:
        """Nothing is held."""
