"""Every limit of the wire, with the value it has unless somebody says otherwise.

Read by the server and the client; a limit that is hit is always counted and always has one stated consequence.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class ServerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a server grants to its clients. Times are enforced by one coarse tick: they may run a tick late."""

    connections_max: AtLeastOne = 10_000  # beyond: 503 and close
    connections_per_address_max: AtLeastOne = 2_048  # beyond: 503 and close; Unix sockets have no address
    head_bytes_max: AtLeastOne = 32 * 1024  # request line and headers; beyond: 431
    headers_max: AtLeastOne = 128  # beyond: 431
    pipelined_max: AtLeastOne = 16  # complete requests that wait their turn; beyond: reading pauses
    read_ahead_bytes_max: AtLeastOne = 64 * 1024  # bodies of requests that wait; beyond: reading pauses
    unread_body_bytes_max: AtLeastOne = (
        512 * 2**20
    )  # unfinished bodies of all connections together; beyond: 503
    chunk_overhead_bytes_max: AtLeastOne = (
        16 * 1024
    )  # chunk framing and trailers beyond the body's own size: 400
    head_timeout_s: Seconds = 10.0  # from a message's first byte to its last header: 408
    body_timeout_s: Seconds = 30.0  # without a byte of the body: 408
    body_bytes_per_s_min: AtLeastOne = 256  # average demanded once body_timeout_s has passed: 408
    idle_timeout_s: Seconds = 75.0  # between messages: close
    write_timeout_s: Seconds = 30.0  # in which a client must take some of what waits for it: abort
    write_bytes_per_s_min: AtLeastOne = 256  # "some", per second of write_timeout_s
    write_buffer_bytes: AtLeastOne = 64 * 1024  # beyond: `Reply.writable` waits
    linger_s: Seconds = 2.0  # after a refusal, so that the client reads it before the connection is reset
    linger_bytes_max: AtLeastOne = 16 * 2**20  # thrown away meanwhile; beyond: abort

    def tick_s(self) -> float:
        """Seconds between looks at every connection: a quarter of the shortest time-out, within 10 ms and 1 s."""
        shortest = min(
            self.head_timeout_s, self.body_timeout_s, self.idle_timeout_s, self.write_timeout_s, self.linger_s
        )
        return min(1.0, max(0.01, shortest / 4))


class ClientLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a client grants to one upstream and keeps for all of them."""

    connections_max: int = 1_024  # per target; beyond: requests wait their turn
    waiting_max: int = 4_096  # per target; beyond: `upstream_connect` at once
    idle_max: int = 2_048  # all targets together; beyond: connections close after use
    idle_age_s: float = 30.0  # an idle connection older than this is closed, never used
    head_bytes_max: int = 64 * 1024  # status line and headers; beyond: `upstream_malformed`
    body_bytes_max: int = 64 * 2**20  # of an answer that is kept whole; beyond: `upstream_malformed`
    interim_max: int = 8  # 1xx answers before the real one; beyond: `upstream_malformed`
    sink_window_bytes: int = 64 * 1024  # given to a sink between two waits for `writable`
    ca_file: str = ""  # certificates to trust for https; empty = the system's
