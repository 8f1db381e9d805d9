"""What must hold in a simulated factory: after every step, at checkpoints of the ledger, and once all is quiet.

Each invariant has a name, by which a failure is told. Reads everything, changes nothing; the rooms' own
`invariants.py` are asked first, then what no single room can see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from andon.app.gateway_assembly import AssembledGateway
from andon.kernel.deployments import DEPLOYMENT, DeploymentSpec
from andon.kernel.events import Event
from andon.kernel.ids import time_ms
from andon.kernel.reports import Cut
from andon.kernel.snapshot import EndpointEntry, TargetEntry
from andon.ledger.reader import read
from andon.ledger.row import Outcome
from andon.lifecycle.endpoints import invariants as endpoint_invariants
from andon.lifecycle.endpoints.repository import ENDPOINT, load_facts
from andon.lifecycle.rollouts.model import ENDED, ROLLOUT, STOPPED, Course
from andon.lifecycle.rollouts.repository import course_of
from andon.security.limits import invariants as limit_invariants
from andon.security.limits.counters import LocalCounters
from andon.security.limits.stage import LimitStage
from andon.serving.deployments.invariants import broken_in
from andon.serving.deployments.model import ServingStatus
from andon.store.model import Revision, Unit
from andon.testing.simulate_clients import Clients
from andon.testing.simulate_factory import CHAT, CHAT_AT_ONCE, TEAM, TEAM_BURST, TEAM_PER_MINUTE
from andon.testing.simulate_world import FOLDER, Machine, World
from andon.wire.model import Header

EVENTS_PAGE = 1000


class InvariantError(Exception):
    """An invariant does not hold."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.name = name


@dataclass(frozen=True)
class KnownCut:
    """A cut that a gateway is known to have made."""

    release: str
    overrules: int
    at_ms: int
    excused: bool  # its disk was failing, so a crash may forget it


@dataclass(frozen=True)
class Stored:
    """What the database says, read in one unit of work."""

    courses: tuple[Course, ...]
    aborts: tuple[Event, ...]
    revisions: tuple[Revision, ...]
    faults: tuple[str, ...]  # of endpoints and deployments, by their rooms' invariants


