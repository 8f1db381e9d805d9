"""Ports: what rooms ask of the world and of one another. Implemented above, handed down by `app`.

Each has a real implementation, a fake in `andon.testing` and one contract suite that both pass.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from andon.kernel.errors import AndonError, Unlearnt
from andon.kernel.exchange import Exchange
from andon.kernel.reports import Report
from andon.kernel.snapshot import Snapshot, TargetEntry

T = TypeVar("T")


class Stage(Protocol):
    """One step of the gateway's chain. Synchronous, memory only: no I/O, no SQL, no third party."""

    name: str

    def adopt(self, snapshot: Snapshot) -> Callable[[], None]:
        """Build look-up tables from a new snapshot; raises `Refused` if it cannot be enforced.

        Returns the function that puts them in force: it is called only once every stage has accepted, and
        never fails.
        """
        ...

    def admit(self, exchange: Exchange) -> AndonError | None:
        """Fill in or refuse. A refusal is returned, not raised: it is an expected answer."""
        ...

    def settle(self, exchange: Exchange) -> None:
        """Called once for each admitted exchange when its outcome is known, refusal by a later stage included."""
        ...


class Learner(Protocol):
    """Asks for what a stage could not know, away from the chain. Bounded in number, rate and time."""

    async def learn(self, refusal: Unlearnt) -> bool:
        """Whether something was learnt, so that it is worth admitting again. Never raises."""
        ...


class Body(Protocol):
    """Where an upstream's answer goes while it arrives."""

    def head(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Status and headers are known; names in lower case."""
        ...

    def chunk(self, data: bytes) -> None:
        """A piece of the body, in order; the transport reads on only while `writable` is not awaited."""
        ...

    async def writable(self) -> None:
        """Returns when the receiver can take more: back-pressure from client to upstream."""
        ...


class Opening(NamedTuple):
    """What a request had to wait for before it could be sent, in microseconds."""

    queue_us: int  # for a place among the target's connections
    connect_us: int | None  # to open a new one, TLS included; None where one was waited for and given
    tls_us: int | None  # the part of it that TLS took; None without


class Answer(Protocol):
    """A complete answer of an upstream."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    opening: Opening | None  # None on a connection that was kept and free


class Upstream(Protocol):
    """Sends one request to one target. Raises `Transient` with codes `upstream_connect`, `upstream_timeout`,
    `upstream_reset` or `upstream_malformed`; cancelling the call closes the upstream connection."""

    async def send(
        self,
        target: TargetEntry,
        method: bytes,
        path: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        *,
        connect_timeout_s: float,
        first_byte_timeout_s: float,
        idle_timeout_s: float,
        deadline_at: float,
        sink: Body | None = None,
    ) -> Answer:
        """The answer; with a sink, pieces went there as they came and `body` is empty."""
        ...


class Reports(Protocol):
    """The way from a gateway to control: bounded, at least once, never blocks the path."""

    def send(self, report: Report) -> None:
        """Queue a report; a full queue drops the oldest `Progress`, never a `Cut`."""
        ...


class Runner(Protocol):
    """Runs blocking work away from the event loop; in simulation, at once and in order."""

    def run(self, work: Callable[[], T]) -> Awaitable[T]:
        """The result of `work()`."""
        ...


class Disk(Protocol):
    """The few file operations whose failure the product must survive; the simulated one fails on purpose.

    Paths are strings below one root. Raises OSError as the operating system would.
    """

    def append(self, path: str, data: bytes) -> None:
        """Write at the end of a file, creating it."""
        ...

    def sync(self, path: str) -> None:
        """Make everything appended so far survive a crash (fdatasync; also the folder for a new file)."""
        ...

    def commit(self, path: str, data: bytes | bytearray) -> None:
        """`append` and `sync` in one step, which one system call can do; after an error neither may be assumed."""
        ...

    def read(self, path: str, offset: int = 0, length: int = -1) -> bytes:
        """Bytes from `offset`; to the end by default."""
        ...

    def truncate(self, path: str, length: int) -> None:
        """Cut a file to `length` bytes and sync it."""
        ...

    def replace(self, path: str, data: bytes) -> None:
        """Write a whole file atomically: temporary file, sync, rename, sync of the folder."""
        ...

    def list(self, folder: str) -> list[str]:
        """Names in a folder, sorted; empty if it does not exist."""
        ...

    def size(self, path: str) -> int:
        """Bytes in a file; 0 if it does not exist."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file; nothing if it does not exist."""
        ...

    def close(self, path: str) -> None:
        """Let go of any handle kept for a file."""
        ...
