"""Seeded worlds: rules that flap, restarts at any moment, receivers that fail or do not answer, silences.

What must hold: what fires long enough is told, nothing silenced is, and nobody is told the same twice within the
repeat interval unless an answer was lost; then under the same id.
"""

from __future__ import annotations

import pytest

from andon.kernel.random import SeededRandom
from andon.observability.alerts.book import Book, Receiving
from andon.observability.alerts.groups import Group, Notification
from andon.observability.alerts.instances import Instance
from andon.observability.alerts.model import AlertSpec, Matcher, SilenceSpec, When, WindowWhen
from andon.observability.alerts.rules import NS, Evaluation, Observation, compile_rule
from andon.observability.alerts.silencing import compile_silence

STEP_S = 5
STEPS = 3000
WAIT_S, INTERVAL_S, REPEAT_S, FOR_S = 30, 120, 1800, 20
NAMES = ("a", "b", "c", "quiet")
RULE = compile_rule(
    "errors",
    AlertSpec(
        when=When(window=WindowWhen(metric="errorRate", above=0.1)),
        for_=f"{FOR_S}s",
        group_by=("endpoint",),
        group_wait=f"{WAIT_S}s",
        group_interval=f"{INTERVAL_S}s",
        repeat_interval=f"{REPEAT_S}s",
        receivers=("crew",),
    ),
)
SILENCE = compile_silence(
    "s", SilenceSpec(matchers=(Matcher(label="endpoint", value="quiet"),), ends="2100-01-01T00:00:00Z")
)


class World:
    """A store of plain values, one observer that may die, one receiver that may fail."""

    def __init__(self, seed: int) -> None:
        self.chance = SeededRandom(seed)
        self.now_ns = 1_800_000_000 * NS
        self.true: set[str] = set()
        self.true_since: dict[str, int] = {}
        self.rules: dict[str, tuple[Instance, ...]] = {}
        self.groups: dict[str, Group] = {}
        self.journal: set[str] = set()
        self.got: list[tuple[int, Notification, bool]] = []  # when, what, whether the answer was lost
        self.well = True
        self.restarts = 0
        self.book = self.begun()

    def begun(self) -> Book:
        book = Book()
        book.rules["errors"] = RULE
        book.receivers["crew"] = Receiving()
        book.silences = (SILENCE,)
        book.restore((one for many in self.rules.values() for one in many), self.groups.values(), self.now_ns)
        return book

    def save(self) -> None:
        taken = self.book.take()
        self.rules |= taken.rules
        for key, group in taken.groups.items():
            if group is None:
                self.groups.pop(key, None)
            else:
                self.groups[key] = group
        for event in taken.events:
            if event.unique is not None and event.name in ("alert.fired", "alert.resolved"):
                assert event.unique not in self.journal, "journaled twice"
                self.journal.add(event.unique)

    def restart(self) -> None:
        self.restarts += 1
        self.book = self.begun()

    def step(self) -> None:
        self.now_ns += STEP_S * NS
        for name in NAMES:
            if self.chance.uniform() < (0.01 if name in self.true else 0.004):
                self.true ^= {name}
                self.true_since[name] = self.now_ns
        if self.chance.uniform() < 0.01:
            self.well = not self.well
        looks = {"errors": self.look()}
        self.book.tick(looks, self.now_ns)
        if self.chance.uniform() < 0.2:
            self.book.tick(looks, self.now_ns)  # the same look twice
        if self.chance.uniform() < 0.01:
            return self.restart()  # before anything was remembered: nothing was sent either
        self.save()
        for note in self.book.waiting():
            self.send(note)
            if self.chance.uniform() < 0.01:
                return self.restart()  # after it was sent, before that was remembered
        self.save()
        return None

    def look(self) -> Evaluation:
        if self.chance.uniform() < 0.02:
            return Evaluation(error="the engine is away")
        return Evaluation(seen=tuple(Observation(labels={"endpoint": name}) for name in sorted(self.true)))

    def send(self, note: Notification) -> None:
        if not self.well:
            if self.chance.uniform() < 0.3:
                self.book.give_up(note, "refused", self.now_ns, unknown=False)
            return
        lost = self.chance.uniform() < 0.05
        self.got.append((self.now_ns, note, lost))
        if lost:
            self.book.give_up(note, "no answer", self.now_ns, unknown=True)
        else:
            self.book.deliver(note, self.now_ns)


def of(note: Notification) -> str:
    return (note.firing or note.resolved)[0].labels["endpoint"]


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_lost_doubled_or_told_in_silence(seed: int) -> None:
    world = World(seed)
    for _ in range(STEPS):
        world.step()
    assert all(of(note) != "quiet" for _, note, _ in world.got)
    doubled(world)
    # Whatever fires in the end is told once the receiver is well for long enough.
    world.well = True
    world.chance = SeededRandom(0)
    world.chance.uniform = lambda: 0.999  # nothing more goes wrong or changes
    for _ in range((FOR_S + WAIT_S + 2 * INTERVAL_S) // STEP_S + 3):
        world.step()
    for name in NAMES[:-1]:
        last = [note for _, note, _ in world.got if of(note) == name]
        if name in world.true:
            assert last, name
            assert last[-1].firing, name
        elif last:
            assert not last[-1].firing, name
    assert world.restarts > 5


def doubled(world: World) -> None:
    """Two pages of one episode within the repeat interval are one id, or the end was told in between."""
    told: dict[str, tuple[int, Notification]] = {}
    for at_ns, note, lost in world.got:
        name = of(note)
        if not note.firing:
            told.pop(name, None)
            continue
        before = told.get(name)
        if before is not None and at_ns - before[0] < REPEAT_S * NS:
            assert note.id == before[1].id or before[1].firing[0].starts_ns != note.firing[0].starts_ns
        if not lost:
            told[name] = (at_ns, note)


def test_one_seed_is_one_world() -> None:
    worlds = [World(7), World(7)]
    for world in worlds:
        for _ in range(500):
            world.step()
    assert [note.id for _, note, _ in worlds[0].got] == [note.id for _, note, _ in worlds[1].got]
