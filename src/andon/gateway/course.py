"""What one exchange needs on its way through dispatch and out: its reply, its stream, the release that really served.

Made by `gateway/gateway` for each admitted exchange; rows and heads are written from it. Never outlives its answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from andon.gateway.targets import ReleaseTargets
from andon.kernel.errors import AndonError
from andon.kernel.exchange import Exchange
from andon.kernel.ports import Body
from andon.kernel.snapshot import BodiesEntry
from andon.wire.model import Header, Reply


class Hold(Protocol):
    """Events that wait to be judged; `gateway/guarded_streams` makes it."""

    def reset(self) -> None:
        """Another attempt begins."""
        ...

    def take(self, data: bytes) -> None:
        """Judge one event. Raises AndonError where the answer ends here."""
        ...

    def ready(self) -> list[bytes]:
        """Data of the events that may go, in order; asked once for each."""
        ...

    async def finish(self) -> AndonError | None:
        """The answer is whole: judge what waits; the refusal, if the rest may not go."""
        ...

    def ending(self) -> bytes:
        """The event that says that the content was filtered."""
        ...


class Sink(Body, Protocol):
    """Where one attempt's streamed answer arrives."""

    status: int
    headers: Sequence[Header]
    body: bytes  # of an answer that is no stream
    done: bool  # the whole answer has come

    def check_end(self) -> None:
        """Raises `Transient` if the answer ended before it was whole."""
        ...


class Outflow(Protocol):
    """The client's side of a streamed exchange; `gateway/streams` makes it."""

    committed: bool  # the client has begun to receive
    sent_bytes: int  # of events, to the client
    kept: bytearray | None  # the beginning of them, where it is recorded
    kept_max: int
    hold: Hold | None  # where events wait to be judged; None where nobody judges them

    def sink(self) -> Sink:
        """Where the next attempt's answer goes."""
        ...

    def forward_held(self) -> None:
        """Pass on the events that have been judged since."""
        ...

    def count_usage(self) -> None:
        """Put token counts on the exchange."""
        ...

    def finish(self) -> None:
        """Let the client have the end."""
        ...

    def cut(self, error: AndonError) -> None:
        """Tell the client that this is not the whole answer."""
        ...


class Course:
    """One admitted exchange under way."""

    __slots__ = (
        "assigned",
        "blamed",
        "exchange",
        "keeping",
        "lasting",
        "reply",
        "response_bytes",
        "sent",
        "sent_headers",
        "served",
        "stream",
        "upstream_s",
    )

    def __init__(self, exchange: Exchange, reply: Reply, assigned: ReleaseTargets) -> None:
        self.exchange = exchange
        self.reply = reply
        self.assigned = assigned  # what the chain chose: what gates judge
        self.served = assigned  # what the last attempt went to: differs after a fallback
        self.stream: Outflow | None = None
        self.lasting = False  # the assigned release failed in a way that a later success does not undo
        self.upstream_s = 0.0  # spent in all attempts
        self.response_bytes = 0
        self.keeping: BodiesEntry | None = None  # which bodies of this exchange are recorded
        self.sent = b""  # the body that the client was sent, if it was no stream
        self.sent_headers: Sequence[Header] = ()  # of the upstream's answer, where that is what was sent
        self.blamed = False  # the release served is to blame for how the last attempt ended
