"""The walk of one exchange: ingress → stages → intent → dispatch → settle → outcome, durable → egress.

The application that the data listener serves. Every admitted stage is settled exactly once on every path, and every
exchange with an intent gets exactly one final outcome. Errors of ours become bytes in `egress`, nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol, cast

import structlog

from andon.gateway import egress, metadata
from andon.gateway.bodies import Bodies, BodySink, is_drawn
from andon.gateway.course import Course
from andon.gateway.dialects import oip, openai
from andon.gateway.dispatch import Dispatcher
from andon.gateway.guarding import Guarding
from andon.gateway.idempotency import Entry, Idempotency, Stored
from andon.gateway.ingress import Ingress
from andon.gateway.meters import OTHER, Meters
from andon.gateway.recording import Recorder, RowLog
from andon.gateway.retries import read_retry_after
from andon.gateway.routing import BODY_BYTES_MAX, Route, Router, Routes
from andon.gateway.settings import GatewaySettings
from andon.gateway.shadows import Shadows
from andon.gateway.streams import Stream
from andon.gateway.targets import Credentials, ReleaseTargets, Targets
from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Permanent, Refused, Transient, Unlearnt
from andon.kernel.exchange import Dialect, Exchange
from andon.kernel.guarding import Guards
from andon.kernel.ids import Ids
from andon.kernel.pending import PENDING, Arranging
from andon.kernel.ports import Answer, Learner, Reports, Stage, Upstream
from andon.kernel.random import Random
from andon.kernel.snapshot import BodiesEntry, Snapshot
from andon.wire.model import Header, Reply, Request

_logger = structlog.get_logger("andon.gateway")
_POLICY_HINT: Final = "Ask the owner of the factory for access."
_GONE: Final = 499  # the status of a client that left (nginx's convention)

Failed = tuple[AndonError, int, str]  # the refusal, how many stages had admitted, who refused


class Adopter(Protocol):
    """Whatever follows the snapshot; a `Stage` is one."""

    def adopt(self, snapshot: Snapshot) -> Callable[[], None]:
        """Build from a snapshot; raises `Refused`. The function returned puts it in force and never fails."""
        ...


class Drainable(Protocol):
    """A server that can finish what it has begun."""

    async def drain(self, timeout_s: float) -> object:
        """Stop accepting, answer what is in flight, close."""
        ...


class Parts:
    """What the gateway is built from, handed down by `app`."""

    def __init__(
        self,
        *,
        upstream: Upstream,
        log: RowLog,
        reports: Reports,
        credentials: Credentials,
        clock: Clock,
        ids: Ids,
        random: Random,
        meters: Meters | None = None,
        bodies: BodySink | None = None,
        learner: Learner | None = None,
        guards: Guards | None = None,
    ) -> None:
        self.guards = guards  # None = an endpoint with guards cannot be adopted
        self.meters = Meters() if meters is None else meters
        self.learner = learner  # None = what a stage does not know stays unknown until the next snapshot
        self.bodies = bodies  # None = none are recorded, whatever endpoints say
        self.upstream = upstream
        self.log = log
        self.reports = reports
        self.credentials = credentials
        self.clock = clock
        self.ids = ids
        self.random = random


class Gateway:
    """The data plane's application (wire `Application`).

    The first stage says who is asking. Only after it is a name looked up, so that a stranger learns nothing.
    """

    def __init__(self, stages: Sequence[Stage], parts: Parts, settings: GatewaySettings) -> None:
        self.settings = settings
        self.meters = parts.meters
        self.draining = False
        self.log = parts.log
        self._clock = parts.clock
        self._ids = parts.ids
        self._router = Router()
        self.targets = Targets(settings, parts.credentials)
        self._ingress = Ingress(parts.clock, parts.ids, self.meters)
        self._recorder = Recorder(parts.log, parts.clock, settings, self.meters)
        self._bodies = None if parts.bodies is None else Bodies(parts.bodies, parts.clock, self.meters)
        self._guarding = Guarding(parts.guards, self.meters)
        self._idempotency = Idempotency(parts.clock, settings)
        self._dispatcher = Dispatcher(
            parts.upstream,
            self.targets,
            self._recorder,
            parts.reports,
            clock=parts.clock,
            random=parts.random,
            settings=settings,
            meters=self.meters,
        )
        self._shadows = Shadows(
            parts.upstream,
            self.targets,
            self._recorder,
            clock=parts.clock,
            random=parts.random,
            settings=settings,
            meters=self.meters,
        )
        self._shadows.observers = tuple(
            stage.settle for stage in stages if getattr(stage, "settles_copies", False)
        )
        self._learner = parts.learner
        self._names = tuple(stage.name for stage in stages)
        self._stages = tuple(stages)
        # Up to the stage that says who is asking; what stands before it needs no name.
        known = self._names.index("identify") + 1 if "identify" in self._names else 1
        if known < len(stages) and getattr(stages[known], "at_the_door", False):
            known += 1  # whether it may be asked at all comes before what is wrong with it
        self._first = tuple(stage.admit for stage in stages[:known])
        self._rest = tuple(stage.admit for stage in stages[known:])
        # By how many stages had admitted: what must be settled, last one first.
        self._settles = tuple(
            tuple(stage.settle for stage in reversed(stages[:count])) for count in range(len(stages) + 1)
        )
        self.adopters: tuple[Adopter, ...] = (self._router, self.targets, self._guarding, *stages)

    @property
    def snapshot(self) -> Snapshot | None:
        """The snapshot in force."""
        return self._router.routes.snapshot

    async def handle(self, request: Request, reply: Reply) -> None:
        """Answer one request. Cancelled when the client leaves."""
        routes = self._router.routes
        route = routes.paths.get(request.path) or routes.find(request.path)
        if route is None or request.method != b"POST":
            await self._inform(request, reply, routes)
            return
        x = self._ingress.open(request)
        meters = self.meters
        meters.in_flight += 1
        try:
            await self._walk(x, route, routes, reply)
        finally:
            meters.in_flight -= 1

    def body_bytes_max(self, method: bytes, path: bytes, headers: Sequence[Header]) -> int:
        """The largest body that a request may carry: its endpoint's own where the path names it."""
        routes = self._router.routes
        route = routes.paths.get(path) or routes.find(path)
        if route is None or method != b"POST":
            return BODY_BYTES_MAX
        return routes.body_bytes_max if route.endpoint is None else route.endpoint.body_bytes_max

    def refuse(self, path: bytes, status: int, code: str, message: str) -> tuple[bytes, bytes]:
        """A refusal of the protocol itself, in the shape of the path's dialect."""
        error = (
            Transient(code, message, status=status)
            if status >= 500
            else Refused(code, message, status=status)
        )
        self.meters.refuse(code)
        return egress.error_head(self._ids.next(), error), egress.error_body(egress.dialect_of(path), error)

    async def drain(self, server: Drainable) -> None:
        """Finish: say so on /readyz, answer what is in flight, cancel copies, make every row durable."""
        self.draining = True
        if self.settings.drain_notice_s > 0:
            await self._clock.sleep(self.settings.drain_notice_s)
        await server.drain(self.settings.drain_timeout_s)
        await self._shadows.close()
        try:
            await self.log.committed()
        except Transient as error:
            _logger.error("rows not durable at drain", reason=str(error))

    async def _walk(self, x: Exchange, route: Route, routes: Routes, reply: Reply) -> None:
        unread = self._ingress.read(x, route, routes)
        known = len(self._first)
        failed = self._admit(x, self._first, 0)
        if failed is not None:
            failed = await self._learn(x, failed)
        if failed is None:
            error = unread or _misfit(x, route)
            if error is not None:
                failed = (error, known, "ingress")
        if failed is not None:
            self._refuse(x, reply, failed)
        elif x.idempotency_key is None or x.stream:
            await self._serve(x, route, reply, None)
        else:
            await self._once(x, route, reply)

    async def _learn(self, x: Exchange, failed: Failed) -> Failed | None:
        """Ask once for what the first stage could not know, then admit again: a signing key that is new."""
        refusal = failed[0]
        if (
            self._learner is None
            or not isinstance(refusal, Unlearnt)
            or not await self._learner.learn(refusal)
        ):
            return failed
        return self._admit(x, self._first, 0)

    async def _once(self, x: Exchange, route: Route, reply: Reply) -> None:
        """A request with an Idempotency-Key: answered from memory, or served and remembered."""
        entry = self._idempotency.begin(x)
        known = len(self._first)
        if isinstance(entry, AndonError):
            self._refuse(x, reply, (entry, known, "idempotency"))
            return
        if entry.answer is not None:
            x.status, x.error_code = entry.answer.status, "idempotent_replay"
            self._settle(x, known)
            self._recorder.refusal(x, "idempotency")
            self.meters.count("idempotent_replay")
            head = b"x-request-id: %b\r\nidempotent-replayed: true\r\n" % x.id.encode() + entry.answer.head
            reply.send(entry.answer.status, head, entry.answer.body)
            return
        try:
            await self._serve(x, route, reply, entry)
        finally:
            self._idempotency.release(entry)

    async def _serve(self, x: Exchange, route: Route, reply: Reply, entry: Entry | None) -> None:
        failed = self._admit(x, self._rest, len(self._first))
        while failed is not None and failed[0] is PENDING:
            failed = await self._arrange(x, failed[1])
        if failed is not None:
            self._refuse(x, reply, failed)
            return
        everyone = len(self._names)
        if x.endpoint is not None and x.endpoint.guards:
            refused = await self._guard(x)
            if refused is not None:
                self._refuse(x, reply, (refused, everyone, "guards"))
                return
        assigned = self._assign(x, route)
        if assigned is None:
            missing = Transient(
                "no_release", f"The model '{x.name}' has no release that can serve.", retry_after_s=2
            )
            self._refuse(x, reply, (missing, everyone, "dispatch"))
            return
        if x.barred is not None and f"{assigned.endpoint.name}/{assigned.id}" in x.barred:
            kept = Refused("policy_denied", "This is not allowed.", hint=_POLICY_HINT, status=403)
            self._refuse(x, reply, (kept, everyone, "policy"))
            return
        course = Course(x, reply, assigned)
        try:
            problem = self._recorder.admits(course)
            if problem is None:
                self._recorder.intent(course)
        except Transient as error:
            problem = error
        if problem is not None:
            self._refuse(x, reply, (problem, everyone, "ledger"))
            return
        recording = assigned.endpoint.recording
        if recording is None or recording.bodies is None:
            await self._answer(course, entry)
        else:
            await self._answer_recorded(course, entry, recording.bodies)

    async def _guard(self, x: Exchange) -> AndonError | None:
        """Let the endpoint's guards judge a request that every stage has admitted."""
        try:
            return await self._guarding.request(x)
        except asyncio.CancelledError:
            x.status, x.error_code = _GONE, "client_gone"
            self._settle(x, len(self._names))
            self._recorder.refusal(x, "guards")
            raise
        except Exception as bug:  # counted and logged in _bug; what was not judged does not go on
            return self._bug(x, bug)

    async def _answer_recorded(self, course: Course, entry: Entry | None, kept: BodiesEntry) -> None:
        """As `_answer`, and then hand the bodies on, if this exchange is among those drawn."""
        bodies = self._bodies
        if bodies is None or not is_drawn(course.exchange.id, kept.share):
            await self._answer(course, entry)
            return
        course.keeping = kept
        try:
            await self._answer(course, entry)
        finally:
            bodies.keep(course)

    async def _answer(self, course: Course, entry: Entry | None) -> None:
        """Dispatch, settle and record an exchange that has its intent, then answer it."""
        x = course.exchange
        strict = course.assigned.endpoint.durability == "strict"
        answer: Answer | None = None
        error: AndonError | None = None
        try:
            if strict:
                await self._recorder.committed(course)
            if x.shadow is not None:
                self._shadows.copy(x)
            if x.stream:
                course.stream = self._stream(course)
            answer = await self._asked(course)
            course.response_bytes = len(answer.body)
        except AndonError as raised:
            error = raised
        except (asyncio.CancelledError, ConnectionResetError) as left:
            self._conclude(course, _GONE, "client_gone")
            if isinstance(left, asyncio.CancelledError):
                raise
            return
        except Exception as bug:  # counted and logged in _bug; the client gets a 500, the ledger its row
            error = self._bug(x, bug)
        if answer is not None and answer.status >= 300:
            error = _told(answer)
        unrecorded = self._conclude(
            course, 200 if error is None else error.status, "" if error is None else error.code
        )
        if unrecorded is None and course.assigned.endpoint.durability != "relaxed":
            try:
                await self._recorder.committed(course)
            except Transient as raised:
                unrecorded = raised
        self._emit(course, answer, unrecorded or error, entry if unrecorded is None else None)

    async def _asked(self, course: Course) -> Answer:
        """The model's answer, as far as guards let it through."""
        answer = await self._dispatcher.run(course)
        if course.exchange.guarded is None:
            return answer
        return await self._guarding.answer(course, answer)

    def _stream(self, course: Course) -> Stream:
        x = course.exchange
        stream = Stream(x, course.reply, partial(self._opening, course), self._clock, self.settings)
        if x.guarded is not None:
            stream.hold = self._guarding.hold(x)
        if course.keeping is not None and course.keeping.outputs:
            stream.kept, stream.kept_max = bytearray(), course.keeping.bytes_max
        return stream

    def _opening(self, course: Course) -> bytes:
        """The head of a stream. What this and earlier attempts took upstream is not the gateway's own time."""
        x = course.exchange
        added_s = x.upstream_started_at - x.started_at - course.upstream_s
        return egress.head(course, b"text/event-stream; charset=utf-8", max(0.0, added_s))

    def _emit(
        self, course: Course, answer: Answer | None, error: AndonError | None, entry: Entry | None
    ) -> None:
        x, reply, stream = course.exchange, course.reply, course.stream
        now = self._clock.monotonic()
        added_s = now - x.started_at - course.upstream_s
        self.meters.added.observe(added_s)
        if stream is not None and (stream.committed or error is None):
            if error is None:
                stream.finish()
            else:
                stream.cut(error)
            return
        if error is None and answer is not None:
            head = egress.head(course, egress.content_type_of(answer.headers), added_s)
            head += egress.passed(answer.headers)
            course.sent, course.sent_headers = answer.body, answer.headers
            reply.send(answer.status, head, answer.body)
            if entry is not None:
                kind = b"content-type: %b\r\n" % egress.content_type_of(answer.headers)
                self._idempotency.keep(
                    entry, Stored(answer.status, kind + egress.passed(answer.headers), answer.body)
                )
            return
        assert error is not None  # there is an answer or an error
        body = egress.error_body(x.dialect, error)
        if answer is not None and error.code.startswith("upstream_") and error.status == answer.status:
            own = openai.is_error if x.dialect is Dialect.OPENAI else oip.is_error
            body = answer.body if own(answer.body) else body
        course.sent, course.sent_headers = body, egress.JSON_HEADERS
        reply.send(error.status, egress.error_lines(x, error, course), body)

    def _conclude(self, course: Course, status: int, code: str) -> Transient | None:
        """Settle every stage and write the final row; the ledger's error if the row could not be written."""
        x = course.exchange
        x.status = status
        if status >= 400 and not (x.error_code and code.startswith("upstream_")):
            x.error_code = code
        if course.stream is not None:
            course.stream.count_usage()
            course.response_bytes = course.stream.sent_bytes or course.response_bytes
        self._settle(x, len(self._names))
        self.meters.answered(course.assigned.endpoint.name, course.served.id, status)
        try:
            self._recorder.outcome(course, final=True, blamed=course.blamed and status != _GONE)
        except Transient as error:
            self.meters.count("outcome_row_lost")
            return error
        return None

    def _admit(
        self, x: Exchange, admits: tuple[Callable[[Exchange], AndonError | None], ...], before: int
    ) -> Failed | None:
        admitted = before
        try:
            for admit in admits:
                error = admit(x)
                if error is not None:
                    return error, admitted, self._names[admitted]
                admitted += 1
        except (
            Exception
        ) as bug:  # counted and logged in _bug; a stage that breaks must not leave others unsettled
            return self._bug(x, bug), admitted, self._names[admitted]
        return None

    async def _arrange(self, x: Exchange, admitted: int) -> Failed | None:
        """Let a stage ask for what it cannot decide from memory, then go on behind it."""
        stage = cast("Arranging", self._stages[admitted])
        try:
            error = await stage.arrange(x)
        except asyncio.CancelledError:
            x.status, x.error_code = _GONE, "client_gone"
            self._settle(x, admitted)
            self._recorder.refusal(x, self._names[admitted])
            raise
        except Exception as bug:  # counted and logged in _bug; as in _admit
            error = self._bug(x, bug)
        if error is not None:
            return error, admitted, self._names[admitted]
        return self._admit(x, self._rest[admitted + 1 - len(self._first) :], admitted + 1)

    def _settle(self, x: Exchange, admitted: int) -> None:
        if x.guarded is not None:
            self._guarding.settle(x)
        for settle in self._settles[admitted]:
            try:
                settle(x)
            except Exception as bug:  # counted and logged in _bug; the other stages must still be settled
                self._bug(x, bug)

    def _assign(self, x: Exchange, route: Route) -> ReleaseTargets | None:
        """The release that serves: the one that the path pins, else the chain's, else the stable one."""
        endpoint = x.endpoint
        assert endpoint is not None  # _misfit refused it otherwise
        pinned = route.release
        if pinned is not None:
            x.release, x.arm, x.pinned, x.propensity, x.shadow = pinned, pinned.arm, True, 1.0, None
        table = self.targets.table
        if x.release is None:
            assigned = table.stable.get(endpoint.name)
            if assigned is not None:
                x.release = next(release for release in endpoint.releases if release.id == assigned.id)
                x.arm = assigned.arm
            return assigned
        return table.releases.get((endpoint.name, x.release.id))

    def _refuse(self, x: Exchange, reply: Reply, failed: Failed) -> None:
        """Answer an exchange that was never dispatched."""
        error, admitted, stage = failed
        x.status, x.error_code = error.status, error.code
        lines = egress.error_lines(x, error, None)
        self._settle(x, admitted)
        self._recorder.refusal(x, stage)
        self.meters.refuse(error.code)
        self.meters.answered(OTHER if x.endpoint is None else x.endpoint.name, "", error.status)
        reply.send(error.status, lines, egress.error_body(x.dialect, error))

    async def _inform(self, request: Request, reply: Reply, routes: Routes) -> None:
        """Answer what is no inference."""
        dialect = egress.dialect_of(request.path)
        error = metadata.known(request.path, request.method, routes)
        told = metadata.open_answer(request.path, routes, draining=self.draining) if error is None else None
        x = self._ingress.open(request)
        x.dialect, x.snapshot = dialect, routes.snapshot
        x.name = metadata.asked_about(request.path)[0]
        if told is None:
            if error is None:
                failed = self._admit(x, self._first, 0)
                if failed is not None:
                    failed = await self._learn(x, failed)
                if failed is not None:
                    self._refuse(x, reply, failed)
                    return
                answer = metadata.answer(request.path, x, routes, self.targets)
                x.status = answer.status if isinstance(answer, AndonError) else answer[0]
                self._settle(x, len(self._first))
                error, told = (answer, None) if isinstance(answer, AndonError) else (None, answer)
            if error is not None:
                self.meters.refuse(error.code)
                reply.send(error.status, egress.error_head(x.id, error), egress.error_body(dialect, error))
                return
        assert told is not None  # it is that or an error
        head = b"content-type: application/json\r\nx-request-id: %b\r\n" % x.id.encode()
        reply.send(told[0], head, told[1])

    def _bug(self, x: Exchange, bug: Exception) -> Permanent:
        """Something was raised that nobody foresaw: log it in full, tell the client only where to look."""
        self.meters.count("bug")
        _logger.error("unexpected exception", request_id=x.id, exc_info=bug)
        return Permanent(
            "internal_error", "Something went wrong inside the gateway.", hint=f"Quote request {x.id}."
        )


