"""What may happen in a simulated factory, each with a weight: traffic, changes by people, and every kind of failure.

A step begins something and returns; what follows from it happens in the virtual seconds between steps.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable

from andon.lifecycle.rollouts.model import ENDED, ROLLOUT
from andon.lifecycle.rollouts.repository import course_of
from andon.security.identity.model import KeyRequest
from andon.store.model import Unit
from andon.testing.executor import Fate
from andon.testing.simulate_clients import Clients, Held, draw_call, make_call
from andon.testing.simulate_factory import CREDIT, TEAM
from andon.testing.simulate_fleet import Behaviour, Line
from andon.testing.simulate_world import Control, Machine, World

Step = Callable[[], Awaitable[None]]


class Steps:
    """Every step, over one world and its clients."""

    def __init__(self, world: World, clients: Clients) -> None:
        self.world = world
        self.clients = clients
        self.weighted: tuple[tuple[int, Step], ...] = (
            (34, self.burst),
            (6, self.release),
            (3, self.configure),
            (2, self.undo),
            (5, self.decide),
            (2, self.create_key),
            (1, self.rotate_key),
            (2, self.revoke_key),
            (3, self.crash_gateway),
            (3, self.crash_control),
            (3, self.light_fuse),
            (2, self.freeze_control),
            (3, self.trouble_link),
            (3, self.trouble_disk),
            (2, self.trouble_store),
            (3, self.crash_replica),
            (5, self.heal),
        )
        self._total = sum(weight for weight, _ in self.weighted)

    def _chance(self) -> float:
        return self.world.random.uniform()

    def _machine(self) -> Machine:
        return self.world.machines[int(self._chance() * len(self.world.machines))]

    def _draw(self) -> Step:
        luck = self._chance() * self._total
        for weight, step in self.weighted:
            luck -= weight
            if luck < 0:
                return step
        return self.burst

    async def one(self) -> str:
        """Do one step; its name."""
        step = self._draw()
        name = getattr(step, "__name__", "step")
        self.world.trace.add(f"step {name}")
        await step()
        return name

    def _later(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self.world.people.add(task)
        task.add_done_callback(self.world.people.discard)

    async def burst(self) -> None:
        """Some tens of requests over a second or two, or nearly at once."""
        count, gap_s = 5 + int(self._chance() * 50), 0.06 if self._chance() < 0.7 else 0.001
        for _ in range(count):
            machine = self._machine()
            if machine.up and machine.built is not None and machine.process is not None:
                call = draw_call(self.world.random, self.clients.keys)
                gateway, process = machine.built.gateway, machine.process
                self._later(make_call(self.clients, call, machine.name, gateway, process))
            await self.world.clock.sleep(self._chance() * gap_s)

    async def release(self) -> None:
        """A new release of one endpoint: better, broken, slow, dead or flaky."""
        kinds = (
            Behaviour(latency_s=0.015),
            Behaviour(),
            Behaviour(error=0.6),
            Behaviour(error=0.15, reset=0.1, cut=0.3),
            Behaviour(latency_s=0.4),
            Behaviour(dead=True),
            Behaviour(stall=0.2, malformed=0.2),
            Behaviour(busy=0.5),
        )
        number = int(self._chance() * len(kinds))
        desired, fleet = self.world.desired, self.world.fleet
        if self._chance() < 0.6:
            version = max(desired.versions) + 1
            desired.versions.append(version)
            desired.credit = version
            name = f"{CREDIT}-{version}"
            luck = self._chance()
            if luck < 0.1:
                self.world.executor.fate_of_versions[name] = Fate(error="load_failed", permanent=True)
            elif luck < 0.2:
                self.world.executor.fate_of_versions[name] = Fate(start_s=15.0)
        else:
            desired.chat += 1
            name = f"gpt-{desired.chat}"
        fleet.behaviours[name] = kinds[number]
        await self.world.apply(f"release {name} (kind {number})")

    async def configure(self) -> None:
        """Some other change of the factory file."""
        desired, luck = self.world.desired, self._chance()
        if luck < 0.2:
            desired.replicas = 1 + int(self._chance() * 3)
        elif luck < 0.4:
            desired.retries = int(self._chance() * 3)
        elif luck < 0.5:
            desired.durability = "strict" if desired.durability == "acknowledged" else "acknowledged"
        elif luck < 0.65:
            desired.on_breach = "pause" if desired.on_breach == "abort" else "abort"
        elif luck < 0.8:
            desired.strategy = "blueGreen" if desired.strategy == "canary" else "canary"
        elif luck < 0.9:
            desired.sticky = "key" if desired.sticky == "none" else "none"
        else:
            desired.key_at_once = 2 + int(self._chance() * 8)
        await self.world.apply("configure")

    async def undo(self) -> None:
        """A person regrets."""
        await self.world.undo()

    async def decide(self) -> None:
        """A person promotes, aborts, pauses or resumes a rollout that is under way."""
        control = self.world.control()
        names = await self.world.observer.transact(rollouts_under_way)
        if control is None or control.built is None or not names:
            return
        name = names[int(self._chance() * len(names))]
        verb = ("promote", "abort", "pause", "resume", "resume")[int(self._chance() * 5)]
        service = control.built.rollouts
        if verb == "promote":
            await self.world.verb(
                f"promote {name}", service.promote(name, "user:sim", full=self._chance() < 0.5)
            )
        elif verb == "abort":
            await self.world.verb(f"abort {name}", service.abort(name, "user:sim"))
        elif verb == "pause":
            await self.world.verb(f"pause {name}", service.pause(name, "user:sim"))
        else:
            await self.world.verb(f"resume {name}", service.resume(name, "user:sim"))

    async def create_key(self) -> None:
        """One more client."""
        control = self.world.control()
        if control is None or control.built is None:
            return
        team = TEAM if self._chance() < 0.7 else ""
        made = await self.world.verb(
            "create key", control.built.keys.create(KeyRequest(owner="sim", team=team), actor="user:sim")
        )
        if made is not None:
            self.clients.keys.append(Held(made.key.id, made.secret, team))

    async def rotate_key(self) -> None:
        """A client gets a successor for its key."""
        control, held = self.world.control(), self._key()
        if control is None or control.built is None or held is None:
            return
        made = await self.world.verb(
            "rotate key", control.built.keys.rotate(held.id, overlap_s=self._chance() * 20, actor="user:sim")
        )
        if made is not None:
            self.clients.keys.append(Held(made.key.id, made.secret, held.team))

    async def revoke_key(self) -> None:
        """A key ends; its client goes on trying."""
        control, held = self.world.control(), self._key()
        if control is None or control.built is None or held is None or len(self.clients.keys) < 3:
            return
        if await self.world.verb("revoke key", control.built.keys.revoke(held.id, actor="user:sim")):
            held.revoked = True

    def _key(self) -> Held | None:
        held = [one for one in self.clients.keys if not one.revoked]
        return held[int(self._chance() * len(held))] if held else None

    async def crash_gateway(self) -> None:
        """The power of one gateway fails, for a moment or a while."""
        self.world.crash_gateway(self._machine(), 0.2 if self._chance() < 0.7 else 8.0)

    def strike_at_cut(self, machine: Machine) -> None:
        """The worst moment: a gateway that has just cut a release loses its link, and then its power."""
        if self._chance() < 0.3:
            self.world.fleet.lines.setdefault(machine.name, Line()).down = True
            self.world.crash_gateway_soon(machine)

    async def crash_control(self) -> None:
        """Control is killed, for a moment or a while."""
        control = self.world.control()
        if control is not None:
            self.world.crash_control(control, 0.2 if self._chance() < 0.6 else 10.0)

    async def light_fuse(self) -> None:
        """A process will crash at one of its next calls to a port."""
        control = self.world.control()
        process = control.process if control is not None and self._chance() < 0.7 else self._machine().process
        if process is not None:
            process.fuse = 1 + int(self._chance() * 60)

    async def freeze_control(self) -> None:
        """Control stops for longer than its leases; another takes over, and then the first one wakes."""
        control = self.world.control()
        if control is None or control.built is None or len(self.world.controls) > 1:
            return
        frozen_s = 5.0 + self._chance() * 30.0
        control.process.frozen_until = self.world.clock.monotonic() + frozen_s
        self.world.trace.add(f"{control.process.name} freezes for {frozen_s:.1f} s")
        self.world.start_control((self._chance() - 0.5) * 4.0)
        self._later(self._end_later(control, frozen_s + self._chance() * 10.0))

    async def _end_later(self, control: Control, after_s: float) -> None:
        await self.world.clock.sleep(after_s)
        self.world.crash_control(control)

    async def trouble_link(self) -> None:
        """The link of one gateway goes down, or becomes slow, or forgets."""
        line, luck = self.world.fleet.lines.setdefault(self._machine().name, Line()), self._chance()
        line.down = luck < 0.4
        line.delay_s = 3.0 if 0.4 <= luck < 0.7 else 0.0
        line.forget = 0.5 if luck >= 0.7 else 0.0

    async def trouble_disk(self) -> None:
        """A gateway's disk is full, or fails a few times."""
        machine = self._machine()
        machine.troubled = True
        if self._chance() < 0.5:
            machine.disk.capacity_bytes = machine.disk.used_bytes + int(self._chance() * 4096)
        else:
            operation = ("append", "sync", "replace")[int(self._chance() * 3)]
            machine.disk.fail_next(operation, errno.EIO, 1 + int(self._chance() * 4))

    async def trouble_store(self) -> None:
        """The database fails for some transactions."""
        self.world.store_faults = 1 + int(self._chance() * 20)

    async def crash_replica(self) -> None:
        """A replica is killed."""
        ids = self.world.executor.ids()
        if ids:
            self.world.executor.kill(ids[int(self._chance() * len(ids))])

    async def heal(self) -> None:
        """Every fault ends."""
        self.world.heal()

    async def end_pauses(self) -> None:
        """A person aborts what is paused, for nothing else ever would."""
        control = self.world.control()
        if control is None or control.built is None:
            return
        for name in await self.world.observer.transact(rollouts_paused):
            await self.world.verb(f"abort {name}", control.built.rollouts.abort(name, "user:sim"))


def rollouts_paused(unit: Unit) -> list[str]:
    """Names of rollouts that wait for a person."""
    courses = [course_of(record) for record in unit.list(ROLLOUT)]
    return sorted(course.name for course in courses if course.status.phase == "Paused")


def rollouts_under_way(unit: Unit) -> list[str]:
    """Names of rollouts that have not ended."""
    courses = [course_of(record) for record in unit.list(ROLLOUT)]
    return sorted(course.name for course in courses if course.status.phase not in ENDED)
