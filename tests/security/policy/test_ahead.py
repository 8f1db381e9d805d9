"""Policies read before their snapshot is adopted."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from andon.kernel.clock import SystemClock
from andon.kernel.errors import Refused
from andon.kernel.exchange import Exchange, Operation
from andon.kernel.principals import Principal
from andon.kernel.snapshot import EndpointEntry, PolicyEntry, Snapshot
from andon.security.policy.ahead import read_ahead
from andon.security.policy.engine import STEP_POLICIES
from andon.security.policy.model import PolicySpec, text_of
from andon.security.policy.stage import AuthoriseStage

CREDIT = EndpointEntry(name="credit", protocol="oip")


def snapshot(cedar: str, digest: str) -> Snapshot:
    return Snapshot(
        version=1, factory="f", revision=1, compiled_at_ns=0, endpoints=(CREDIT,),
        policy=PolicyEntry(digest=digest, text=cedar),
    )  # fmt: skip


def admitted(stage: AuthoriseStage) -> bool:
    x = Exchange()
    x.principal, x.endpoint, x.operation = Principal(kind="key", id="k1"), CREDIT, Operation.INFER
    return stage.admit(x) is None


def test_requests_go_on_while_policies_are_read_and_the_snapshot_brings_them_into_force() -> None:
    stage = AuthoriseStage(SystemClock())
    many = "\n".join(
        f'@id("p{number}") forbid (principal == Key::"k{number}", action, resource);'
        for number in range(5 * STEP_POLICIES)
    )
    new = snapshot(text_of([PolicySpec(cedar=many)]), "d")

    async def main() -> int:
        turns = 0
        reading = asyncio.ensure_future(read_ahead(stage, msgspec.json.encode(new)))
        while not reading.done():
            await asyncio.sleep(0)
            turns += 1
            assert admitted(stage)  # what was in force still is
        return turns

    assert asyncio.run(main()) > 5
    stage.adopt(new)()
    assert stage.digest == "d"
    assert not admitted(stage)


def test_what_was_read_for_another_snapshot_is_not_used() -> None:
    stage = AuthoriseStage(SystemClock())
    closed = '@id("none") forbid (principal, action, resource);'
    asyncio.run(
        read_ahead(
            stage, msgspec.json.encode(snapshot('@id("all") permit (principal, action, resource);', "a"))
        )
    )
    stage.adopt(snapshot(closed, "b"))()
    assert not admitted(stage)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b'{"policy": 3}', b"{}"])
def test_what_is_no_snapshot_is_left_to_the_adoption(raw: bytes) -> None:
    asyncio.run(read_ahead(AuthoriseStage(SystemClock()), raw))


def test_policies_that_cannot_be_read_are_refused_by_the_adoption() -> None:
    stage = AuthoriseStage(SystemClock())
    broken = snapshot("permit (", "x")
    asyncio.run(read_ahead(stage, msgspec.json.encode(broken)))
    with pytest.raises(Refused):
        stage.adopt(broken)
