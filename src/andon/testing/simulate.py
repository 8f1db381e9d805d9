"""Run the real factory on virtual time under a seed: `python -m andon.testing.simulate --seed N --steps M`.

Steps, then invariants, step after step; at the end every fault is healed and the factory must come to rest where people
want it. A failure is one line with the command that repeats it. Equal seeds give equal histories.
"""

from __future__ import annotations

import argparse
import gc
import logging
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import structlog

from andon.kernel.clock import SystemClock
from andon.testing.loop import VirtualLoop
from andon.testing.simulate_clients import Clients
from andon.testing.simulate_invariants import InvariantError, Invariants
from andon.testing.simulate_steps import Steps
from andon.testing.simulate_world import World

STEPS = 150
LEDGER_EVERY = 25  # steps between two scans of the disks
QUIET_S_MAX = 900.0  # virtual seconds in which a healed factory must come to rest


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one simulation."""

    seed: int
    steps: int
    digest: str  # of the whole trace
    virtual_s: float
    requests: int
    rollouts: int
    failed_at: int | None = None  # the step; None if everything held
    invariant: str = ""
    detail: str = ""
    last: tuple[str, ...] = ()  # of the trace

    @property
    def command(self) -> str:
        """What repeats it."""
        return f"make sim SEED={self.seed} STEPS={self.steps}"


def simulate(seed: int, steps: int = STEPS, gateways: int = 2) -> Ran:
    """One simulation from its beginning to its end."""
    loop = VirtualLoop(seed)
    loop.set_exception_handler(_leave_to_invariants)
    with _quiet():
        try:
            return loop.run_until_complete(_simulate(loop, seed, steps, gateways))
        finally:
            loop.close()


async def _simulate(loop: VirtualLoop, seed: int, steps: int, gateways: int) -> Ran:
    world, clients = World(loop, seed, gateways), Clients()
    invariants, acts = Invariants(world, clients), Steps(world, clients)
    invariants.on_cut = acts.strike_at_cut
    step, failure = 0, None
    await world.begin()
    try:
        for _ in range(3):
            await acts.create_key()
        for step in range(1, steps + 1):
            await acts.one()
            await world.clock.sleep(world.random.uniform() * 1.5)
            await invariants.check()
            if step % LEDGER_EVERY == 0:
                invariants.check_ledger()
        step += 1
        await _come_to_rest(world, acts, invariants)
    except InvariantError as error:
        failure = error
        world.trace.add(f"FAILED {error}")
    finally:
        await world.end()
    return Ran(
        seed=seed,
        steps=steps,
        digest=world.trace.digest,
        virtual_s=loop.time(),
        requests=len(clients.answered),
        rollouts=invariants.rollouts,
        failed_at=step if failure is not None else None,
        invariant=failure.name if failure is not None else "",
        detail=str(failure) if failure is not None else "",
        last=tuple(world.trace.last),
    )


async def _come_to_rest(world: World, acts: Steps, invariants: Invariants) -> None:
    """Heal, let traffic flow, and wait until desired equals observed."""
    invariants.on_cut = None
    world.heal()
    world.trace.add("healed")
    began = world.clock.monotonic()
    left: list[str] = []
    while world.clock.monotonic() - began < QUIET_S_MAX:
        await acts.burst()
        await world.clock.sleep(12.0)  # longer than any request may take
        await acts.end_pauses()
        await world.clock.sleep(1.0)
        await invariants.check()
        left = await invariants.unsettled()
        if not left:
            invariants.check_ledger()
            world.trace.add("at rest")
            return
        world.trace.add(f"not at rest: {left[0]}")
    raise InvariantError("comes-to-rest", "; ".join(left[:5]))


def _leave_to_invariants(loop: object, context: dict[str, object]) -> None:
    """Tasks that die are found by the invariants; asyncio's own remarks would come at the collector's whim."""


@contextmanager
def _quiet() -> Iterator[None]:
    """No operational logs: a simulated factory fails all the time."""
    before, level = structlog.get_config(), logging.root.manager.disable
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(50), cache_logger_on_first_use=False
    )
    logging.disable(logging.CRITICAL)
    gc.collect()
    try:
        yield
    finally:
        structlog.configure(**before)
        logging.disable(level)


def told(ran: Ran) -> str:
    """The line about one simulation; after a failure also the end of its trace."""
    facts = f"{ran.requests} requests, {ran.rollouts} rollouts, {ran.virtual_s:.0f} virtual s, digest {ran.digest}"
    if ran.failed_at is None:
        return f"held: seed {ran.seed}, {ran.steps} steps, {facts}"
    trace = "\n".join(ran.last)
    return f"{trace}\nFAILED: seed {ran.seed}, step {ran.failed_at}, {ran.detail}; again: {ran.command}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="The real factory under a seeded scheduler.")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--gateways", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.0, help="random seeds for so long")
    options = parser.parse_args()
    clock = SystemClock()
    until = clock.monotonic() + options.seconds
    seed = options.seed if options.seed is not None else secrets.randbits(32)
    while True:
        ran = simulate(seed, options.steps, options.gateways)
        print(told(ran), flush=True)
        if ran.failed_at is not None:
            sys.exit(1)
        if clock.monotonic() >= until:
            return
        seed = secrets.randbits(32)


if __name__ == "__main__":
    main()
