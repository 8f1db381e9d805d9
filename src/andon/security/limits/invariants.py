"""What always holds of limits: nothing is lost between reserving and settling.

Checked by the simulator after every step and by a gateway on its health page; pure reading, never repairing.
"""

from __future__ import annotations

from collections.abc import Iterable

from andon.security.limits.counters import LocalCounters
from andon.security.limits.stage import LimitStage, Reservation

SLACK = 1e-6


def broken(stage: LimitStage, counters: LocalCounters, open_reservations: Iterable[Reservation]) -> list[str]:
    """The invariants that do not hold, as sentences; empty when all is well.

    `open_reservations` are those of every exchange on its walk.
    """
    faults = []
    taken = list(open_reservations)
    if stage.reserved != stage.settled + stage.cancelled + len(taken):
        faults.append(
            f"{stage.reserved} reserved is not {stage.settled} settled + {stage.cancelled} cancelled "
            f"+ {len(taken)} in flight"
        )
    active: dict[int, int] = {}
    held: dict[int, int] = {}
    for reservation in taken:
        for counter in reservation.counters:
            active[id(counter)] = active.get(id(counter), 0) + 1
            held[id(counter)] = held.get(id(counter), 0) + reservation.tokens
    for counter in counters.all():
        name = f"{counter.rule.name}/{counter.subject}"
        if counter.active != active.get(id(counter), 0):
            faults.append(
                f"{name} counts {counter.active} in flight, and there are {active.get(id(counter), 0)}"
            )
        if counter.held != held.get(id(counter), 0):
            faults.append(f"{name} holds {counter.held} tokens, and {held.get(id(counter), 0)} are reserved")
    return faults
