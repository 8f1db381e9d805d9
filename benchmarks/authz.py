"""Authorisation: what one decision costs among 1,000 policies, and whether any route of any plane is unchecked.

A factory of forty teams, a hundred endpoints and thirty roles writes 1,000 policies of the kinds that the examples
show, some of them only Cedar itself can decide. Every decision is of another principal, resource and context, by an
engine as it is within a snapshot, and none is remembered. The figure is the p99 over decisions of each one's smallest
time by the wall clock out of three evaluations of the same request, so that other processes taking the processor away
in between do not count as its cost: the engine remembers nothing of principals, requests or decisions, so all three
are the same work, though the later ones find it in the processor's caches. Beside it stand the plain clock (the first
of the three), the processor's time, what reading the policies costs, Cedar with the whole set, and what the gateway
pays where the answer is remembered. Then every route is called by nobody and by somebody without a grant.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from andon.kernel.access import Resource
from andon.kernel.clock import SystemClock
from andon.kernel.exchange import Exchange
from andon.kernel.labels import LABELS
from andon.kernel.principals import Principal
from andon.kernel.snapshot import EndpointEntry, PolicyEntry, Snapshot
from andon.security.policy.engine import Engine
from andon.security.policy.model import PolicySpec, text_of
from andon.security.policy.stage import AuthoriseStage
from benchmarks.authz_routes import probe_everything
from benchmarks.harness import QUICK, conclude, table

POLICIES = 1000
TEAMS, ENDPOINTS, ROLES = 40, 100, 30
ROUNDS = 5 if QUICK else 15
DECISIONS = 10_000 if QUICK else 60_000
SEED = 13
REPEATS = 3

Asked = tuple[Principal, str, Resource, dict[str, Any]]


def policies(count: int) -> str:
    """`count` policies, built-in ones included, in the shares of a large factory."""
    draw = random.Random(SEED)
    built = text_of(()).count("@id(") - 1  # one is replaced
    written = []
    for number in range(count - built):
        team, endpoint, role = (draw.randrange(most) for most in (TEAMS, ENDPOINTS, ROLES))
        written.append(f'@id("p{number}") ' + _policy(number % 20, team, endpoint, role))
    return text_of([PolicySpec(cedar="\n".join(written), replaces=("role-model-user",))])


def _policy(form: int, team: int, endpoint: int, role: int) -> str:
    if form < 9:  # a team may call an endpoint, up to a class
        return (
            f'permit (principal in Team::"team-{team}", action in Action::"infer", resource == Endpoint::"e{endpoint}")'
            " when { context.labelRank <= principal.label };"
        )
    if form < 12:  # a role may call every endpoint of a kind
        return (
            f'permit (principal in Role::"role-{role}", action in Action::"infer", resource is Endpoint)'
            f' when {{ resource.hasTag("area") && resource.getTag("area") == "area-{team % 10}" }};'
        )
    if form < 13:  # from one's own network only; one in ten of these in a form that stays with Cedar
        host = 1 if team < TEAMS // 10 else 0
        return (
            f'forbid (principal, action in Action::"infer", resource == Endpoint::"e{endpoint}")'
            f' unless {{ context has address && context.address.isInRange(ip("10.0.0.{host}/24")) }};'
        )
    if form < 14:  # nothing above the endpoint's class
        return (
            f'forbid (principal, action in Action::"infer", resource == Endpoint::"e{endpoint}")'
            " when { context.labelRank > resource.labelMax };"
        )
    if form < 15:  # a team's streams are bounded
        return (
            f'forbid (principal in Team::"team-{team}", action == Action::"infer.chat", resource)'
            " when { context.stream && context.estimatedTokens > 50000 };"
        )
    if form < 18:  # releases
        return (
            f'permit (principal in Role::"role-{role}", action in [Action::"release.promote", Action::"release.pause"],'
            f' resource is Rollout) when {{ resource.team == "team-{team}" }};'
        )
    if form < 19:
        return (
            f'forbid (principal, action == Action::"release.promote", resource == Rollout::"e{endpoint}-1")'
            " unless { context.approvals >= 1 };"
        )
    return f'permit (principal in Role::"role-{role}", action in Action::"read", resource);'


def requests(count: int, seed: int) -> Sequence[Asked]:
    """Requests of both planes: three quarters ask models, the rest acts on releases and reads."""
    draw = random.Random(seed)
    found: list[Asked] = []
    for number in range(count):
        team, endpoint = draw.randrange(TEAMS), draw.randrange(ENDPOINTS)
        roles = tuple(sorted({f"role-{draw.randrange(ROLES)}" for _ in range(draw.randrange(1, 3))}))
        infer = draw.random() < 0.75
        principal = Principal(
            kind="key" if infer else "user",
            id=f"p{seed}-{number}",
            roles=roles,
            team=f"team-{team}",
            label=draw.choice(LABELS),
        )
        tagged = {"area": f"area-{endpoint % 10}", "team": f"team-{endpoint % TEAMS}"}
        if infer:
            action = draw.choice(["infer.chat", "infer.infer", "infer.embedding"])
            resource = Resource(
                kind="Endpoint", name=f"e{endpoint}", attributes={**tagged, "label": 1, "labelMax": 2}
            )
            context: dict[str, Any] = {
                "labelRank": draw.randrange(4),
                "stream": draw.random() < 0.5,
                "estimatedTokens": draw.randrange(100_000),
                "pathPinned": False,
                "hour": 9,
                "address": "10.0.0.1",
            }
        else:
            action = draw.choice(["release.promote", "release.pause", "factory.read"])
            resource = Resource(kind="Rollout", name=f"e{endpoint}-1", attributes=tagged)
            context = {"approvals": draw.randrange(2), "approvers": (), "change": "", "hour": 9}
        found.append((principal, action, resource, context))
    return found


class Times:
    """Microseconds of decisions."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.least: list[float] = []  # of the repeats of each
        self.processor: list[float] = []


