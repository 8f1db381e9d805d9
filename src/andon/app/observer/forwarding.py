"""How control hands a request on to the observer: one HTTP request over loopback, the answer whole.

The observer authorises and decodes by itself, so the caller's own credentials go along. An observer that does not
answer is a 503 that says so; it never holds control up beyond the deadline.
"""

from __future__ import annotations

from andon.kernel.clock import Clock
from andon.kernel.errors import Transient
from andon.kernel.ports import Upstream
from andon.kernel.snapshot import TargetEntry
from andon.web.application import Answered, Forward, Forwarded

CONNECT_S = 1.0
DEADLINE_S = 120.0  # longer than the longest query


def forward_to(url: str, upstream: Upstream, clock: Clock) -> Forward:
    """The way to the observer at `url`."""
    target = TargetEntry(id="observer", url=url, protocol="oip")

    async def forward(request: Forwarded) -> Answered:
        try:
            answer = await upstream.send(
                target,
                request.method.encode(),
                request.path.encode(),
                request.headers,
                request.body,
                connect_timeout_s=CONNECT_S,
                first_byte_timeout_s=DEADLINE_S,
                idle_timeout_s=DEADLINE_S,
                deadline_at=clock.monotonic() + DEADLINE_S,
            )
        except Transient as error:
            raise Transient(
                "observer_unreachable",
                f"The observer does not answer: {error.message}",
                hint="It may be starting; see andon status and .andon/logs/observer.log. "
                "It needs the extra: pip install 'andon[observer]'.",
                retry_after_s=1.0,
            ) from error
        return Answered(status=answer.status, headers=tuple(answer.headers), body=answer.body)

    return forward
