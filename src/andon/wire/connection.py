"""One client connection of the server: bytes in, requests out, one answer at a time, in order.

Between the transport and the application; the hot path of everything. It never trusts a length, a rate or a promise of
the client: each has a limit in `wire.limits` that is enforced here. Half-closing counts as leaving.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, cast

import httptools

from andon.wire.census import Census
from andon.wire.framing import FRAMING, Rejection, read_framing, split_target
from andon.wire.model import Header, Request
from andon.wire.reply import ABORTED, DONE, Outlet, WireReply

_BETWEEN: Final = 0  # what is being read: nothing yet, a head, a body, or what nobody wants any more
_HEAD: Final = 1
_BODY: Final = 2
_DEAF: Final = 3

_SLICE_BYTES: Final = 16 * 1024  # fed to the parser at once, so that pipelined requests are noticed in time


class Connection:
    """Parses, queues, answers and times out. Parser callbacks are the methods named `on_*`."""

    __slots__ = (
        "address",
        "application",
        "body",
        "body_is_due",
        "body_max",
        "bytes_in",
        "census",
        "current",
        "expects_continue",
        "fresh",
        "head_max",
        "headers",
        "held",
        "is_http10",
        "length",
        "limits",
        "lingering",
        "loop",
        "mark",
        "method",
        "moved",
        "outlet",
        "parser",
        "path",
        "paused_reading",
        "peer",
        "query",
        "queue",
        "queued_bytes",
        "reading",
        "rejection",
        "seen",
        "special",
        "target",
        "task",
        "transport",
        "write_mark",
        "write_size",
    )

    transport: asyncio.Transport
    outlet: Outlet

    def __init__(self, census: Census, loop: asyncio.AbstractEventLoop) -> None:
        self.census = census
        self.limits = census.limits
        self.application = census.application
        self.loop = loop
        self.address = ""
        self.peer = ""
        self.parser = httptools.HttpRequestParser(self)
        self.reading = _BETWEEN
        self.fresh = True  # no message has arrived yet
        self.mark = census.now  # when `reading` began
        self.task: asyncio.Task[None] | None = None
        self.current: WireReply | None = None
        self.queue: deque[WireReply] = deque()  # bounded: reading pauses at pipelined_max
        self.rejection: Rejection | None = None  # to be answered behind the queue
        self.queued_bytes = 0
        self.paused_reading = False
        self.held: memoryview | None = None  # received, not parsed yet: the rest of one read
        self.lingering = -1  # bytes thrown away after a refusal; -1 = not refused
        self.write_mark = 0.0
        self.write_size = 0
        self.head_max = census.limits.head_bytes_max
        self.bytes_in = 0  # of the head so far, then of the body with its framing
        self.target = b""
        self.headers: list[Header] = []
        self.special: list[Header] = []
        self.body: bytes | bytearray = b""
        self.length = 0
        self.seen = 0
        self.moved = 0.0
        self.body_is_due = False
        self.expects_continue = False
        self.is_http10 = False

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the connection or refuse it for its number."""
        transport = cast("asyncio.Transport", transport)  # uvloop's has the methods, not the type
        self.transport = transport
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.address = peer[0]
            self.peer = f"{peer[0]}:{peer[1]}"
        self.outlet = Outlet(transport, self.loop)
        self.outlet.draining = self.census.draining
        transport.set_write_buffer_limits(high=self.limits.write_buffer_bytes)
        full = self.census.enter(self, self.address)
        if full:
            self._reject(Rejection(503, full, "The server has as many connections as it may have."))
        elif self.census.gatekeeper is not None and self.census.gatekeeper.bars(self.peer):
            self._reject(
                Rejection(429, "penalised", "This address has sent too many requests that had to be refused.")
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left or the answer is complete: forget everything."""
        self._leave()
        self.census.leave(self, self.address)

    def eof_received(self) -> None:
        """The client will send no more; a half-open client cannot be told from one that left, so it has left."""
        self._leave()

    def _leave(self) -> None:
        self._forget_body()
        self.reading = _DEAF
        self.held = None
        self.expects_continue = False
        self.rejection = None
        for reply in self.queue:
            reply.gone = True
        self.queue.clear()
        current = self.current
        if current is not None:
            current.gone = True
            if self.task is not None and current.stage != DONE:
                self.task.cancel()
        self.outlet.release(ConnectionResetError("The client has left."))

    def pause_writing(self) -> None:
        """More waits for the client than it should: `writable` holds, and the clock for a slow reader starts."""
        self.outlet.paused = True
        self.write_mark = self.census.now
        self.write_size = self.transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.outlet.paused = False
        self.outlet.release()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, in slices so that every bound is looked at often enough."""
        size = len(data)
        if self.held is not None:
            # A transport may deliver once more after pause_reading; it is one read more, so still bounded.
            self.held = memoryview(bytes(self.held) + data)
        elif size > _SLICE_BYTES:
            self._feed_slices(memoryview(data))
        elif self.reading == _DEAF:
            self._discard(size)
        else:
            self._feed(data, size)

    def _feed(self, data: bytes | memoryview, size: int) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade()
            rest = memoryview(data)[upgrade.args[0] :]
            if len(rest) and self.reading != _DEAF:
                self._feed(rest, len(rest))
        except httptools.HttpParserError as error:
            if self.reading != _DEAF:
                self._reject(self._judge(error))
        else:
            if self.reading == _HEAD or self.reading == _BODY:
                self.bytes_in += size
                self._check_size()

    def _judge(self, error: httptools.HttpParserError) -> Rejection:
        """What stopped the parser: our own refusal, a bug in a callback, or bytes that are not HTTP/1.1."""
        cause = error.__context__
        if isinstance(cause, Rejection):
            return cause
        if isinstance(error, httptools.HttpParserCallbackError) and isinstance(cause, Exception):
            self.loop.call_exception_handler(
                {"message": "A request could not be judged.", "exception": cause}
            )
            return Rejection(500, "internal", "The server failed to judge the request; its log says why.")
        return Rejection(400, "malformed_request", f"This is not valid HTTP/1.1: {error}.")

    def _ignore_upgrade(self) -> None:
        """The offer to upgrade is not taken up: go on as HTTP/1.1, with a parser that knows of no offer.

        llhttp ends such a message at its head. If it has a body, that is read by a second parser, which is shown a
        plain head of the same length; the connection is then closed after the answer.
        """
        if not self.body_is_due:
            self.parser = httptools.HttpRequestParser(self)
            return
        self.body_is_due = False
        self.parser = httptools.HttpRequestParser(_BodyOnly(self))
        length = b"transfer-encoding: chunked" if self.length < 0 else b"content-length: %d" % self.length
        self.parser.feed_data(b"POST / HTTP/1.1\r\nconnection: close\r\n%b\r\n\r\n" % length)

    def _feed_slices(self, data: memoryview) -> None:
        at, end = 0, len(data)
        while at < end:
            if self.reading == _DEAF:
                self._discard(end - at)
                return
            if self.paused_reading:
                self.held = data[at:]
                return
            piece = data[at : at + _SLICE_BYTES]
            self._feed(piece, len(piece))
            at += _SLICE_BYTES

    def _check_size(self) -> None:
        """Limits that hold while a message is incomplete; a complete head is measured exactly elsewhere."""
        if self.reading == _HEAD:
            if self.bytes_in > self.head_max + _SLICE_BYTES:
                self._reject(Rejection(431, "head_too_large", "The request line and headers are too large."))
        elif self.length < 0:
            size = len(self.body)
            if self.bytes_in - size > size + self.limits.chunk_overhead_bytes_max + _SLICE_BYTES:
                self._reject(
                    Rejection(400, "chunk_overhead", "The chunks are mostly framing; send larger ones.")
                )

    def _discard(self, size: int) -> None:
        if self.lingering >= 0:
            self.lingering += size
            if self.lingering > self.limits.linger_bytes_max:
                self.transport.abort()

    # The parser's side.

    def on_message_begin(self) -> None:
        """The first byte of a request line."""
        self.fresh = False
        self.reading = _HEAD
        self.mark = self.census.now
        self.bytes_in = 0
        self.target = b""
        self.headers = []
        self.special = []
        self.body = b""

    def on_url(self, target: bytes) -> None:
        """A piece of the request target."""
        self.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which nobody here needs and which must not pass for a header."""
        if self.reading != _HEAD:
            return
        name = name.lower()
        if name in FRAMING:
            self.special.append((name, value))
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is there: judge it before anything of the body is read."""
        parser = self.parser
        self.method = parser.get_method()
        version = parser.get_http_version()
        if len(self.headers) > self.limits.headers_max:
            raise Rejection(431, "too_many_headers", "The request has too many headers.")
        if self.bytes_in + _SLICE_BYTES > self.head_max:
            self._measure_head()
        self.length, expects_continue, offers_upgrade = read_framing(self.method, version, self.special)
        target = self.target
        if target.startswith(b"/") and b"#" not in target:
            self.path, _, self.query = target.partition(b"?")
        else:
            self.path, self.query = split_target(self.method, target)
        self.is_http10 = version == "1.0"
        self.reading = _BODY
        self.bytes_in = 0
        if self.length:
            self._expect_body(expects_continue)
            self.body_is_due = offers_upgrade and parser.should_upgrade()

    def on_body(self, data: bytes) -> None:
        """A piece of the body: kept as it is if it is all there is, else collected."""
        if not self.body:
            self.body = data
        else:
            if isinstance(self.body, bytes):
                self.census.unread_bytes += len(self.body)
                self.body = bytearray(self.body)
            self.body += data
            self.census.unread_bytes += len(data)
            if self.census.unread_bytes > self.limits.unread_body_bytes_max:
                raise Rejection(503, "unread_bodies", "The server holds as many unfinished bodies as it may.")
        if len(self.body) > self.body_max:
            raise Rejection(413, "body_too_large", f"The body is larger than {self.body_max} bytes.")

    def on_message_complete(self) -> None:
        """A whole request: answer it, or let it wait for its turn."""
        if self.body_is_due:
            return  # a head that offers an upgrade: see _ignore_upgrade
        body = self.body
        if isinstance(body, bytearray):
            self._forget_body()
            body = bytes(body)
        self.body = b""
        self.reading = _BETWEEN
        self.expects_continue = False
        keep_alive = self.parser.should_keep_alive()
        request = Request(self.method, self.path, self.query, self.headers, body, self.peer)
        self.census.requests += 1
        reply = WireReply(self.outlet, request, keep_alive, self.is_http10)
        if not keep_alive:
            self.reading = _DEAF
        if self.task is None:
            self.current = reply
            self.task = self.loop.create_task(self._answer(reply))
        else:
            self._enqueue(reply)

    def _measure_head(self) -> None:
        size = len(self.target) + 16
        for name, value in self.headers:
            size += len(name) + len(value) + 4
        if size > self.head_max:
            raise Rejection(
                431, "head_too_large", f"The request line and headers exceed {self.head_max} bytes."
            )

    def _expect_body(self, expects_continue: bool) -> None:
        self.body_max = self.application.body_bytes_max(self.method, self.path, self.headers)
        if self.length > self.body_max:
            raise Rejection(413, "body_too_large", f"The body is larger than {self.body_max} bytes.")
        self.mark = self.moved = self.census.now
        self.seen = 0
        if expects_continue:
            self.expects_continue = True
            self._continue()

    def _continue(self) -> None:
        """Tell a client that waits for it to send its body, unless an earlier answer must come first."""
        if self.expects_continue and self.task is None:
            self.expects_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _forget_body(self) -> None:
        if isinstance(self.body, bytearray):
            self.census.unread_bytes -= len(self.body)
        self.body = b""

    def _enqueue(self, reply: WireReply) -> None:
        self.queue.append(reply)
        self.queued_bytes += len(reply.request.body)
        limits = self.limits
        if not self.paused_reading and (
            len(self.queue) >= limits.pipelined_max or self.queued_bytes > limits.read_ahead_bytes_max
        ):
            self.paused_reading = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        self.paused_reading = False
        self.mark = self.moved = self.census.now
        held, self.held = self.held, None
        if held is not None:
            self._feed_slices(held)
        if not self.paused_reading and not self.transport.is_closing():
            self.transport.resume_reading()

    # The application's side.

    async def _answer(self, reply: WireReply) -> None:
        """Answer this request and those that wait behind it, in order."""
        handle = self.application.handle
        try:
            while True:
                try:
                    await handle(reply.request, reply)
                except (
                    Exception
                ) as error:  # a bug of the application: told to the loop, counted, and one answer lost
                    self._fail(reply, error)
                if reply.stage != DONE:
                    self._fail(reply, None)
                if not reply.keep_alive or reply.gone:
                    self.reading = _DEAF
                    self.rejection = None
                    self.mark = self.census.now
                    self.transport.close()
                    return
                if not self.queue:
                    return
                self.current = reply = self.queue.popleft()
                self.queued_bytes -= len(reply.request.body)
                if self.paused_reading:
                    self._resume_reading()
        finally:
            self.task = self.current = None
            if self.reading == _BETWEEN:
                self.mark = self.census.now
                if self.outlet.draining:
                    self.drain()
            elif self.rejection is not None:
                self._write_rejection(self.rejection)
            elif self.expects_continue:
                self._continue()

    def _fail(self, reply: WireReply, error: Exception | None) -> None:
        if reply.gone or (error is None and reply.stage == ABORTED):
            return  # the client left, or the application aborted on purpose
        self.census.count("application")
        if error is not None:
            context = {"message": "An application raised while answering a request.", "exception": error}
            self.loop.call_exception_handler({**context, "transport": self.transport})
        if reply.stage:
            reply.abort()
        else:
            headers, body = self.application.refuse(
                reply.request.path, 500, "internal", "The server failed to answer; its log says why."
            )
            reply.send(500, headers, body)

    def _reject(self, rejection: Rejection) -> None:
        """Refuse in the name of the protocol, after the answers that are still due; nothing more is read."""
        self.census.count(rejection.code)
        if self.census.gatekeeper is not None:
            self.census.gatekeeper.note(self.peer, rejection.code)
        self._forget_body()
        self.reading = _DEAF
        self.held = None
        if self.task is None:
            self._write_rejection(rejection)
        else:
            self.rejection = rejection

    def _write_rejection(self, rejection: Rejection) -> None:
        path = self.target.partition(b"?")[0]
        self.rejection = None
        headers, body = self.application.refuse(path, rejection.status, rejection.code, rejection.message)
        reply = WireReply(self.outlet, Request(b"", path, b"", [], b"", ""), False, False)
        reply.send(rejection.status, headers, body)
        self.lingering = 0
        self.mark = self.census.now
        if self.paused_reading:
            self.paused_reading = False
            self.transport.resume_reading()
        if self.transport.can_write_eof():
            # Reading on for a while keeps the kernel from resetting the connection under the refusal.
            self.transport.write_eof()
        else:
            self.transport.close()

    # The server's side.

    def announce(self) -> None:
        """Say `connection: close` with the next answer."""
        self.outlet.draining = True

    def drain(self) -> None:
        """Close now if nothing is under way, else after the next answer."""
        self.outlet.draining = True
        if self.reading == _BETWEEN and self.task is None:
            self.reading = _DEAF
            self.mark = self.census.now
            self.transport.close()

    def abort(self) -> None:
        """Close at once and cancel the handler."""
        self._leave()
        self.transport.abort()

    def check(self, now: float) -> None:
        """Act on the time-out that has passed, if any; called once per tick."""
        limits, since = self.limits, now - self.mark - self.census.tick_s
        if self.outlet.paused:
            self._check_writing(now)
        if self.reading == _DEAF:
            if self.lingering >= 0 and since > limits.linger_s:
                self.transport.abort()
            elif not self.outlet.paused and self.transport.is_closing() and since > limits.write_timeout_s:
                self._drop("slow_reader")
        elif self.paused_reading:
            pass
        elif self.reading == _HEAD:
            if since > limits.head_timeout_s:
                self._reject(Rejection(408, "head_timeout", "The request's head did not arrive in time."))
        elif self.reading == _BODY:
            self._check_body(now, since)
        elif self.task is None and since > (limits.head_timeout_s if self.fresh else limits.idle_timeout_s):
            self.reading = _DEAF
            self.mark = now
            self.transport.close()

    def _check_body(self, now: float, since: float) -> None:
        limits, size = self.limits, len(self.body)
        if size != self.seen:
            self.seen, self.moved = size, now
        stalled = now - self.moved - self.census.tick_s > limits.body_timeout_s
        slow = since > limits.body_timeout_s and size < since * limits.body_bytes_per_s_min
        if stalled or slow:
            self._reject(Rejection(408, "body_timeout", "The request's body did not arrive in time."))

    def _check_writing(self, now: float) -> None:
        waited = now - self.write_mark - self.census.tick_s
        if waited > self.limits.write_timeout_s:
            size = self.transport.get_write_buffer_size()
            if self.write_size - size < self.limits.write_timeout_s * self.limits.write_bytes_per_s_min:
                self._drop("slow_reader")
            else:
                self.write_mark, self.write_size = now, size

    def _drop(self, code: str) -> None:
        self.census.count(code)
        if self.census.gatekeeper is not None:
            self.census.gatekeeper.note(self.peer, code)
        self.abort()


class _BodyOnly:
    """Parser callbacks for a body whose head is known already."""

    __slots__ = ("on_body", "on_message_complete")

    def __init__(self, connection: Connection) -> None:
        self.on_body = connection.on_body
        self.on_message_complete = connection.on_message_complete
