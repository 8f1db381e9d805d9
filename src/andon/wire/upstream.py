"""One keep-alive connection to an upstream: one request at a time out, one answer in.

Used by `wire.client` only. It never trusts the upstream: length, order, size and silence are all checked, and a
connection of which anything is in doubt is closed instead of used again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

import httptools

from andon.kernel.errors import Transient
from andon.kernel.ports import Body
from andon.wire.limits import ClientLimits
from andon.wire.model import Header

_COPY_BYTES_MAX: Final = (
    256 * 1024
)  # a bigger body is handed over beside its head instead of copied behind it
_SWITCHING: Final = 101


class Malformed(Exception):
    """What the upstream sent is not an acceptable answer; raised inside parser callbacks to stop the parser."""


class Call:
    """One request on its way. Times are those of the event loop, in seconds."""

    __slots__ = ("body", "deadline_at", "first_byte_s", "head", "idle_s", "is_head", "sink")

    def __init__(
        self, head: bytes, body: bytes, sink: Body | None, first_byte_s: float, idle_s: float
    ) -> None:
        self.head = head
        self.body = body
        self.sink = sink
        self.first_byte_s = first_byte_s
        self.idle_s = idle_s
        self.is_head = False  # the method is HEAD
        self.deadline_at = 0.0  # set when it begins


class UpstreamConnection:
    """Protocol of one connection. `waiter` yields True when the answer is whole, False when the sink must drain."""

    __slots__ = (
        "body",
        "call",
        "closed",
        "failure",
        "headers",
        "interims",
        "is_complete",
        "is_head_read",
        "is_reusable",
        "last_at",
        "limits",
        "loop",
        "on_lost",
        "parser",
        "seen_bytes",
        "sink_error",
        "started",
        "status",
        "timer",
        "timer_at",
        "transport",
        "unacknowledged",
        "waiter",
    )

    transport: asyncio.Transport
    waiter: asyncio.Future[bool]

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: ClientLimits,
        on_lost: Callable[[UpstreamConnection], None],
    ) -> None:
        self.loop = loop
        self.limits = limits
        self.on_lost = on_lost
        self.parser = httptools.HttpResponseParser(self)
        self.call: Call | None = None  # None = idle
        self.closed = True  # until connected
        self.failure: Transient | None = None
        self.sink_error: BaseException | None = None
        self.last_at = 0.0  # when something was last sent or received: also the beginning of idleness
        self.is_complete = False
        self.is_reusable = False
        self.is_head_read = False
        self.started = False  # something of the answer has arrived
        self.status = 0
        self.headers: list[Header] = []
        self.body: bytes | bytearray = b""
        self.seen_bytes = 0  # of the head, until it is whole
        self.interims = 0
        self.unacknowledged = 0  # bytes given to the sink since it was last writable
        # Kept from request to request and moved only when it would be late: most answers come long before.
        self.timer: asyncio.TimerHandle | None = None
        self.timer_at = 0.0  # when it looks

    # The client's side.

    def begin(self, call: Call, remaining_s: float) -> None:
        """Write a request; see that the timer looks in time."""
        loop = self.loop
        self.call = call
        self.failure = None
        self.is_complete = self.is_reusable = self.is_head_read = self.started = False
        self.body = b""
        self.seen_bytes = self.interims = self.unacknowledged = 0
        self.waiter = loop.create_future()
        now = loop.time()
        call.deadline_at = now + remaining_s
        # The first look comes early enough for whichever time-out is the shortest: silence after a first byte too.
        first_s = call.first_byte_s if call.first_byte_s < call.idle_s else call.idle_s
        look_at = now + (first_s if first_s < remaining_s else remaining_s)
        if self.timer is None or self.timer_at > look_at:
            self._look_at(look_at)
        self.last_at = now
        if len(call.body) < _COPY_BYTES_MAX:
            self.transport.write(call.head + call.body)
        else:
            self.transport.writelines((call.head, call.body))

    def end(self) -> bool:
        """Let go of the request; whether the connection may serve another."""
        call, self.call = self.call, None
        if self.failure is not None and self.waiter.done() and not self.waiter.cancelled():
            self.waiter.exception()  # seen, even if the caller was cancelled at the same moment
        return (
            self.is_reusable
            and not self.closed
            and call is not None
            and (len(call.body) < _COPY_BYTES_MAX or not self.transport.get_write_buffer_size())
        )

    def read_on(self) -> None:
        """The sink has drained: go on where `waiter` yielded False."""
        self.waiter = self.loop.create_future()
        self.unacknowledged = 0
        self.last_at = self.loop.time()
        if self.failure is not None:
            self.waiter.set_exception(self.failure)
        elif self.is_complete:
            self.waiter.set_result(True)
        else:
            self.transport.resume_reading()

    def abort(self) -> None:
        """Close at once."""
        if not self.closed:
            self.transport.abort()
        self.closed = True
        self._stop_looking()

    def fail(self, code: str, message: str, status: int = 502) -> None:
        """End the request with an error and the connection with it."""
        self.failure = Transient(code, message, status=status)
        if self.call is not None and not self.waiter.done():
            self.waiter.set_exception(self.failure)
        self.abort()

    def _look_at(self, at: float) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer_at = at
        self.timer = self.loop.call_at(at, self._expire)

    def _stop_looking(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _expire(self) -> None:
        """The timer: acts on a time-out that has passed, or looks again when the next one may."""
        self.timer = None
        call, now = self.call, self.loop.time()
        if call is None or self.is_complete:
            return
        if now >= call.deadline_at:
            self.fail("upstream_timeout", "The upstream did not answer within the request's deadline.", 504)
        elif not self.started:
            first_at = self.last_at + call.first_byte_s
            if now >= first_at:
                self.fail(
                    "upstream_timeout", "The upstream sent nothing within the first-byte time-out.", 504
                )
            else:
                # Silence after a first byte that comes meanwhile must be noticed within the idle time-out too.
                self._look_at(min(first_at, now + call.idle_s, call.deadline_at))
        else:
            drains = self.waiter.done()  # the client is slow, not the upstream
            quiet_at = (now if drains else self.last_at) + call.idle_s
            if now >= quiet_at:
                self.fail("upstream_timeout", "The upstream went silent in the middle of its answer.", 504)
            else:
                self._look_at(min(quiet_at, call.deadline_at))

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready for a first request."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's has the methods, not the type
        self.closed = False

    def eof_received(self) -> None:
        """The upstream will send no more: the transport closes, and `connection_lost` judges."""

    def pause_writing(self) -> None:
        """Nothing to do: a request is written at once, and its answer awaited."""

    def resume_writing(self) -> None:
        """Nothing to do."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The upstream has left: the end of an answer that has no other, else a failure."""
        self.closed = True
        self._stop_looking()
        if self.call is not None and not self.is_complete:
            if self.is_head_read and exc is None and self._ends_with_connection():
                self._complete()
            else:
                what = "in the middle of its answer" if self.started else "without an answer"
                self.fail("upstream_reset", f"The upstream closed the connection {what}.")
        self.on_lost(self)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; anything that nobody asked for spoils the connection."""
        call = self.call
        if call is None or self.is_complete:
            self.is_reusable = False
            self.abort()
            return
        self.started = True
        self.last_at = self.loop.time()
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._spoil(error)
            return
        if not self.is_head_read:
            self.seen_bytes += len(data)
            if self.seen_bytes > self.limits.head_bytes_max:
                self.fail("upstream_malformed", "The upstream's answer has too large a head.")
        elif self.unacknowledged >= self.limits.sink_window_bytes and not self.is_complete:
            self.transport.pause_reading()
            if not self.waiter.done():
                self.waiter.set_result(False)

    def _spoil(self, error: Exception) -> None:
        if self.is_complete:
            # A whole answer and then something else: the answer stands, the connection does not.
            self.is_reusable = False
            self.abort()
        elif self.sink_error is not None:
            if not self.waiter.done():
                self.waiter.set_exception(self.sink_error)
            self.sink_error = None
            self.abort()
        else:
            cause = error.__context__
            why = str(cause) if isinstance(cause, Malformed) else f"it is not valid HTTP/1.1 ({error})"
            self.fail("upstream_malformed", f"The upstream's answer cannot be used: {why}.")

    def _ends_with_connection(self) -> bool:
        return not any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)

    def _complete(self) -> None:
        self.is_complete = True
        if not self.waiter.done():
            self.waiter.set_result(True)

    # The parser's side.

    def on_message_begin(self) -> None:
        """The first byte of a status line."""
        if self.is_complete:
            raise Malformed("it is followed by another")
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; trailers are dropped."""
        if not self.is_head_read:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is there; an interim one (1xx) is only counted."""
        self.status = status = self.parser.get_status_code()
        if status < 200:
            self.interims += 1
            if status < 100 or status == _SWITCHING or self.interims > self.limits.interim_max:
                raise Malformed(f"status {status} was not asked for")
            return
        self.is_head_read = True
        call = self.call
        assert call is not None
        if call.sink is not None:
            self._give_head(call.sink)
        if call.is_head:
            # llhttp does not know that this answer has no body, so it must not see another on this connection.
            self._complete()

    def on_body(self, data: bytes) -> None:
        """A piece of the body: to the sink, or kept."""
        if self.is_complete:
            raise Malformed("it has a body that it must not have")
        call = self.call
        if call is not None and call.sink is not None:
            self.unacknowledged += len(data)
            self._give(call.sink, data)
            return
        if not self.body:
            self.body = data
        else:
            if isinstance(self.body, bytes):
                self.body = bytearray(self.body)
            self.body += data
        if len(self.body) > self.limits.body_bytes_max:
            raise Malformed(f"it is larger than {self.limits.body_bytes_max} bytes")

    def on_message_complete(self) -> None:
        """The answer is whole, unless it was an interim one."""
        if not self.is_head_read or self.is_complete:
            return
        self.is_reusable = self.parser.should_keep_alive()
        self._complete()

    def _give_head(self, sink: Body) -> None:
        try:
            sink.head(self.status, self.headers)
        except BaseException as error:  # kept for the caller, since it would be lost inside the parser
            self.sink_error = error
            raise

    def _give(self, sink: Body, data: bytes) -> None:
        try:
            sink.chunk(data)
        except BaseException as error:  # kept for the caller, since it would be lost inside the parser
            self.sink_error = error
            raise
