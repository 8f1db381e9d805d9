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

    def sink(self) -> Sink:
        """Where the next attempt's answer goes."""
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