def _misfit(x: Exchange, route: Route) -> Refused | None:
    """Why a request that was read cannot be served by what its name stands for."""
    endpoint = x.endpoint
    if endpoint is None:
        return metadata.unknown_model(x.name)
    if endpoint.protocol != route.dialect:
        other = "OpenAI" if endpoint.protocol == "openai" else "Open Inference Protocol v2"
        return Refused(
            "wrong_protocol",
            f"The model '{x.name[:200]}' speaks the {other} protocol.",
            hint="Call its own paths.",
        )
    if len(x.body) > endpoint.body_bytes_max:
        return Refused(
            "body_too_large",
            f"The body has {len(x.body)} bytes; '{endpoint.name}' takes at most {endpoint.body_bytes_max}.",
            status=413,
        )
    if x.dialect is Dialect.OIP and route.name == x.name and route.endpoint is None:
        return metadata.unknown_version(x.name, route.version)
    return None


def _told(answer: Answer) -> AndonError:
    """What a client is told of an upstream's error: its status where that is the client's business."""
    status = answer.status
    if status == 429 or status >= 500:
        code = "upstream_rate_limited" if status == 429 else "upstream_error"
        wait = read_retry_after(answer.headers)
        return Transient(
            code, f"The model answered {status}.", status=status, retry_after_s=1.0 if wait is None else wait
        )
    if status in (401, 403, 404, 405) or status < 400:
        return Permanent(
            "upstream_misconfigured",
            "The model's provider does not accept the gateway's requests.",
            hint="The operator finds the reason in the events of the endpoint.",
            status=502,
        )
    return Refused("upstream_refused", f"The model refused the request with status {status}.", status=status)
