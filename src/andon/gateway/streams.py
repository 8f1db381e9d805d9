"""A streamed answer on its way to the client, event by event, with the rules that a cut stream must not break.

The first event is the commit point: before it an attempt may be given to another target, after it never. `[DONE]` is
held back until the outcome is recorded; a stream that ends without it ends in an error event and a cut connection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from andon.gateway.course import Hold
from andon.gateway.dialects import openai
from andon.gateway.dialects.sse import DONE, EventSplitter, data_of
from andon.gateway.settings import GatewaySettings
from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Transient
from andon.kernel.exchange import Exchange, Told, UsageSource
from andon.wire.model import Header, Reply

_NULL_USAGE = (b',"usage":null', b', "usage": null')


class Stream:
    """The client's side of one streamed exchange, over all its attempts."""

    __slots__ = (
        "_clock",
        "_exchange",
        "_opening",
        "_reply",
        "_settings",
        "committed",
        "deltas",
        "finish_reason",
        "hold",
        "kept",
        "kept_max",
        "model",
        "response_id",
        "sent_bytes",
        "usage",
    )

    def __init__(
        self,
        exchange: Exchange,
        reply: Reply,
        opening: Callable[[], bytes],
        clock: Clock,
        settings: GatewaySettings,
    ) -> None:
        self._exchange = exchange
        self._reply = reply
        self._opening = opening  # the head's lines: asked for once, at the commit
        self._clock = clock
        self._settings = settings
        self.committed = False
        self.sent_bytes = 0
        self.deltas = 0  # events with content: an estimate of tokens when no usage comes
        self.usage: openai.Usage | None = None
        self.response_id: str | None = None
        self.model: str | None = None
        self.finish_reason: str | None = None
        self.hold: Hold | None = None  # where events wait to be judged, if they are
        self.kept: bytearray | None = None  # the beginning of what was sent, where it is recorded
        self.kept_max = 0

    def sink(self) -> StreamSink:
        """Where the next attempt's answer goes."""
        if self.hold is not None:
            self.hold.reset()
        return StreamSink(self, self._exchange.wants_usage, self._settings)

    def forward(self, events: bytes) -> None:
        """Pass complete events on; the first ones commit the answer."""
        if not self.committed:
            self._commit()
        self.sent_bytes += len(events)
        kept = self.kept
        if kept is not None and len(kept) < self.kept_max:
            kept += events[: self.kept_max - len(kept)]
        self._reply.write(events)

    def forward_held(self) -> None:
        """Pass on the events that have been judged since."""
        ready = self.hold.ready() if self.hold is not None else ()
        if ready:
            self.forward(b"".join([b"data: %b\n\n" % data for data in ready]))

    async def writable(self) -> None:
        """Back-pressure from the client; raises ConnectionResetError when it has left."""
        await self._reply.writable()

    def count_usage(self) -> None:
        """Put on the exchange what the events said, and token counts: the provider's, else an estimate of what was
        sent."""
        x, usage = self._exchange, self.usage
        if self.response_id is not None or self.model is not None or self.finish_reason is not None:
            told = x.told = x.told or Told()
            told.response_id, told.model = self.response_id, self.model
            told.finish_reason = self.finish_reason
        if usage is not None and usage.completion_tokens is not None:
            x.input_tokens, x.output_tokens = usage.prompt_tokens, usage.completion_tokens
            x.usage_source = UsageSource.PROVIDER
        elif self.deltas:
            x.output_tokens, x.usage_source = self.deltas, UsageSource.ESTIMATED

    def finish(self) -> None:
        """The outcome is recorded: let the client have the end."""
        if not self.committed:
            self._commit()
        self._reply.write(b"data: [DONE]\n\n")
        self._reply.end()

    def cut(self, error: AndonError) -> None:
        """Tell the client that this is not the whole answer, and close so that it cannot be taken for it."""
        if self.hold is not None and error.code == "content_filter":
            self._reply.write(b"data: %b\n\n" % self.hold.ending())
        self._reply.write(b"data: %b\n\n" % openai.error_body(error))
        self._reply.abort()

    def _commit(self) -> None:
        self.committed = True
        self._exchange.first_byte_at = self._clock.monotonic()
        self._reply.start(200, self._opening() + b"cache-control: no-cache\r\nx-accel-buffering: no\r\n")


