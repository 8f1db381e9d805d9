"""What one exchange needs on its way through dispatch and out: its reply, its stream, the release that really served.

Made by `gateway/gateway` for each admitted exchange; rows and heads are written from it. Never outlives its answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from andon.gateway.targets import ReleaseTargets
from andon.kernel.exchange import Exchange
from andon.wire.model import Reply

if TYPE_CHECKING:
    from andon.gateway.streams import Stream


class Course:
    """One admitted exchange under way."""

    __slots__ = (
        "assigned",
        "blamed",
        "exchange",
        "lasting",
        "reply",
        "response_bytes",
        "served",
        "stream",
        "upstream_s",
    )

    def __init__(self, exchange: Exchange, reply: Reply, assigned: ReleaseTargets) -> None:
        self.exchange = exchange
        self.reply = reply
        self.assigned = assigned  # what the chain chose: what gates judge
        self.served = assigned  # what the last attempt went to: differs after a fallback
        self.stream: Stream | None = None
        self.lasting = False  # the assigned release failed in a way that a later success does not undo
        self.upstream_s = 0.0  # spent in all attempts
        self.response_bytes = 0
        self.blamed = False  # the release served is to blame for how the last attempt ended
