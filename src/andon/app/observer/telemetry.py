"""The part of telemetry out: counters made from the log, and exporters that follow it to OTLP, CloudWatch and X-Ray.

Each exporter has a position, a thread and a fate of its own. None of them holds a row in memory that is not on disk,
and none is waited for by anything.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import structlog

from andon import __version__
from andon.adapters.otel.connection import Destination, parse_headers
from andon.adapters.otel.logs import LogExporter
from andon.adapters.otel.traces import TraceExporter
from andon.app.observer.part import Loop, ObserverGround, Part
from andon.app.settings import Settings
from andon.kernel.telemetry import LogRecord, SpanRecord, Taken
from andon.ledger.disk import FileDisk
from andon.ledger.reader import position_before
from andon.ledger.thread import WorkThread
from andon.observability.telemetry.counting import Counting
from andon.observability.telemetry.following import ExportMetrics, Follower, Send, Source, Terms
from andon.observability.telemetry.mapping import SCHEMA_URL, VERSION
from andon.observability.telemetry.records import record_of_event, record_of_row
from andon.observability.telemetry.requests import RequestMetrics
from andon.observability.telemetry.sources import JournalSource, RowSource
from andon.observability.telemetry.spans import Sampling, spans_of
from andon.observability.telemetry.vocabulary import Vocabulary, names_of

CLOSE_S: Final = 1.0  # a backend that hangs longer is left behind when the observer ends
FOLDER: Final = "telemetry"  # below the observer's own folder: positions and the checkpoint

_logger = structlog.get_logger("andon.telemetry")


class SpanSink(Protocol):
    """Where spans go."""

    def send(self, spans: Sequence[SpanRecord]) -> Taken:
        """Send a batch; blocking."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class RecordSink(Protocol):
    """Where log records go."""

    def send(self, records: Sequence[LogRecord]) -> Taken:
        """Send a batch; blocking."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


@dataclass(frozen=True)
class Wanted:
    """One exporter to be: its name, what it follows, what it does with a batch, how it is closed."""

    name: str
    follows: str  # "rows" or "journal"
    send: Send
    close: Callable[[], None]


def destination(settings: Settings, environment: Mapping[str, str]) -> Destination | None:
    """Where OTLP goes: the settings, else OpenTelemetry's own variables; None where nobody wants it."""
    endpoint = settings.otlp_endpoint or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    if not endpoint:
        return None
    headers = settings.otlp_headers or environment.get("OTEL_EXPORTER_OTLP_HEADERS", "")
    return Destination(endpoint=endpoint, headers=parse_headers(headers))


def resource(environment: Mapping[str, str]) -> dict[str, str]:
    """What is said about this factory with everything that is sent."""
    return {
        **parse_headers(environment.get("OTEL_RESOURCE_ATTRIBUTES", "")),
        "service.name": environment.get("OTEL_SERVICE_NAME", "andon"),
        "service.version": __version__,
        "andon.mapping.version": str(VERSION),
    }


def aws_service(settings: Settings, service: str) -> Any:
    """A client of an AWS service. Raises ImportError without the extra `aws`, BotoCoreError without a region."""
    module = importlib.import_module("andon.adapters.aws.service")
    return module.connect(service, settings.aws_region, settings.aws_endpoint_url)


def log_stream(ground: ObserverGround, name: str) -> Any:
    """A stream of the log group of the settings."""
    module = importlib.import_module("andon.adapters.aws.cloudwatch")
    settings = ground.settings
    stream = f"andon-{settings.gateway_name}-{name}"
    return module.LogStream(aws_service(settings, "logs"), settings.cloudwatch_group, stream)


def _spans_to(sink: SpanSink, known: Vocabulary, sampling: Sampling) -> Send:
    def send(rows: Sequence[Any]) -> Taken:
        return sink.send([span for row in rows for span in spans_of(row, known, sampling)])

    return send


