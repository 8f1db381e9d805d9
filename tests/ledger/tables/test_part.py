"""The sealing part on the ground of a real observer: its loop, what it tells, and its verbs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from andon.app.home import Home
from andon.app.observer.part import ObserverGround, Part
from andon.app.observer.sealing import build_sealing
from andon.app.observer.sealing_routes import LedgerStatus, RebuildRequest
from andon.app.observer.serving import open_ground
from andon.app.settings import Settings
from andon.kernel.errors import Conflict, Refused
from andon.kernel.principals import Principal
from andon.kernel.redaction import KnownSecrets
from andon.web.routes import Call
from tests.ledger.tables.worlds import exchanges, outcomes, write_segment

CALL = Call(id="1", principal=Principal(kind="user", id="x"))


@asynccontextmanager
async def sealing(root: Path) -> AsyncIterator[tuple[ObserverGround, Part]]:
    """The part with its loop running."""
    home = Home(root)
    home.create()
    async with open_ground(home, Settings(), {}, KnownSecrets()) as ground:
        part = build_sealing(ground)
        loops = [asyncio.ensure_future(loop()) for loop in part.loops]
        try:
            yield ground, part
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)


async def eventually(look: Callable[[], Awaitable[bool]], patience_s: float = 30.0) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    while not await look():
        assert loop.time() < deadline
        await asyncio.sleep(0.05)


async def status(part: Part) -> LedgerStatus:
    found: LedgerStatus = await part.routes[0].handler(CALL)
    return found


def figure(part: Part, name: str, *labels: tuple[str, str]) -> float:
    """One series as it is scraped."""
    samples = [
        sample.value
        for source in part.metrics
        for family in source.families()
        if family.name == name
        for sample in family.samples
        if set(labels) <= set(sample.labels)
    ]
    return sum(samples)


def test_the_loop_seals_and_tells_and_a_rebuild_can_be_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with sealing(tmp_path) as (ground, part):
            write_segment(ground.home.ledger, 1, 1, exchanges(range(30)))

            async def sealed() -> bool:
                return (await status(part)).logs[0].sealed_segment == 1

            await eventually(sealed)
            tables = {table.name: table for table in (await status(part)).tables}
            assert (tables["attempts"].rows, tables["open_intents"].rows) == (30, 0)
            assert figure(part, "andon_ledger_sealed_rows_total") == 30
            assert figure(part, "andon_ledger_sealed_segments_total", ("log", "rows")) == 1
            assert figure(part, "andon_ledger_seal_failures_total") == 0

            rebuild = part.routes[1].handler
            with pytest.raises(Refused, match="There is no table"):
                await rebuild(Call(id="1", principal=CALL.principal, body=RebuildRequest(table="nothing")))
            asked = Call(id="1", principal=CALL.principal, body=RebuildRequest(table="attempts"))
            assert (await rebuild(asked)).waiting == ("attempts",)
            with pytest.raises(Conflict, match="being rebuilt"):
                await rebuild(asked)

            async def rebuilt() -> bool:
                return (await status(part)).rebuild.rows == {"attempts": 30}

            await eventually(rebuilt)

    asyncio.run(main())


def test_damage_is_journaled_counted_and_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with sealing(tmp_path) as (ground, part):
            path = write_segment(ground.home.ledger, 1, 1, outcomes(range(10)))
            path.write_bytes(path.read_bytes()[:-9])

            async def journaled() -> bool:
                events = await ground.store.transact(lambda unit: unit.events(name="segment.quarantined"))
                return [one.event.data["rows"] for one in events] == [5]

            await eventually(journaled)
            [damage] = (await status(part)).quarantined
            assert (damage.segment, damage.rows) == (path.name, 5)
            assert figure(part, "andon_ledger_quarantined_total") == 1

    asyncio.run(main())
