"""The client: keep-alive pools to upstreams over TCP, TLS and Unix sockets, as the kernel's port `Upstream`.

Used by dispatch in the gateway and by health checks. It decides nothing about retries, except that a connection found
dead before the request was processed is replaced once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, cast

from andon.kernel.clock import Clock
from andon.kernel.errors import Permanent, Transient
from andon.kernel.ports import Body, Opening
from andon.kernel.snapshot import TargetEntry
from andon.wire.limits import ClientLimits
from andon.wire.model import Header
from andon.wire.place import Place, parse_place
from andon.wire.tls import handshake_of, time_handshakes
from andon.wire.upstream import Call, UpstreamConnection

_OWN: Final = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"keep-alive",
        b"upgrade",
        b"expect",
        b"te",
    }
)
_WITH_LENGTH: Final = frozenset({b"POST", b"PUT", b"PATCH"})
_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})


class ClientAnswer:
    """A complete answer. Header names are in lower case; `body` is empty if it went to a sink."""

    __slots__ = ("body", "headers", "opening", "status")

    def __init__(
        self, status: int, headers: Sequence[Header], body: bytes, opening: Opening | None = None
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.opening = opening  # None on a connection that was kept and free


class _Pool:
    """The connections of one target, and the requests that wait for one."""

    __slots__ = ("connections", "idle", "is_closing", "opening", "place", "url", "waiting")

    def __init__(self, url: str, place: Place) -> None:
        self.url = url
        self.place = place
        self.idle: list[UpstreamConnection] = []  # the last one used is the next one taken
        self.connections: set[UpstreamConnection] = set()
        self.opening = 0
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.is_closing = False

    def wake(self) -> None:
        """Let one waiting request look again: a connection is idle or may be opened."""
        while self.waiting:
            waiter = self.waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


class Client:
    """Sends requests to targets. Make it and use it on one event loop; `close` it at the end."""

    def __init__(
        self, clock: Clock, limits: ClientLimits | None = None, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self._clock = clock
        self._limits = limits or ClientLimits()
        self._ssl_context = ssl_context
        self._pools: dict[str, _Pool] = {}
        self._closing: set[_Pool] = set()  # dropped targets whose last requests are under way
        self._idle_count = 0
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def send(
        self,
        target: TargetEntry,
        method: bytes,
        path: bytes,
        headers: Sequence[Header],
        body: bytes,
        *,
        connect_timeout_s: float,
        first_byte_timeout_s: float,
        idle_timeout_s: float,
        deadline_at: float,
        sink: Body | None = None,
    ) -> ClientAnswer:
        """See `kernel.ports.Upstream`. Headers that frame the message (host, content-length, transfer-encoding,
        connection and the like) are the client's own: those given are dropped.

        An exception of the sink ends the call and closes the connection; it is raised as it is.
        """
        pool = self._pools.get(target.id)
        if pool is None or pool.url != target.url:
            pool = self._open_pool(target)
        head = _format_head(pool.place, method, path, headers, body)
        call = Call(head, body, sink, first_byte_timeout_s, idle_timeout_s)
        call.is_head = method == b"HEAD"
        may_repeat = method in _IDEMPOTENT
        opening: Opening | None = None
        while True:
            connection = self._take(pool)
            is_used = connection is not None
            remaining_s = deadline_at - self._clock.monotonic()
            if connection is None:
                connection, opening = await self._obtain(pool, min(connect_timeout_s, remaining_s))
                remaining_s = deadline_at - self._clock.monotonic()
            connection.begin(call, remaining_s)
            try:
                while not await connection.waiter:
                    if sink is not None:
                        await sink.writable()
                    connection.read_on()
            except BaseException as error:
                connection.abort()
                connection.end()
                # A kept connection that the upstream has closed meanwhile: nothing of an answer has come, and the
                # method allows to ask again (RFC 9110 §9.2.2). Others are for the caller to judge.
                if is_used and may_repeat and not connection.started and _is_reset(error):
                    may_repeat = False
                    continue
                raise
            answer = ClientAnswer(connection.status, connection.headers, bytes(connection.body), opening)
            if connection.end():
                self._give(pool, connection)
            else:
                connection.abort()
            return answer

    def close_target(self, target_id: str) -> None:
        """A snapshot has dropped this target: close its idle connections now and the others after their answers."""
        pool = self._pools.pop(target_id, None)
        if pool is None:
            return
        pool.is_closing = True
        while pool.idle:
            self._idle_count -= 1
            pool.idle.pop().abort()
        if pool.connections or pool.opening:
            self._closing.add(pool)

    def keep_targets(self, target_ids: frozenset[str]) -> None:
        """Close every target that is not among these."""
        for target_id in self._pools.keys() - target_ids:
            self.close_target(target_id)

    async def close(self) -> None:
        """Close everything; requests under way end as `upstream_reset`."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        pools = [*self._pools.values(), *self._closing]
        for target_id in tuple(self._pools):
            self.close_target(target_id)
        for pool in pools:
            for connection in tuple(pool.connections):
                connection.fail("upstream_reset", "The client was closed.")
            while pool.waiting:
                pool.wake()
        await self._clock.sleep(0)  # closed transports tell their protocols in the next turn of the loop

    @property
    def counters(self) -> dict[str, int]:
        """`targets`, `connections`, `idle` and `waiting`, now."""
        pools = [*self._pools.values(), *self._closing]
        return {
            "targets": len(self._pools),
            "connections": sum(len(pool.connections) for pool in pools),
            "idle": self._idle_count,
            "waiting": sum(len(pool.waiting) for pool in pools),
        }

    def _open_pool(self, target: TargetEntry) -> _Pool:
        place = parse_place(target.url)
        self.close_target(target.id)
        pool = self._pools[target.id] = _Pool(target.url, place)
        return pool

    def _take(self, pool: _Pool) -> UpstreamConnection | None:
        while pool.idle:
            connection = pool.idle.pop()
            self._idle_count -= 1
            if connection.closed or connection.transport.is_closing():
                continue
            if connection.loop.time() - connection.last_at <= self._limits.idle_age_s:
                return connection
            connection.abort()
        return None

    def _give(self, pool: _Pool, connection: UpstreamConnection) -> None:
        if pool.is_closing or self._idle_count >= self._limits.idle_max:
            connection.abort()
            return
        pool.idle.append(connection)
        self._idle_count += 1
        if pool.waiting:
            pool.wake()
        if self._sweep is None:
            self._sweep = connection.loop.call_later(
                self._limits.idle_age_s, self._close_old, connection.loop
            )

    async def _obtain(self, pool: _Pool, timeout_s: float) -> tuple[UpstreamConnection, Opening]:
        """A connection that is idle by now or new; waits while the target has as many as it may have."""
        began = opened = self._clock.monotonic()
        if self._is_closed:
            raise _unreachable("The client is closed.")
        if timeout_s <= 0:
            raise Transient("upstream_timeout", "The request's deadline has passed.", status=504)
        try:
            async with asyncio.timeout(timeout_s):
                while len(pool.connections) + pool.opening >= self._limits.connections_max:
                    await self._wait(pool)
                    connection = self._take(pool)
                    opened = self._clock.monotonic()
                    if connection is not None:
                        return connection, Opening(_micros(opened - began), None, None)
                connection = await self._connect(pool)
                now = self._clock.monotonic()
                handshake_s = handshake_of(connection.transport, now) if pool.place.is_tls else None
                tls_us = None if handshake_s is None else _micros(handshake_s)
                return connection, Opening(_micros(opened - began), _micros(now - opened), tls_us)
        except TimeoutError as error:
            raise _unreachable("The upstream could not be reached in time.", status=504) from error
        except (OSError, ssl.SSLError, ssl.CertificateError) as error:
            raise _unreachable(
                "The upstream could not be reached.", internal=f"{pool.url}: {error}"
            ) from error

    async def _wait(self, pool: _Pool) -> None:
        if len(pool.waiting) >= self._limits.waiting_max:
            raise _unreachable("Too many requests wait for a connection to the upstream.", status=503)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pool.waiting.append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():
                pool.wake()  # it was our turn, but we have left: the next one's then
            raise
        if self._is_closed:
            raise _unreachable("The client is closed.")

    async def _connect(self, pool: _Pool) -> UpstreamConnection:
        loop, place = asyncio.get_running_loop(), pool.place

        def lost(connection: UpstreamConnection) -> None:
            self._forget(pool, connection)

        connection = UpstreamConnection(loop, self._limits, lost)
        pool.opening += 1
        try:
            if place.socket:
                await loop.create_unix_connection(cast("Any", lambda: connection), place.socket)
            else:
                context = time_handshakes(self._tls(), self._clock) if place.is_tls else None
                await loop.create_connection(
                    cast("Any", lambda: connection), place.host, place.port, ssl=context
                )
        except BaseException:
            connection.abort()
            raise
        finally:
            pool.opening -= 1
            if connection.closed:
                pool.wake()
        pool.connections.add(connection)
        return connection

    def _forget(self, pool: _Pool, connection: UpstreamConnection) -> None:
        pool.connections.discard(connection)
        if connection in pool.idle:
            pool.idle.remove(connection)
            self._idle_count -= 1
        if pool.waiting:
            pool.wake()
        if pool.is_closing and not pool.connections and not pool.opening:
            self._closing.discard(pool)

    def _close_old(self, loop: asyncio.AbstractEventLoop) -> None:
        """The sweep: once per `idle_age_s` while anything is idle."""
        oldest = loop.time() - self._limits.idle_age_s
        for pool in self._pools.values():
            old = [connection for connection in pool.idle if connection.last_at <= oldest]
            pool.idle = [connection for connection in pool.idle if connection.last_at > oldest]
            self._idle_count -= len(old)
            for connection in old:
                connection.abort()
        self._sweep = (
            loop.call_later(self._limits.idle_age_s, self._close_old, loop) if self._idle_count else None
        )

    def _tls(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = ssl.create_default_context(cafile=self._limits.ca_file or None)
            self._ssl_context.set_alpn_protocols(["http/1.1"])
        return self._ssl_context


def _format_head(place: Place, method: bytes, path: bytes, headers: Sequence[Header], body: bytes) -> bytes:
    """The request's head. Raises `Permanent` `upstream_header` rather than let a line end into it."""
    lines = [b"%b: %b\r\n" % header for header in headers if header[0] not in _OWN]
    if body or method in _WITH_LENGTH:
        lines.append(b"content-length: %d\r\n" % len(body))
    head = b"%b %b%b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (
        method,
        place.base,
        path,
        place.authority,
        b"".join(lines),
    )
    ends = len(lines) + 3
    if head.count(b"\n") != ends or head.count(b"\r") != ends:
        raise Permanent(
            "upstream_header",
            "A header or path for the upstream has a line end in it.",
            hint="Look at the credential of the target: a file or variable with more than one line is the usual cause.",
        )
    return head


def _micros(seconds: float) -> int:
    return int(seconds * 1e6)


def _is_reset(error: BaseException) -> bool:
    return isinstance(error, Transient) and error.code == "upstream_reset"


def _unreachable(message: str, *, status: int = 502, internal: str = "") -> Transient:
    return Transient("upstream_connect", message, status=status, internal=internal)
