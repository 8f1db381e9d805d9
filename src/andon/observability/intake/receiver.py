"""The OTLP/HTTP receiver: one export request in, facts on disk, the answer that the specification asks for.

Spans are kept, evaluations too; other log records and metrics are rejected in `partial_success` with the reason, so
that nobody believes them stored. What fails for now says when to come back; what cannot work says so for good.
"""

from __future__ import annotations

from typing import Any

import msgspec

from andon.kernel.clock import Clock
from andon.ledger.facts.inflate import inflate
from andon.ledger.facts.intake import Intake
from andon.ledger.facts.known import TRACE
from andon.ledger.facts.model import Evaluation, Fact
from andon.ledger.facts.times import SECOND_NS, Unfit
from andon.observability.intake.decoding import Signal, count_points, decode_request, encode_response
from andon.observability.intake.evaluations import EVENT, Event, to_evaluation
from andon.observability.intake.records import records_of, to_event
from andon.observability.intake.spans import events_of, spans_of, to_span
from andon.observability.intake.status import JSON, PROTOBUF, Reply

BODY_BYTES_MAX = 64 * 2**20  # after inflating, as the specification recommends
REASONS_TOLD = 3
RECENT_NS = 30 * SECOND_NS  # older events have rows that were seen long ago, or never will be
LOOK_S = 0.25
LOOKS_MAX = 5

NOT_LOGS = f"Andon keeps no logs: of log records only {EVENT} events are taken."
NOT_METRICS = "Andon keeps no metrics of others: send them to your metrics backend."


class OtlpCounters:
    """Items of OTLP since the start, by signal; only ever grow."""

    def __init__(self) -> None:
        self.accepted: dict[str, int] = {}
        self.rejected: dict[str, int] = {}

    def count(self, signal: str, accepted: int, rejected: int) -> None:
        """One request was answered."""
        self.accepted[signal] = self.accepted.get(signal, 0) + accepted
        self.rejected[signal] = self.rejected.get(signal, 0) + rejected


class Taken(msgspec.Struct, kw_only=True):
    """What one request held."""

    facts: list[Fact] = []
    accepted: int = 0  # spans or log records
    rejected: int = 0
    spans: dict[str, str] = {}  # by id of an evaluation, the span it was made in
    reasons: list[str] = []  # in the order in which they came, each once

    def reject(self, reason: str, count: int = 1) -> None:
        """Some items are not kept."""
        self.rejected += count
        self.warn(reason)

    def warn(self, reason: str) -> None:
        """Something is to be told, though the item is kept."""
        if reason not in self.reasons and len(self.reasons) < REASONS_TOLD:
            self.reasons.append(reason)


class Receiver:
    """Used on the event loop of the observer."""

    def __init__(self, intake: Intake, clock: Clock, *, keep_content: bool = False) -> None:
        self._intake = intake
        self._clock = clock
        self._keep_content = keep_content
        self.counters = OtlpCounters()

    async def receive(
        self, signal: Signal, data: bytes, media_type: str, encoding: str, source: str
    ) -> Reply:
        """One export request. Raises `Refused` for what cannot work, `Transient` for what may work later."""
        now_ns = self._clock.now_ns()

        def work() -> Taken:
            request = decode_request(signal, inflate(data, encoding, BODY_BYTES_MAX), media_type)
            if signal == "traces":
                return take_traces(request, source, now_ns, keep_content=self._keep_content)
            return take_logs(request, source, now_ns) if signal == "logs" else take_metrics(request)

        taken = await self._intake.doorway.run(work)
        await self._intake.add(await self._joined(taken, now_ns))
        self.counters.count(signal, taken.accepted, taken.rejected)
        return Reply(
            status=200,
            body=encode_response(signal, media_type, taken.rejected, " ".join(taken.reasons)),
            media_type=JSON if media_type == JSON else PROTOBUF,
        )

    async def _joined(self, taken: Taken, now_ns: int) -> list[Fact]:
        """The facts, each about its request where that can be found. A judgement may come before the feed has seen the
        row of what it judges: that of a moment ago is waited for, about a second at most."""
        for _ in range(LOOKS_MAX):
            if not any(self._may_come(fact, taken.spans, now_ns) for fact in taken.facts):
                break
            await self._clock.sleep(LOOK_S)
        return [self._about(fact, taken.spans) for fact in taken.facts]

    def _may_come(self, fact: Fact, spans: dict[str, str], now_ns: int) -> bool:
        if not isinstance(fact, Evaluation) or fact.request or fact.reference or fact.response:
            return False
        place = (TRACE, f"{fact.trace_id}-{spans.get(fact.id, '')}")
        return fact.event_ns > now_ns - RECENT_NS and self._intake.known.find(place) is None

    def _about(self, fact: Fact, spans: dict[str, str]) -> Fact:
        """An evaluation that knows only where it was made is about the request sent from that span, or about the only
        one of that trace, if it is remembered."""
        if not isinstance(fact, Evaluation) or not fact.trace_id:
            return fact
        if fact.request or fact.reference or fact.response:
            return fact
        known = self._intake.known
        seen = known.find((TRACE, f"{fact.trace_id}-{spans.get(fact.id, '')}"))
        if seen is None:
            seen = known.find((TRACE, fact.trace_id))
            if seen is not None and seen.shares_trace:
                return fact
        return fact if seen is None else msgspec.structs.replace(fact, request=seen.id)


def take_traces(request: Any, source: str, now_ns: int, *, keep_content: bool) -> Taken:
    """Spans as facts, and the evaluations that they carry as events."""
    taken = Taken()
    for span, service in spans_of(request):
        try:
            taken.facts.append(to_span(span, service, source, now_ns, keep_content=keep_content))
        except Unfit as error:
            taken.reject(f"A span is not kept: {error.message}")
            continue
        taken.accepted += 1
        for event in events_of(span):
            # The span is kept all the same, so nothing is rejected; but its sender should hear of it.
            try:
                _take_evaluation(event, source, now_ns, taken)
            except Unfit as error:
                taken.warn(f"An evaluation of a span is not kept: {error.message}")
    return taken


def take_logs(request: Any, source: str, now_ns: int) -> Taken:
    """Evaluations as facts; the rest is rejected."""
    taken = Taken()
    for record in records_of(request):
        event = to_event(record)
        if event is None:
            taken.reject(NOT_LOGS)
            continue
        try:
            _take_evaluation(event, source, now_ns, taken)
            taken.accepted += 1
        except Unfit as error:
            taken.reject(f"An evaluation is not kept: {error.message}")
    return taken


def take_metrics(request: Any) -> Taken:
    """Nothing; every data point is rejected."""
    taken = Taken()
    points = count_points(request)
    if points:
        taken.reject(NOT_METRICS, points)
    return taken


def _take_evaluation(event: Event, source: str, now_ns: int, taken: Taken) -> None:
    fact = to_evaluation(event, source, now_ns)
    taken.facts.append(fact)
    if event.span_id:
        taken.spans[fact.id] = event.span_id