def _rows_to(sink: RecordSink) -> Send:
    def send(rows: Sequence[Any]) -> Taken:
        found = (record_of_row(row) for row in rows)
        return sink.send([record for record in found if record is not None])

    return send


def _journal_to(sink: RecordSink) -> Send:
    def send(lines: Sequence[Any]) -> Taken:
        return sink.send([record_of_event(line.sequence, line.event) for line in lines])

    return send


def _otlp(ground: ObserverGround, known: Vocabulary, sampling: Sampling) -> list[Wanted]:
    to = destination(ground.settings, ground.environment)
    if to is None:
        return []
    about = resource(ground.environment)
    traces = TraceExporter(to, about, __version__, SCHEMA_URL)
    rows = LogExporter(to, about, __version__, SCHEMA_URL)
    journal = LogExporter(to, about, __version__, SCHEMA_URL)
    return [
        Wanted("otlp-traces", "rows", _spans_to(traces, known, sampling), traces.close),
        Wanted("otlp-logs", "rows", _rows_to(rows), rows.close),
        Wanted("otlp-journal", "journal", _journal_to(journal), journal.close),
    ]


class _Records:
    """A log stream as a sink of records."""

    def __init__(self, stream: Any) -> None:
        self.send = stream.send_records
        self.close = stream.close


def _aws(ground: ObserverGround, known: Vocabulary, sampling: Sampling) -> list[Wanted]:
    settings = ground.settings
    wanted: list[Wanted] = []
    if settings.cloudwatch_group:
        rows, journal = _Records(log_stream(ground, "requests")), _Records(log_stream(ground, "journal"))
        wanted.append(Wanted("cloudwatch-logs", "rows", _rows_to(rows), rows.close))
        wanted.append(Wanted("cloudwatch-journal", "journal", _journal_to(journal), journal.close))
    if settings.xray:
        module = importlib.import_module("andon.adapters.aws.xray")
        service = ground.environment.get("OTEL_SERVICE_NAME", "andon")
        segments = module.SegmentSender(aws_service(settings, "xray"), service)
        wanted.append(Wanted("xray", "rows", _spans_to(segments, known, sampling), segments.close))
    return wanted


def _wanted(ground: ObserverGround, known: Vocabulary) -> list[Wanted]:
    sampling = Sampling(ground.settings.trace_share)
    found: list[Wanted] = []
    for make in (_otlp, _aws):
        try:
            found += make(ground, known, sampling)
        # A backend that cannot even be set up (no boto3, no region, a bad address) must not cost the others: told.
        except Exception:
            _logger.exception("telemetry_unavailable", backend=make.__name__.strip("_"))
    return found


def build_telemetry(ground: ObserverGround) -> Part:
    """The part."""
    known = Vocabulary()
    kept = FileDisk(ground.home.observer / FOLDER)

    async def refresh() -> None:
        known.learn(await ground.store.transact(names_of))

    # A thread each, so that a backend that hangs holds up nobody else.
    counter = WorkThread("metrics-counting")
    counting = Counting(RequestMetrics(known), ground.disk, kept, ground.clock, counter, refresh)
    loops: list[Loop] = [counting.run]
    closing: list[Callable[[], None]] = [counter.close]
    followers: list[Follower[Any]] = []
    lag_s = ground.settings.telemetry_lag_s
    begin = position_before(ground.disk, "", ground.clock.now_ns() - int(lag_s * 1e9))
    for one in _wanted(ground, known):
        thread = WorkThread(one.name)
        follows_rows = one.follows == "rows"
        source: Source = RowSource(ground.disk, thread) if follows_rows else JournalSource(ground.store)
        terms = Terms(name=one.name, lag_s=lag_s, begin=begin if follows_rows else 0)
        follower: Follower[Any] = Follower(source, one.send, kept, ground.clock, thread, terms)
        followers.append(follower)
        loops.append(follower.run)
        closing += [one.close, partial(thread.close, CLOSE_S)]
    return Part(
        name="telemetry",
        loops=loops,
        metrics=(counting, ExportMetrics(followers)),
        closing=closing,
    )
