"""How long the TLS handshake of a new upstream connection took, apart from reaching the machine at all.

Used by `wire.client`. The loop opens a connection and shakes hands in one step; the TLS object is the only one that
sees where the one ends and the other begins. Source: `ssl.SSLContext.sslobject_class` (Python documentation).
"""

from __future__ import annotations

import asyncio
import ssl

from andon.kernel.clock import Clock


def time_handshakes(context: ssl.SSLContext, clock: Clock) -> ssl.SSLContext:
    """The same context, whose connections remember when their handshake began; one with a class of its own keeps it."""
    if context.sslobject_class is ssl.SSLObject:

        class Timed(ssl.SSLObject):
            """A TLS object that knows when it was first used."""

            began_at: float | None = None

            def do_handshake(self) -> None:
                """One step of the handshake; the first one follows the connection at once."""
                if self.began_at is None:
                    self.began_at = clock.monotonic()
                super().do_handshake()

        context.sslobject_class = Timed
    return context


def handshake_of(transport: asyncio.BaseTransport, now: float) -> float | None:
    """Seconds from the first step of the handshake until `now`; None where nobody has looked."""
    began_at = getattr(transport.get_extra_info("ssl_object"), "began_at", None)
    return None if began_at is None else now - began_at
