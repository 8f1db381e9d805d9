"""The simulated factory: one database, a fleet, gateways on disks of their own, and control, all on virtual time.

Starts, crashes, freezes and restarts processes; every process is assembled by the functions that the real ones use.
Decides nothing about what happens when: that is `simulate_steps`; nor about what is right: `simulate_invariants`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from andon.app.control_assembly import AssembledControl, ControlGround, assemble_control
from andon.app.gateway_assembly import AssembledGateway, GatewayGround, assemble_gateway
from andon.app.views import ReportBatch
from andon.control.documents import Source, parse_sources
from andon.gateway.settings import GatewaySettings
from andon.kernel.errors import AndonError, Transient
from andon.kernel.random import SeededRandom
from andon.kernel.snapshot import TargetEntry
from andon.ledger.log import Log
from andon.ledger.settings import LogSettings
from andon.store.connection import make_engine, parse_url
from andon.store.sql import SqlStore
from andon.testing.disk import SimulatedDisk
from andon.testing.executor import FakeExecutor, Odds
from andon.testing.loop import VirtualClock, VirtualLoop
from andon.testing.runner import InlineRunner
from andon.testing.simulate_factory import Desired
from andon.testing.simulate_fleet import JSON, Fleet, SimulatedAnswer, SimulatedUpstream
from andon.testing.simulate_process import (
    Gone,
    Process,
    ProcessExecutor,
    ProcessRunner,
    make_task,
    refuse_the_dead,
)
from andon.wire.model import Header

T = TypeVar("T")

PEPPER = b"p" * 32
FOLDER = "ledger"
LOG = LogSettings(reserve_bytes=8192, segment_bytes=64 * 1024, segment_age_s=60.0)
TRACE_KEPT = 30
CALM = Odds(start_s_max=1.0)
RESTART_S = 0.3


Watcher = Callable[["Machine", TargetEntry, Sequence[Header]], None]


@dataclass
class Machine:
    """A gateway's place: the disk and the name outlive its processes."""

    name: str
    disk: SimulatedDisk
    process: Process | None = None
    built: AssembledGateway | None = None
    log: Log | None = None
    loops: list[asyncio.Task[None]] = field(default_factory=list)
    incarnation: int = 0
    troubled: bool = False  # its disk was made to fail since the last healing

    @property
    def up(self) -> bool:
        """Whether it serves."""
        return self.built is not None and self.process is not None and not self.process.dead


@dataclass
class Control:
    """One control process."""

    process: Process
    built: AssembledControl | None = None
    loops: list[asyncio.Task[None]] = field(default_factory=list)


