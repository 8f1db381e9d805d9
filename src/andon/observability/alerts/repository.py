"""What is remembered of alerts in the store, so that a restart neither pages again nor forgets.

One record per rule with its instances and its place in the journal, one per group of notifications. Everything of one
moment is written in one transaction, only by who holds the lease.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from andon.observability.alerts.book import Taken
from andon.observability.alerts.groups import Group
from andon.observability.alerts.instances import Instance
from andon.store.model import Lease, Record, Unit

STATE, GROUP = "AlertState", "AlertGroup"  # kinds that nobody writes and nobody lists


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a new holder begins from."""

    instances: tuple[Instance, ...]
    groups: tuple[Group, ...]
    cursors: dict[str, int]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A status to be written with the rest."""

    kind: str
    name: str
    status: dict[str, Any]
    generation: int | None = None


def load(unit: Unit) -> Remembered:
    """All of it."""
    states = unit.list(STATE)
    return Remembered(
        instances=tuple(
            msgspec.convert(one, Instance) for state in states for one in state.spec.get("instances", ())
        ),
        groups=tuple(msgspec.convert(record.spec, Group) for record in unit.list(GROUP)),
        cursors={state.name: state.spec.get("cursor", 0) for state in states if state.spec.get("cursor")},
    )


def save(
    unit: Unit, lease: Lease, taken: Taken, cursors: Mapping[str, int], statuses: Sequence[Status]
) -> bool:
    """Write what has changed; False, and nothing written, if another has the lease by now."""
    if not unit.holds(lease):
        return False
    for name, instances in taken.rules.items():
        cursor = cursors.get(name, 0)
        if instances or cursor:
            spec = {"instances": msgspec.to_builtins(instances), "cursor": cursor}
            unit.put(Record(kind=STATE, name=name, spec=spec))
        else:
            unit.delete(STATE, name)
    for key, group in taken.groups.items():
        if group is None:
            unit.delete(GROUP, key)
        else:
            unit.put(Record(kind=GROUP, name=key, spec=msgspec.to_builtins(group)))
    for event in taken.events:
        unit.append(event)
    for one in statuses:
        unit.put_status(one.kind, one.name, one.status, expect_generation=one.generation)
    return True