class Invariants:
    """Remembers what was true, so that it can tell what may not be any more."""

    def __init__(self, world: World, clients: Clients) -> None:
        self._world = world
        self._clients = clients
        self._versions: dict[str, int] = {}  # the last snapshot of each gateway process
        self._contents: dict[int, bytes] = {}  # what each snapshot version holds
        self._phases: dict[str, str] = {}
        self._aborts: list[Event] = []
        self._journal_at = 0
        self.cuts: dict[tuple[str, str], KnownCut] = {}  # by gateway and rollout
        self._level: dict[str, tuple[float, float]] = {}  # by process: time and level of the team's bucket
        self._answered_at = 0
        self._wrongs: list[tuple[str, str]] = []
        self.on_cut: Callable[[Machine], None] | None = None  # told of each cut when it is first seen
        world.watchers.append(self.sent)

    @property
    def rollouts(self) -> int:
        """How many were seen."""
        return len(self._phases)

    # at each request sent

    def sent(self, machine: Machine, target: TargetEntry, headers: Sequence[Header]) -> None:
        """A gateway sends: never to a release that it has cut, never more at once than is granted."""
        self.note_cuts(machine)
        assert machine.built is not None
        assert machine.process is not None
        snapshot = machine.built.holder.current
        id_ = dict(headers).get(b"x-request-id", b"").decode()
        for entry in snapshot.endpoints if snapshot is not None else ():
            known = self.cuts.get((machine.name, entry.rollout.id)) if entry.rollout is not None else None
            if known is None or entry.rollout is None or entry.rollout.overrules > known.overrules:
                continue
            if known.excused or not _only_canary(entry, target):
                continue
            if id_ and time_ms(id_) > known.at_ms:
                text = f"{machine.name} sent {id_} to {known.release}, cut at {known.at_ms} ms"
                self._wrongs.append(("cut-gets-no-traffic", text))
        chatting = self._world.fleet.in_flight.get((machine.process.name, "cloud"), 0)
        if chatting > CHAT_AT_ONCE:
            text = f"{machine.process.name} has {chatting} requests to {CHAT} in flight of {CHAT_AT_ONCE}"
            self._wrongs.append(("limits-never-overshoot", text))

    def note_cuts(self, machine: Machine) -> None:
        """Remember what a gateway has cut, and hold it to what it had cut before."""
        if machine.built is None:
            return
        process = machine.process
        assert process is not None
        for id_, watch in machine.built.rollouts.watches.items():
            known = self.cuts.get((machine.name, id_))
            if watch.cut:
                if known is None or watch.cut_overrules > known.overrules:
                    at_ms = process.clock.now_ns() // 1_000_000
                    self.cuts[(machine.name, id_)] = KnownCut(
                        watch.entry.canary, watch.cut_overrules, at_ms, machine.troubled
                    )
                    self._world.trace.add(f"{process.name} has cut {watch.entry.canary} of {id_}")
                    if self.on_cut is not None:
                        self.on_cut(machine)
            elif known is not None and not known.excused and watch.entry.overrules <= known.overrules:
                text = f"{process.name} goes on with {known.release} of {id_}, which {machine.name} had cut"
                self._wrongs.append(("cut-survives-restart", text))

    # after every step

    async def check(self) -> None:
        """Raises InvariantError for the first that does not hold."""
        for machine in self._world.machines:
            self.note_cuts(machine)
        for name, detail in self._wrongs:
            raise InvariantError(name, detail)
        for detail in self._clients.wrongs:
            raise InvariantError("clients-see-no-wrong", detail)
        for machine in self._world.machines:
            for name, detail in self._gateway(machine):
                raise InvariantError(name, detail)
        for name, detail in self._control():
            raise InvariantError(name, detail)
        for name, detail in self._team_rate():
            raise InvariantError(name, detail)
        stored = await self._world.observer.transact(self._read)
        for name, detail in self._database(stored):
            raise InvariantError(name, detail)

    def _gateway(self, machine: Machine) -> Iterator[tuple[str, str]]:
        built, process = machine.built, machine.process
        if built is None or process is None or process.dead:
            return
        if built.gateway.meters.events.get("bug"):
            yield "no-bugs", f"{process.name} caught an exception that nobody foresaw"
        for loop in machine.loops:
            if loop.done():
                yield "loops-never-end", f"a loop of {process.name} ended: {loop!r}"
        yield from self._snapshot(built, process.name)
        limits = next(stage for stage in built.stages if isinstance(stage, LimitStage))
        if limits.reserved < limits.settled + limits.cancelled:
            yield "settle-once", f"{process.name} settled more than it reserved"
        if built.gateway.meters.in_flight == 0:
            assert isinstance(limits.store, LocalCounters)
            for fault in limit_invariants.broken(limits, limits.store, ()):
                yield "reserved-is-settled", f"{process.name}: {fault}"

    def _snapshot(self, built: AssembledGateway, process: str) -> Iterator[tuple[str, str]]:
        snapshot = built.holder.current
        if built.gateway.snapshot is not snapshot:
            yield "snapshot-whole", f"{process} routes by another snapshot than it holds"
        if snapshot is None:
            return
        before = self._versions.get(process, 0)
        if snapshot.version < before:
            yield "snapshot-versions-grow", f"{process} went from version {before} back to {snapshot.version}"
        self._versions[process] = snapshot.version
        content = msgspec.json.encode(msgspec.structs.replace(snapshot, compiled_at_ns=0))
        if self._contents.setdefault(snapshot.version, content) != content:
            yield "snapshot-version-means-one", f"version {snapshot.version} has two contents"
        for entry in snapshot.endpoints:
            total = sum(release.weight for release in entry.releases)
            if entry.releases and total != 10_000:
                yield "weights-whole", f"{entry.name} adds up to {total} in version {snapshot.version}"

    def _control(self) -> Iterator[tuple[str, str]]:
        for control in self._world.controls:
            if control.process.dead or control.built is None:
                continue
            if control.built.driver.counts.bugs:
                yield "no-bugs", f"{control.process.name} has {control.built.driver.counts.bugs} failed turns"
            for loop in control.loops:
                if loop.done():
                    yield "loops-never-end", f"a loop of {control.process.name} ended: {loop!r}"

    def _team_rate(self) -> Iterator[tuple[str, str]]:
        """The team's successes, counted by a leaky bucket of our own."""
        new = self._clients.answered[self._answered_at :]
        self._answered_at = len(self._clients.answered)
        ours = [one for one in new if one.team == TEAM and one.status == 200 and not one.replayed]
        for one in sorted(ours, key=lambda one: one.started_at):
            before, level = self._level.get(one.process, (one.started_at, 0.0))
            drained = max(0.0, one.started_at - before) * TEAM_PER_MINUTE / 60.0
            level = max(0.0, level - drained) + 1.0
            self._level[one.process] = (max(before, one.started_at), level)
            # A step's answers arrive out of order; one burst more is what sorting within a step cannot see.
            if level > 2 * TEAM_BURST + 1:
                yield "limits-never-overshoot", f"team {TEAM} had {level:.0f} requests beyond its rate"

    def _read(self, unit: Unit) -> Stored:
        faults = []
        for record in unit.list(ENDPOINT):
            facts = load_facts(unit, record.name)
            if facts is not None:
                faults += [
                    f"{record.name}: {fault}"
                    for fault in endpoint_invariants.broken(facts.status, facts.latest)
                ]
        for record in unit.list(DEPLOYMENT):
            fault = broken_in(msgspec.convert(record.status, ServingStatus)) if record.status else None
            faults += [f"{record.name}: {fault}"] if fault else []
        page = unit.events(after=self._journal_at, limit=EVENTS_PAGE)
        while page:
            self._aborts += [line.event for line in page if line.event.name == "rollout.aborted"]
            self._journal_at = page[-1].sequence
            page = unit.events(after=self._journal_at, limit=EVENTS_PAGE)
        return Stored(
            courses=tuple(course_of(record) for record in unit.list(ROLLOUT)),
            aborts=tuple(self._aborts),
            revisions=tuple(unit.revisions(limit=50)),
            faults=tuple(faults),
        )

    def _database(self, stored: Stored) -> Iterator[tuple[str, str]]:
        for fault in stored.faults:
            yield "rooms-invariants", fault
        for fault in endpoint_invariants.broken_history(stored.courses, stored.aborts):
            yield "one-rollout-one-abort", fault
        told = {event.subject for event in stored.aborts}
        for course in stored.courses:
            phase, before = course.status.phase, self._phases.get(course.name, "")
            if phase != before:
                self._world.trace.add(f"{course.name} is {phase}: {course.status.reason[:80]}")
            self._phases[course.name] = phase
            if (before in STOPPED and phase not in STOPPED) or (before in ENDED and phase != before):
                yield "ended-stays-ended", f"{course.name} was {before} and is {phase}"
            if phase in STOPPED and f"{ROLLOUT}/{course.name}" not in told:
                yield "one-rollout-one-abort", f"{course.name} is {phase} and the journal does not say so"
        for newer, older in zip(stored.revisions, stored.revisions[1:], strict=False):
            if newer.parent != older.number or newer.number != older.number + 1:
                yield (
                    "revisions-linear",
                    f"revision {newer.number} follows {newer.parent}, not {older.number}",
                )

    # now and then, and at the end

    def check_ledger(self) -> None:
        """Every acknowledged answer has exactly one final row on its gateway's disk; nothing has two."""
        for machine in self._world.machines:
            finals: dict[str, int] = {}
            for entry in read(machine.disk, FOLDER):
                if isinstance(entry.row, Outcome) and entry.row.final and entry.row.arm != "shadow":
                    finals[entry.row.id] = finals.get(entry.row.id, 0) + 1
            for id_, count in finals.items():
                if count > 1:
                    raise InvariantError("one-final-row", f"{id_} has {count} final rows at {machine.name}")
            for one in self._clients.answered:
                if one.gateway == machine.name and one.status == 200 and not one.replayed:
                    if finals.get(one.id, 0) != 1:
                        text = f"{one.id} was acknowledged by {one.process} and has no final row"
                        raise InvariantError("acknowledged-is-recorded", text)

    async def unsettled(self) -> list[str]:
        """What is not yet as it should be; empty once desired equals observed everywhere."""
        world = self._world
        control = world.control()
        if control is None or control.built is None:
            return ["control is away"]
        found = await world.observer.transact(lambda unit: list(self._unsettled_in(unit)))
        newest = control.built.publisher.version
        for machine in world.machines:
            built = machine.built
            if built is None:
                found.append(f"{machine.name} is down")
                continue
            if built.holder.version != newest:
                found.append(f"{machine.name} is on snapshot {built.holder.version}, not {newest}")
            if built.reports.waiting(Cut):
                found.append(f"{machine.name} has not told of a cut")
            if built.gateway.meters.in_flight:
                found.append(f"{machine.name} has {built.gateway.meters.in_flight} requests in flight")
            keys = {entry.id for entry in built.holder.current.keys} if built.holder.current else set()
            found += [
                f"{machine.name} still knows key {held.id}"
                for held in self._clients.keys
                if held.revoked and held.id in keys
            ]
        return found

    def _unsettled_in(self, unit: Unit) -> Iterable[str]:
        wanted: dict[str, int] = {}
        for record in unit.list(ENDPOINT):
            facts = load_facts(unit, record.name)
            if facts is None:
                continue
            status, latest, release = facts.status, facts.latest, facts.spec.release
            if latest is not None and latest.status.phase not in ENDED:
                yield f"{latest.name} is {latest.status.phase}: {latest.status.reason}"
            elif status.observed_generation != facts.generation:
                yield f"{record.name} was not looked at since generation {facts.generation}"
            elif status.stable is None or status.stable.id != release.id:
                aborted = latest is not None and latest.status.phase == "Aborted"
                if not (aborted and latest is not None and latest.spec.target.id == release.id):
                    yield f"{record.name} does not serve {release.id}"
            if status.stable is not None and status.stable.deployment:
                wanted[status.stable.deployment] = facts.spec.replicas
        for name, replicas in wanted.items():
            deployed = unit.get(DEPLOYMENT, name)
            if deployed is None:
                yield f"there is no deployment {name}"
                continue
            spec = msgspec.convert(deployed.spec, DeploymentSpec)
            status_ = msgspec.convert(deployed.status, ServingStatus)
            if spec.replicas < replicas or status_.ready != spec.replicas:
                if not status_.failed:
                    yield f"{name} has {status_.ready} of {spec.replicas} replicas ready"


def _only_canary(entry: EndpointEntry, target: TargetEntry) -> bool:
    """Whether a target serves the rollout's new release and not the stable one."""
    rollout = entry.rollout
    if rollout is None:
        return False
    places = {release.id: {(one.id, one.model) for one in release.targets} for release in entry.releases}
    place = (target.id, target.model)
    return place in places.get(rollout.canary, ()) and place not in places.get(rollout.stable, ())