class Trace:
    """What happened, as lines: the last ones for people, all of them as a digest."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._sum = hashlib.sha256()
        self.last: deque[str] = deque(maxlen=TRACE_KEPT)
        self.lines = 0

    def add(self, text: str) -> None:
        """One more line."""
        line = f"{self._clock.monotonic():10.3f}  {text}"
        self._sum.update(line.encode() + b"\n")
        self.last.append(line)
        self.lines += 1

    @property
    def digest(self) -> str:
        """Equal for equal histories."""
        return self._sum.hexdigest()[:16]


class World:
    """Everything that one simulation is made of."""

    def __init__(self, loop: VirtualLoop, seed: int, gateways: int) -> None:
        self.seed = seed
        self.loop = loop
        self.clock = VirtualClock(loop)
        self.random = SeededRandom(seed)
        self.trace = Trace(self.clock)
        self.engine = make_engine(parse_url("sqlite://"))
        self.observer = SqlStore(self.engine, self.clock, self.random, InlineRunner())
        self.executor = FakeExecutor(self.clock, SeededRandom(seed + 1), CALM)
        self.fleet = Fleet(control=self._control_hears, serves=self.executor.serves, watch=self._watch)
        self.machines = [self._machine(number, seed) for number in range(gateways)]
        self.controls: list[Control] = []
        self.buried: list[Process] = []
        self.desired = Desired()
        self.store_faults = 0  # how many of the next transactions fail
        self.people: set[asyncio.Task[None]] = set()
        self.watchers: list[Watcher] = []  # told of each request that a gateway sends
        self._outside = copy_context()  # of no process: what restarts processes must not die with one
        self._reaping: set[asyncio.Task[None]] = set()
        self._processes = 0

    def _machine(self, number: int, seed: int) -> Machine:
        disk = SimulatedDisk(SeededRandom(seed + 100 + number))
        disk.before = refuse_the_dead
        return Machine(name=f"g{number}", disk=disk)

    async def begin(self) -> None:
        """Create the database and the first revision, then start everything."""
        self.loop.set_task_factory(make_task)
        await self.observer.open()
        self.start_control()
        for machine in self.machines:
            self.start_gateway(machine)
        while (control := self.control()) is None or control.built is None:
            await self.clock.sleep(0.05)
        await self.verb("apply the first factory", self._apply(control.built, "first"))

    async def end(self) -> None:
        """End every process and let go of the database."""
        for machine in self.machines:
            if machine.process is not None:
                machine.process.dead = True
                self.buried.append(machine.process)
        for control in self.controls:
            control.process.dead = True
            self.buried.append(control.process)
        for task in self.people:
            task.cancel()
        await asyncio.gather(*self.people, *self._reaping, return_exceptions=True)
        for process in self.buried:
            await process.reap()
        self.engine.dispose()

    def _process(self, name: str, skew_s: float = 0.0) -> Process:
        self._processes += 1
        clock = VirtualClock(self.loop, skew_s)
        return Process(f"{name}.{self._processes}", clock, SeededRandom(self.seed * 1000 + self._processes))

    # gateways

    def start_gateway(self, machine: Machine, skew_s: float = 0.0) -> None:
        """Start a gateway's process on its machine."""
        machine.process = process = self._process(machine.name, skew_s)
        machine.incarnation += 1
        process.on_blown = lambda: self.crash_gateway(machine)
        machine.loops = []
        process.start(self._gateway(machine, process))

    async def _gateway(self, machine: Machine, process: Process) -> None:
        runner = ProcessRunner(process)
        log = await self._open_log(machine, process, runner)
        built = assemble_gateway(
            GatewayGround(
                bounds=GatewaySettings(gateway=machine.name),
                pepper=PEPPER,
                control_url="http://control:1",
                control_key="key",
                clock=process.clock,
                random=process.random,
                log=log,
                upstream=SimulatedUpstream(process, self.fleet, machine.name),
                files=runner,
                cuts=machine.disk,
                snapshots=machine.disk,
                credentials=lambda reference: reference,
            )
        )
        await built.holder.load()
        machine.built, machine.log = built, log
        machine.loops = [asyncio.ensure_future(loop) for loop in built.loops()]
        self.trace.add(f"{process.name} serves, snapshot {built.holder.version}")

    async def _open_log(self, machine: Machine, process: Process, runner: ProcessRunner) -> Log:
        while True:
            try:
                return await Log.open(machine.disk, FOLDER, process.clock, runner, machine.name, LOG)
            except OSError as error:  # as a supervisor would: it is started again
                self.trace.add(f"{process.name} cannot open its ledger: {error.strerror}")
                await process.clock.sleep(1.0)

    def crash_gateway(self, machine: Machine, down_s: float = RESTART_S) -> None:
        """Power loss: its memory and what its disk had not synced are lost; it is started again after `down_s`."""
        if machine.process is None or machine.process.dead:
            return
        self.trace.add(f"{machine.process.name} crashes")
        self._bury(machine.process)
        machine.built, machine.log = None, None
        machine.disk.crash()
        machine.disk.restart()
        skew_s = (self.random.uniform() - 0.5) * 0.2
        self.loop.call_later(down_s, self.start_gateway, machine, skew_s, context=self._outside)

    def crash_gateway_soon(self, machine: Machine) -> None:
        """The same, once whoever is running now has come to its next await."""
        self.loop.call_soon(self.crash_gateway, machine, context=self._outside)

    # control

    def control(self) -> Control | None:
        """The control process that the address leads to: the youngest that lives."""
        return next((one for one in reversed(self.controls) if not one.process.dead), None)

    def start_control(self, skew_s: float = 0.0) -> None:
        """Start one more control process."""
        control = Control(self._process("control", skew_s))
        control.process.on_blown = lambda: self.crash_control(control)
        self.controls.append(control)
        control.process.start(self._control(control))

    async def _control(self, control: Control) -> None:
        process = control.process
        store = SqlStore(
            self.engine, process.clock, process.random, ProcessRunner(process, self._store_fault)
        )
        built = assemble_control(
            ControlGround(
                store=store,
                clock=process.clock,
                random=process.random,
                executor=ProcessExecutor(process, self.executor),
                upstream=SimulatedUpstream(process, self.fleet),
                pepper=PEPPER,
                root=Path("/factory"),
                owner=process.name,
                gateways=len(self.machines),
            )
        )
        while True:
            try:
                await built.publisher.refresh()
                break
            except AndonError:  # as a supervisor would: it is started again
                await process.clock.sleep(0.5)
        control.built = built
        control.loops = [asyncio.ensure_future(loop) for loop in built.loops()]
        self.trace.add(f"{process.name} works, snapshot {built.publisher.version}")

    def crash_control(self, control: Control, down_s: float = RESTART_S) -> None:
        """Kill a control process; if it was the one in charge, another is started after `down_s`."""
        if control.process.dead:
            return
        self.trace.add(f"{control.process.name} crashes")
        was_in_charge = control is self.control()
        self._bury(control.process)
        self.controls.remove(control)
        if was_in_charge and self.control() is None:
            skew_s = (self.random.uniform() - 0.5) * 4.0
            self.loop.call_later(down_s, self.start_control, skew_s, context=self._outside)

    def _bury(self, process: Process) -> None:
        process.dead = True
        self.buried.append(process)
        task = self.loop.create_task(process.reap(), context=self._outside)
        self._reaping.add(task)

    def _store_fault(self) -> Transient | None:
        if self.store_faults <= 0:
            return None
        self.store_faults -= 1
        return Transient("store_unavailable", "The control database does not answer.")

    # what people and gateways ask of control

    async def _control_hears(
        self, method: bytes, path: bytes, body: bytes, patience_s: float
    ) -> SimulatedAnswer:
        control = self.control()
        if control is None or control.built is None:
            raise Transient("upstream_connect", "Control is away.")
        publisher = control.built.publisher
        try:
            if method == b"POST":
                batch = msgspec.json.decode(body, type=ReportBatch)
                await control.process.ask(publisher.report(batch.reports, gateway="gateway"), patience_s)
                return SimulatedAnswer(200, JSON, b"{}")
            asked = dict(pair.split(b"=") for pair in path.partition(b"?")[2].split(b"&"))
            wait = publisher.snapshot(int(asked[b"have"]), float(asked[b"wait_s"]))
            raw = await control.process.ask(wait, patience_s)
            return SimulatedAnswer(200 if raw is not None else 304, JSON, raw or b"")
        except Gone:
            raise Transient("upstream_reset", "Control went away.") from None
        except AndonError as error:
            return SimulatedAnswer(error.status, JSON, b"{}")

    async def verb(self, what: str, work: Coroutine[Any, Any, T]) -> T | None:
        """Something a person asks of control; None if it was refused or control died under it."""
        control = self.control()
        if control is None or control.built is None:
            work.close()
            self.trace.add(f"{what}: control is away")
            return None
        try:
            result = await control.process.ask(work, 30.0)
        except Gone:
            self.trace.add(f"{what}: control went away")
        except AndonError as error:
            self.trace.add(f"{what}: {error.code}")
        else:
            self.trace.add(f"{what}: done")
            return result
        return None

    async def apply(self, message: str) -> None:
        """Apply the factory file as its author has it now."""
        control = self.control()
        if control is not None and control.built is not None:
            await self.verb(message, self._apply(control.built, message))

    async def _apply(self, built: AssembledControl, message: str) -> None:
        source = Source(file="factory.yaml", text=self.desired.text())
        plan = await built.factory.plan(parse_sources([source], built.factory.catalogue))
        await built.factory.apply(plan, author="user:sim", message=message)

    async def undo(self) -> None:
        """Return to the revision before."""
        control = self.control()
        if control is None or control.built is None:
            return
        factory = control.built.factory

        async def work() -> None:
            await factory.apply(await factory.undo(0), author="user:sim")

        await self.verb("undo", work())

    def _watch(self, process: Process, target: TargetEntry, headers: Sequence[Header]) -> None:
        machine = next((one for one in self.machines if one.process is process), None)
        if machine is not None and machine.up:
            for watcher in self.watchers:
                watcher(machine, target, headers)

    def heal(self) -> None:
        """End every fault."""
        for machine in self.machines:
            machine.disk.capacity_bytes = None
            machine.disk.forgive()
            machine.troubled = False
            if machine.process is not None:
                machine.process.fuse = None
                machine.process.frozen_until = 0.0
        for control in self.controls:
            control.process.fuse, control.process.frozen_until = None, 0.0
        for line in self.fleet.lines.values():
            line.down, line.delay_s, line.forget = False, 0.0, 0.0
        self.store_faults = 0