class StreamSink:
    """Where one attempt's answer arrives (kernel port `Body`)."""

    __slots__ = (
        "_settings",
        "_splitter",
        "_stream",
        "_wants_usage",
        "body",
        "done",
        "ended",
        "headers",
        "status",
    )

    def __init__(self, stream: Stream, wants_usage: bool, settings: GatewaySettings) -> None:
        self._stream = stream
        self._wants_usage = wants_usage
        self._settings = settings
        self._splitter = EventSplitter(settings.sse_event_bytes_max)
        self.status = 0
        self.headers: Sequence[Header] = ()
        self.body = b""  # of an answer that is no stream: an error
        self.done = False  # [DONE] has come
        self.ended = False  # a choice said why it ended

    def head(self, status: int, headers: Sequence[Header]) -> None:
        """Remember what kind of answer it is; nothing is sent yet."""
        self.status = status
        self.headers = headers

    def chunk(self, data: bytes) -> None:
        """Forward the events that `data` completes. Raises `Transient` upstream_malformed."""
        if self.status != 200:
            if len(self.body) < self._settings.error_bytes_max:
                self.body = (self.body + data)[: self._settings.error_bytes_max]
            return
        events = []
        hold = self._stream.hold
        for event in self._splitter.feed(data):
            kept = self._read(event)
            if kept is None:
                continue
            if hold is None:
                events.append(kept)
            else:
                told = data_of(kept)
                if told is not None:  # what is no data tells a client nothing that could be judged
                    hold.take(told.replace(b"\n", b" "))
        if hold is not None:
            self._stream.forward_held()
            return
        if events:
            events.append(b"")
            self._stream.forward(b"\n\n".join(events))

    async def writable(self) -> None:
        """Back-pressure from the client."""
        await self._stream.writable()

    def check_end(self) -> None:
        """Raises `Transient` upstream_reset if the answer ended before it was whole."""
        if self.done or (self.ended and not self._splitter.unfinished):
            return
        raise Transient(
            "upstream_reset", "The model's stream ended before its answer was complete.", status=502
        )

    def _read(self, event: bytes) -> bytes | None:
        """The event to forward, None if the client gets nothing of it."""
        if self.done:
            return None  # nothing may follow the end
        data = data_of(event)
        stream = self._stream
        if data is None:
            return event if stream.committed else None  # a comment alone must not commit the answer
        if data == DONE:
            self.done = True
            return None
        try:
            chunk = openai.read_chunk(data)
        except msgspec.ValidationError:
            return event  # JSON of a shape that we do not know is the client's to judge
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Transient(
                "upstream_malformed", f"The model sent an event that is not JSON: {error}.", status=502
            ) from error
        if bytes(chunk.error) not in (b"", b"null"):
            raise Transient("upstream_reset", "The model broke off its stream with an error.", status=502)
        if chunk.usage is not None:
            stream.usage = chunk.usage
            if not chunk.choices and not self._wants_usage:
                return None
        self._count(chunk)
        if not self._wants_usage:
            for spelling in _NULL_USAGE:
                if spelling in event:
                    event = event.replace(spelling, b"")
        return event

    def _count(self, chunk: openai.Chunk) -> None:
        stream = self._stream
        if stream.response_id is None:
            stream.response_id, stream.model = openai.short(chunk.id), openai.short(chunk.model)
        for choice in chunk.choices:
            if choice.finish_reason is not None:
                self.ended = True
                if stream.finish_reason is None:
                    stream.finish_reason = choice.finish_reason[: openai.NAME_MAX]
            if choice.text or (choice.delta is not None and choice.delta.content):
                stream.deltas += 1