def measure(decide: Callable[[Asked], object], asked: Sequence[Asked]) -> Times:
    """Each decision by the clock and by the processor alone, the first of its repeats and the least."""
    times = Times()
    for one in asked:
        walls = []
        for turn in range(REPEATS):
            began, used = time.perf_counter_ns(), time.thread_time_ns()
            decide(one)
            used = time.thread_time_ns() - used
            walls.append((time.perf_counter_ns() - began) / 1e3)
            if turn == 0:
                times.processor.append(used / 1e3)
        times.wall.append(walls[0])
        times.least.append(min(walls))
    return times


def at(values: Sequence[float], share: float) -> float:
    """A quantile of some values."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def decisions(engine: Engine) -> tuple[float, list[list[object]]]:
    """The p99 of the least times, median of rounds, and the table's lines."""
    rounds = []
    allowed = 0
    asked_before = engine.asked
    for number in range(ROUNDS):
        asked = requests(DECISIONS // ROUNDS, SEED + number)
        gc.collect()
        gc.disable()
        rounds.append(measure(lambda one: engine.decide(*one), asked))
        gc.enable()
    cedar = (engine.asked - asked_before) / (REPEATS * ROUNDS * (DECISIONS // ROUNDS))
    sample = requests(1000, SEED)
    allowed = sum(engine.decide(*one).allowed for one in sample)
    print(f"{allowed / len(sample):.0%} of sampled decisions allowed", file=sys.stderr)
    print(
        f"{engine.compiled} of {len(engine.heads)} policies compiled; Cedar asked in {cedar:.1%} of decisions"
    )
    lines: list[list[object]] = []
    for name, series in (
        (f"uncached, clock, least of {REPEATS}", [one.least for one in rounds]),
        ("uncached, clock", [one.wall for one in rounds]),
        ("uncached, processor", [one.processor for one in rounds]),
    ):
        quantiles = [statistics.median(at(one, share) for one in series) for share in (0.5, 0.99)]
        lines.append([name, *quantiles, max(map(max, series))])
    return float(str(lines[0][2])), lines


def adoption(text: str) -> tuple[Engine, list[list[object]]]:
    """An engine as it stands after adoption; what reading takes, at once and as the longest of its steps."""
    whole = []
    for _ in range(3):
        began = time.perf_counter_ns()
        Engine(text)
        whole.append((time.perf_counter_ns() - began) / 1e3)
    pauses = []
    steps = Engine.in_steps(text)
    while True:
        began = time.perf_counter_ns()
        try:
            next(steps)
        except StopIteration as done:
            engine: Engine = done.value
            break
        pauses.append((time.perf_counter_ns() - began) / 1e3)
    for action in ("release.promote", "release.pause", "factory.read"):
        engine.concerns(action)
    lines: list[list[object]] = [
        ["reading all at once", at(whole, 0.5), at(whole, 0.99), max(whole)],
        [f"reading, one of {len(pauses)} steps", at(pauses, 0.5), at(pauses, 0.99), max(pauses)],
    ]
    return engine, lines


def whole_set(engine: Engine) -> list[object]:
    """Cedar with every policy in one set, as one would write it first."""
    every = engine.whole()

    def decide(one: Asked) -> object:
        principal, action, resource, context = one
        return engine._ask((principal, action, resource, context), engine.concerns(action), (), every)

    times = measure(decide, requests(300, SEED))
    return ["Cedar with the whole set, clock", at(times.wall, 0.5), at(times.wall, 0.99), max(times.wall)]


def remembered(text: str) -> list[object]:
    """What the gateway's stage takes for an answer that it has given before, per request of a batch of 1,000."""
    stage = AuthoriseStage(SystemClock())
    endpoint = EndpointEntry(name="e1", protocol="openai")
    entry = PolicyEntry(digest="d", text=text)
    stage.adopt(
        Snapshot(version=1, factory="f", revision=1, compiled_at_ns=0, endpoints=(endpoint,), policy=entry)
    )()
    x = Exchange()
    x.endpoint, x.principal = endpoint, Principal(kind="key", id="k", roles=("role-1",), team="team-1")
    x.peer, x.body = "10.0.0.1:5000", b"x" * 400
    stage.admit(x)
    batches = []
    for _ in range(50):
        began = time.perf_counter_ns()
        for _ in range(1000):
            stage.admit(x)
        batches.append((time.perf_counter_ns() - began) / 1e6)
    return ["remembered, stage", at(batches, 0.5), at(batches, 0.99), max(batches)]


def main() -> None:
    """Measure, print, conclude."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    text = policies(POLICIES)
    engine, lines = adoption(text)
    p99_us, measured = decisions(engine)
    lines = [*measured, *lines, whole_set(engine), remembered(text)]
    table(("decision", "p50 us", "p99 us", "max us"), lines)
    probes = asyncio.run(probe_everything())
    unchecked = [probe for probe in probes if probe.unchecked]
    for probe in unchecked:
        print(f"unchecked: {probe}")
    planes = {plane: sum(probe.plane == plane for probe in probes) for plane in ("admin", "data", "own")}
    opened = sum(probe.meant_open for probe in probes)
    print(f"{len(probes)} routes ({planes}), {opened} of them open on purpose")
    conclude({"p99_us_1000_policies": p99_us, "routes": len(probes), "unchecked": len(unchecked)})


if __name__ == "__main__":
    main()
