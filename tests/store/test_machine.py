"""Any sequence of verbs leaves the store as a plain dictionary would be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from andon.kernel.errors import Conflict
from andon.store.model import Lease, Record, Unit
from andon.store.sql import open_store
from andon.testing.runner import InlineRunner
from tests.store.conftest import HandClock

T = TypeVar("T")

kinds = st.sampled_from(["Endpoint", "Rollout"])
names = st.sampled_from(["a", "b", "c"])
leaves = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5)
specs = st.dictionaries(st.text(max_size=3), leaves | st.lists(leaves, max_size=3), max_size=3)
owners = st.sampled_from(["", "Endpoint/a", "Rollout/b", "Endpoint/c"])


def differs(a: Any, b: Any) -> bool:
    """As JSON, where 1 is not true."""
    return json.dumps(a, sort_keys=True) != json.dumps(b, sort_keys=True)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock()
        self.loop = asyncio.new_event_loop()
        self.store = self.loop.run_until_complete(open_store("sqlite://", self.clock, InlineRunner()))
        self.model: dict[tuple[str, str], dict[str, Any]] = {}
        self.leases: list[Lease] = []

    def do(self, work: Callable[[Unit], T]) -> T:
        return self.loop.run_until_complete(self.store.transact(work))

    @rule(kind=kinds, name=names, spec=specs, owner=owners, expected=st.none() | st.integers(0, 3))
    def put(self, kind: str, name: str, spec: dict[str, Any], owner: str, expected: int | None) -> None:
        held = self.model.get((kind, name))
        version = held["version"] if held else 0
        record = Record(kind=kind, name=name, spec=spec, owner=owner)
        try:
            stored = self.do(lambda unit: unit.put(record, expect_version=expected))
        except Conflict:
            assert expected is not None
            assert expected != version
            return
        assert expected in (None, version)
        if held is None:
            held = {"spec": spec, "owner": owner, "generation": 1, "version": 1, "status": {}}
        elif differs([held["spec"], held["owner"]], [spec, owner]):
            grown = held["generation"] + differs(held["spec"], spec)
            held = {**held, "spec": spec, "owner": owner, "generation": grown, "version": version + 1}
        self.model[kind, name] = held
        assert (stored.generation, stored.version) == (held["generation"], held["version"])

    @rule(kind=kinds, name=names, status=specs, generation=st.none() | st.integers(1, 3))
    def put_status(self, kind: str, name: str, status: dict[str, Any], generation: int | None) -> None:
        held = self.model.get((kind, name))
        stored = self.do(lambda unit: unit.put_status(kind, name, status, expect_generation=generation))
        if held is None or generation not in (None, held["generation"]):
            assert stored is None
        else:
            held["version"] += differs(held["status"], status)
            held["status"] = status

    @rule(kind=kinds, name=names)
    def delete(self, kind: str, name: str) -> None:
        assert self.do(lambda unit: unit.delete(kind, name)) == ((kind, name) in self.model)
        gone = {(kind, name)} & self.model.keys()
        while gone:
            for key in gone:
                del self.model[key]
            subjects = {f"{kind}/{name}" for kind, name in gone}
            gone = {key for key, held in self.model.items() if held["owner"] in subjects}

    @rule(owner=st.sampled_from(["x", "y"]), seconds=st.integers(0, 12))
    def acquire(self, owner: str, seconds: int) -> None:
        self.clock.advance(seconds)
        lease = self.do(lambda unit: unit.acquire("l", owner, 10))
        if lease is not None:
            assert all(lease.token >= old.token for old in self.leases)
            assert all(old.owner == lease.owner for old in self.leases if old.token == lease.token)
            self.leases.append(lease)
        held = {old.owner for old in self.leases if self.do(lambda unit: unit.holds(old))}  # noqa: B023  # run at once
        assert len(held) <= 1

    @invariant()
    def equal(self) -> None:
        rows = self.do(lambda unit: [row for kind in ("Endpoint", "Rollout") for row in unit.list(kind)])
        fields = ("spec", "owner", "generation", "version", "status")
        found = {(row.kind, row.name): {name: getattr(row, name) for name in fields} for row in rows}
        assert found == self.model

    def teardown(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self.loop.close()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
