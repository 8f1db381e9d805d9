"""Attempts: one exchange sent to targets until one answers, within its deadline, its budget and what is safe.

Called by `gateway/gateway` once the chain has admitted an exchange. Fills in how it went and writes the rows of every
attempt but the last. It must never send again what a client has begun to receive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from andon.gateway.answers import Received, note_opening, whole
from andon.gateway.course import Course
from andon.gateway.dialects import openai
from andon.gateway.hedging import Hedging
from andon.gateway.meters import Meters
from andon.gateway.recording import Recorder
from andon.gateway.retries import (
    PASSING,
    RETRY_AFTER_MAX_S,
    Fault,
    backoff_s,
    fault_of_error,
    fault_of_status,
    read_retry_after,
    with_status,
)
from andon.gateway.settings import GatewaySettings
from andon.gateway.targets import ReleaseTargets, Target, Targets, pick
from andon.kernel.clock import Clock
from andon.kernel.errors import Transient
from andon.kernel.exchange import Dialect, Exchange
from andon.kernel.labels import RANKS
from andon.kernel.ports import Answer, Reports, Upstream
from andon.kernel.random import Random
from andon.kernel.reports import TargetHealth
from andon.kernel.trace import pass_on, pass_on_xray
from andon.wire.model import Header


class Attempts:
    """What has been tried for one exchange that needed more than one attempt."""

    __slots__ = ("failures", "fault", "sources", "tried")

    def __init__(self, course: Course, targets: Targets) -> None:
        self.tried: list[Target] = []
        self.failures = 0
        self.fault: Fault | None = None
        self.sources = _fallbacks(course, targets)


class Dispatcher:
    """Sends exchanges. One per gateway."""

    def __init__(
        self,
        upstream: Upstream,
        targets: Targets,
        recorder: Recorder,
        reports: Reports,
        *,
        clock: Clock,
        random: Random,
        settings: GatewaySettings,
        meters: Meters,
    ) -> None:
        self._send = upstream.send
        self._targets = targets
        self._recorder = recorder
        self._reports = reports
        self._clock = clock
        self._now = clock.monotonic
        self._random = random
        self._settings = settings
        self._meters = meters
        self._hedging = Hedging(self._attempt, targets, recorder, clock=clock, random=random, meters=meters)

    async def run(self, course: Course) -> Answer:
        """The answer to give, errors of the upstream included; raises `Transient` when there is none.

        Sets `provider_error` when an attempt at the assigned release failed by its fault, even if another served:
        gates must not be blinded by retries. Connections lost before an answer are forgiven once a retry succeeds.
        """
        attempts: Attempts | None = None
        x = course.exchange
        self._targets.table.budgets[course.assigned.endpoint.name].earn()
        target = pick(course.served.targets, (), self._now(), self._random)
        while True:
            error: Transient | None = None
            answer: Answer | None = None
            if target is None:
                error = self._no_target(course)
                fault = Fault(code="no_target", blame=True, again=True, same_again=False, breaks=False)
                retry_headers: Sequence[Header] = ()
            else:
                x.target = target.entry.id
                try:
                    if attempts is None and course.served.endpoint.hedge_after_ms and course.stream is None:
                        answer, target = await self._raced(course, target)
                    else:
                        answer = await self._attempt(course, target)
                    if answer.status < 300:
                        self._good(target)
                        course.blamed = False
                        if course.served is course.assigned:
                            x.provider_error = course.lasting
                        return answer
                    retry_headers = answer.headers
                    judged = fault_of_status(answer.status, read_retry_after(retry_headers))
                    assert judged is not None  # the status is 300 or more
                    fault = judged
                except Transient as raised:
                    error = with_status(raised)
                    committed = course.stream is not None and course.stream.committed
                    fault = fault_of_error(error, answered=committed)
                self._bad(course, target, fault)
            if attempts is None:
                attempts = Attempts(course, self._targets)
            course.blamed = fault.blame
            if fault.blame and course.served is course.assigned:
                x.provider_error = True
                course.lasting = course.lasting or fault.code not in PASSING
            x.error_code = fault.code
            upcoming = await self._next(course, attempts, target, fault, answer)
            if upcoming is None:
                if answer is not None:
                    return answer
                assert error is not None  # an attempt ends in one or the other
                raise error
            target = upcoming

    async def _raced(self, course: Course, target: Target) -> tuple[Answer, Target]:
        """The first attempt of an endpoint that hedges. Raises as `_attempt` does, for the attempt that counts."""
        after_s = course.served.endpoint.hedge_after_ms / 1000
        outcome, counted = await self._hedging.run(course, target, after_s)
        if isinstance(outcome, Transient):
            raise outcome
        return outcome, counted

    async def _attempt(self, course: Course, target: Target) -> Answer:
        x, endpoint = course.exchange, course.served.endpoint
        headers: list[Header] = [
            *target.headers,
            (b"content-type", x.content_type),
            (b"x-request-id", x.id.encode()),
            (b"traceparent", pass_on(x.id, x.attempt, x.traceparent)),
        ]
        if x.header_length is not None or x.trace is not None or x.onward is not None:
            headers += _onward(x)
        x.told = x.queue_us = None
        stream = course.stream
        sink = None if stream is None else stream.sink()
        body = _body(course, target)
        if x.guarded is not None:
            x.guarded.sent(x, body)
        x.upstream_started_at = self._now()
        target.breaker.begin()
        target.in_flight += 1
        try:
            answer: Answer = await self._send(
                target.entry,
                b"POST",
                target.paths[x.operation],
                headers,
                body,
                connect_timeout_s=endpoint.connect_timeout_s,
                first_byte_timeout_s=endpoint.first_byte_timeout_s,
                idle_timeout_s=endpoint.idle_timeout_s,
                deadline_at=x.deadline_at,
                sink=sink,
            )
            x.queue_us = 0
            if answer.opening is not None:
                note_opening(x, answer.opening)
            return whole(course, answer, sink)
        except Transient:
            if sink is not None and sink.done:
                # The whole answer has come; how the connection ended after it changes nothing.
                return Received(200, sink.headers, b"")
            raise
        except BaseException:
            target.breaker.abandon()  # the client left: that says nothing about the target
            raise
        finally:
            target.in_flight -= 1
            x.upstream_ended_at = self._now()
            course.upstream_s += x.upstream_ended_at - x.upstream_started_at

    async def _next(
        self,
        course: Course,
        attempts: Attempts,
        target: Target | None,
        fault: Fault,
        answer: Answer | None,
    ) -> Target | None:
        """The target of the next attempt, after any wait; None when the last word has been spoken."""
        x = course.exchange
        stream = course.stream
        if not fault.again or (stream is not None and stream.committed):
            return None
        if target is not None:
            attempts.tried.append(target)
            attempts.failures += 1
        upcoming, wait_s, served = self._choose(course, attempts, target, fault)
        if upcoming is None or served is None or x.attempt + 1 >= self._settings.attempts_max:
            return None
        if self._now() + wait_s >= x.deadline_at or wait_s > RETRY_AFTER_MAX_S:
            return None
        if target is not None:
            if not self._targets.table.budgets[course.assigned.endpoint.name].spend():
                self._meters.count("retry_budget_spent")
                return None
            x.status = answer.status if answer is not None else 0
            if x.guarded is not None:
                x.guarded.note(x)
            self._recorder.outcome(course, final=False, blamed=fault.blame)
        if wait_s > 0:
            await self._clock.sleep(wait_s)
        course.served = served
        if target is not None:
            x.attempt += 1
            self._recorder.intent(course)
            if course.assigned.endpoint.durability == "strict":
                await self._recorder.committed(course)
            self._meters.count("retry")
        x.status, x.error_code = 0, ""
        return upcoming

    def _choose(
        self, course: Course, attempts: Attempts, target: Target | None, fault: Fault
    ) -> tuple[Target | None, float, ReleaseTargets | None]:
        """Other targets of the release first, then the same one after a pause, then the fallbacks."""
        served, now = course.served, self._now()
        if attempts.failures <= served.endpoint.retries:
            fresh = (
                pick(served.targets, attempts.tried, now, self._random) if len(served.targets) > 1 else None
            )
            if fresh is not None:
                return fresh, 0.0, served
            if target is not None and fault.same_again and target.admits(now):
                return target, backoff_s(attempts.failures, fault, self._random.uniform()), served
        for source in attempts.sources:
            fresh = pick(source.targets, (), now, self._random)
            if fresh is not None:
                attempts.failures, attempts.tried = 0, []
                self._meters.count("fallback")
                return fresh, 0.0, source
        return None, 0.0, None

    def _good(self, target: Target) -> None:
        if target.breaker.succeed():
            self._tell(target, healthy=True, reason="answered")

    def _bad(self, course: Course, target: Target, fault: Fault) -> None:
        if not fault.breaks:
            target.breaker.abandon()
            if fault.code == "upstream_refused" and target.breaker.succeed():
                self._tell(target, healthy=True, reason="answered")  # a refusal is a sign of life
        elif target.breaker.fail(self._now()):
            self._tell(target, healthy=False, reason=fault.code)

    def _tell(self, target: Target, *, healthy: bool, reason: str) -> None:
        self._meters.count("breaker_closed" if healthy else "breaker_opened")
        self._reports.send(
            TargetHealth(
                endpoint=target.endpoint,
                target=target.entry.id,
                gateway=self._settings.gateway,
                at_ns=self._clock.now_ns(),
                healthy=healthy,
                reason=reason,
            )
        )

    def _no_target(self, course: Course) -> Transient:
        now = self._now()
        waits = [target.breaker.opens_in_s(now) for target in course.served.targets if not target.broken]
        return Transient(
            "no_target",
            f"No target of '{course.served.id}' can serve now.",
            hint="Try again shortly.",
            retry_after_s=max(1.0, min(waits)) if waits else 5.0,
        )


def _fallbacks(course: Course, targets: Targets) -> Iterator[ReleaseTargets]:
    """Where an exchange may go when its release cannot serve: the stable release, then other endpoints, in order."""
    table, assigned, barred = targets.table, course.assigned, course.exchange.barred
    stable = table.stable.get(assigned.endpoint.name)
    if stable is not None and stable is not assigned and not _kept_away(stable, barred):
        yield stable
    rank = RANKS[course.exchange.label]
    for name in assigned.endpoint.fallbacks:
        other = table.stable.get(name)
        if other is not None and not _kept_away(other, barred) and rank <= RANKS[other.endpoint.label_max]:
            yield other


def _kept_away(release: ReleaseTargets, barred: frozenset[str] | None) -> bool:
    """Whether a policy keeps the exchange away from a release."""
    return barred is not None and f"{release.endpoint.name}/{release.id}" in barred


def _onward(x: Exchange) -> Iterator[Header]:
    """Headers of the client that the upstream needs."""
    if x.header_length is not None:
        yield b"inference-header-content-length", b"%d" % x.header_length
    if x.trace is not None and x.trace.is_xray:
        yield b"x-amzn-trace-id", pass_on_xray(x.id, x.attempt, x.trace)
    if x.onward is not None:
        yield from x.onward


def _body(course: Course, target: Target) -> bytes:
    """The bytes to send: the client's own unless the upstream knows another name or must be asked for usage."""
    x = course.exchange
    if x.dialect is Dialect.OIP:
        return x.body
    rename = target.model != x.name
    inject = course.stream is not None and not x.wants_usage
    if not rename and not inject:
        return x.body
    return openai.edit(x.body, model=target.model if rename else None, include_usage=inject)
