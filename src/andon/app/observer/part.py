"""What the observer is made of: the ground that every part stands on, and what a part contributes.

A part is built once from the ground and never reaches into another part; they meet in the ground only.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from andon.app.home import Home
from andon.app.observer.sealed import Sealed
from andon.app.settings import Settings
from andon.app.transport import Transport
from andon.control.controller import Controller
from andon.kernel.access import Records
from andon.kernel.clock import Clock
from andon.kernel.ports import Disk, Runner, Upstream
from andon.kernel.random import Random
from andon.ledger.facts.log import FactLog
from andon.ledger.queries import Engine
from andon.observability.families import MetricSource
from andon.observability.feed import Consumer
from andon.observability.signals import Signals
from andon.observability.windows.service import Windows
from andon.store.model import Store
from andon.web.routes import Route

Loop = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, kw_only=True)
class ObserverGround:
    """What every part may use."""

    home: Home
    settings: Settings
    environment: Mapping[str, str]
    store: Store  # resources, statuses, journal; shared with control
    clock: Clock
    random: Random
    upstream: Upstream  # outgoing HTTP on the event loop, to anybody
    internal: Upstream  # the same to processes of this factory, which know one another by certificate
    transport: Transport
    runner: Runner  # threads for work that blocks: queries, files, third parties' clients
    disk: Disk  # the gateway's log, read only
    facts: FactLog  # where facts are written, each once
    engine: Engine  # queries over tables and tail
    windows: Windows  # the last 24 hours in memory, read by alerts and objectives; the windows part feeds it
    owner: str  # who holds the leases
    sealed: Sealed  # secrets behind references, and recorded bodies
    records: Records | None = None  # where decisions on its own routes are remembered
    signals: Signals = field(default_factory=Signals)  # what fires now, told by parts and read by alerts


@dataclass(frozen=True, kw_only=True)
class Part:
    """One capability of the observer."""

    name: str
    routes: Sequence[Route] = ()
    controllers: Sequence[Controller[Any]] = ()
    loops: Sequence[Loop] = ()
    consumers: Sequence[Consumer] = ()
    metrics: Sequence[MetricSource] = ()
    closing: Sequence[Callable[[], None]] = field(default=())
