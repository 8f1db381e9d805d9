"""One stream of CloudWatch Logs: lines of logs, and of metrics in the embedded format. Blocking; call it in a thread.

Source of the limits: PutLogEvents of the CloudWatch Logs API. Group and stream are made when they are missing; nothing
is retained by a policy of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
from botocore.exceptions import ClientError

from andon.adapters.aws import emf
from andon.adapters.aws.service import ask, code_of
from andon.kernel.telemetry import LogRecord, Measures, Taken

EVENTS_MAX: Final = 10_000
BATCH_BYTES_MAX: Final = 1_048_576
EVENT_OVERHEAD_BYTES: Final = 26
SPAN_MS_MAX: Final = 24 * 3600 * 1000


class Line(msgspec.Struct, frozen=True):
    """One event of a stream."""

    at_ms: int
    text: str


def batches(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Lines in batches that CloudWatch takes: in order of time, within its limits of number, bytes and span."""
    batch: list[Line] = []
    size = 0
    for line in sorted(lines, key=lambda one: one.at_ms):
        weight = len(line.text.encode()) + EVENT_OVERHEAD_BYTES
        is_full = batch and (
            len(batch) >= EVENTS_MAX
            or size + weight > BATCH_BYTES_MAX
            or line.at_ms - batch[0].at_ms >= SPAN_MS_MAX
        )
        if is_full:
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += weight
    if batch:
        yield batch


class LogStream:
    """A stream of a group."""

    def __init__(self, client: Any, group: str, stream: str) -> None:
        self._client = client
        self._group = group
        self._stream = stream

    def send_records(self, records: Sequence[LogRecord]) -> Taken:
        """Log records, one line of JSON each. Raises `Transient` or `Permanent`."""
        return self.send([Line(record.at_ns // 1_000_000, _json(record)) for record in records])

    def send_measures(self, space: str, at_ms: int, measured: Sequence[Measures]) -> Taken:
        """Measures in the embedded metric format; counts lines. Raises `Transient` or `Permanent`."""
        return self.send([Line(at_ms, text) for text in emf.lines(space, at_ms, measured)])

    def send(self, lines: Sequence[Line]) -> Taken:
        """Lines; one that is too large for any batch is rejected."""
        fitting = [
            line for line in lines if len(line.text.encode()) + EVENT_OVERHEAD_BYTES <= BATCH_BYTES_MAX
        ]
        rejected = len(lines) - len(fitting)
        for batch in batches(fitting):
            rejected += self._put(batch)
        return Taken(
            len(lines) - rejected,
            rejected,
            "too large, too old or too new for CloudWatch" if rejected else "",
        )

    def close(self) -> None:
        """Nothing is held."""

    def _put(self, batch: Sequence[Line]) -> int:
        events = [{"timestamp": line.at_ms, "message": line.text} for line in batch]

        def put(**more: str) -> Any:
            return self._client.put_log_events(
                logGroupName=self._group, logStreamName=self._stream, logEvents=events, **more
            )

        def put_or_make() -> Any:
            try:
                return put()
            except ClientError as error:
                if code_of(error) == "InvalidSequenceTokenException":  # endpoints that still ask for a token
                    return put(sequenceToken=error.response.get("expectedSequenceToken", ""))
                if code_of(error) != "ResourceNotFoundException":
                    raise
                self._make()
                return put()

        told = ask("log events", put_or_make).get("rejectedLogEventsInfo") or {}
        old = max(told.get("tooOldLogEventEndIndex", 0), told.get("expiredLogEventEndIndex", 0))
        new = len(events) - told.get("tooNewLogEventStartIndex", len(events))
        return int(min(len(events), old + new))

    def _make(self) -> None:
        self._ensure(self._client.create_log_group, logGroupName=self._group)
        self._ensure(self._client.create_log_stream, logGroupName=self._group, logStreamName=self._stream)

    def _ensure(self, create: Callable[..., Any], **names: str) -> None:
        try:
            create(**names)
        except ClientError as error:
            if code_of(error) != "ResourceAlreadyExistsException":
                raise


def _json(record: LogRecord) -> str:
    fields = {
        "severity": record.severity,
        "event": record.name,
        "message": record.body,
        "uid": record.uid,
        "trace_id": record.trace_id,
        "span_id": record.span_id,
        **record.attributes,
    }
    return msgspec.json.encode(fields).decode()
