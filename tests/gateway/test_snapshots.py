"""Snapshots: whole or not at all, kept on disk, found again; and the link that brings them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from andon.gateway.admin import Admin
from andon.gateway.link import REPORTS_MAX, Link, ReportQueue
from andon.gateway.meters import Meters
from andon.gateway.snapshots import Holder
from andon.kernel.errors import Refused
from andon.kernel.random import SeededRandom
from andon.kernel.reports import Cut, Progress, TargetHealth
from andon.kernel.snapshot import RolloutEntry, Snapshot
from andon.ledger.disk import FileDisk
from andon.wire.model import Request
from tests.gateway.world import (
    FakeAnswer,
    FakeReply,
    World,
    chat_endpoint,
    oip_endpoint,
    release,
    snapshot,
    target,
)

T = TypeVar("T")


class Inline:
    async def run(self, work: Callable[[], T]) -> T:
        return work()


def holder(world: World, path: Path) -> Holder:
    return Holder(world.gateway.adopters, FileDisk(path), "snapshots", Inline(), world.gateway.meters)


def encoded(version: int, *endpoints: Any) -> bytes:
    return msgspec.json.encode(snapshot(*(endpoints or (chat_endpoint(),)), version=version))


def test_one_stage_that_refuses_keeps_everything_as_it_was(tmp_path: Path):
    async def main() -> None:
        world = World()
        held = holder(world, tmp_path)
        await held.adopt(encoded(5))
        world.stages[2].refuses_snapshot = Refused("weights_not_whole", "No.")
        with pytest.raises(Refused):
            await held.adopt(encoded(6, oip_endpoint()))
        assert held.version == 5
        assert all(stage.adopted[-1] == 5 for stage in world.stages)
        assert (await world.chat()).status == 200
        assert len(list((tmp_path / "snapshots").iterdir())) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    "raw",
    [
        b"{", b"[]", b'{"version":9}', encoded(5), encoded(4),
        encoded(9, chat_endpoint(), chat_endpoint()),
        encoded(9, chat_endpoint(hedge_after_ms=-5)),
        encoded(9, chat_endpoint(fallbacks=("none",))),
        encoded(9, chat_endpoint(fallbacks=("credit",)), oip_endpoint()),
        encoded(9, chat_endpoint(timeout_s=0)),
        encoded(9, chat_endpoint(target("a", "oip"))),
        encoded(9, chat_endpoint(releases=(release("a b", "stable", 10000),))),
        encoded(9, chat_endpoint(rollout=RolloutEntry(id="r", generation=1, stable="chat@1", canary="chat@9"))),
        msgspec.json.encode(Snapshot(version=9, factory="other", revision=1, compiled_at_ns=0)),
    ],
)  # fmt: skip
def test_what_cannot_be_enforced_is_refused_without_effect(raw: bytes, tmp_path: Path):
    async def main() -> None:
        world = World()
        held = holder(world, tmp_path)
        await held.adopt(encoded(5))
        with pytest.raises(Refused) as caught:
            await held.adopt(raw)
        assert caught.value.code == "snapshot_invalid"
        assert held.version == world.gateway.snapshot.version == 5

    asyncio.run(main())


def test_the_last_good_one_is_found_again_whatever_is_broken(tmp_path: Path):
    async def main() -> None:
        held = holder(World(), tmp_path)
        for version in (1, 2, 3):
            await held.adopt(encoded(version))
        world = World()
        again = holder(world, tmp_path)
        assert (await again.load()).version == 3
        newest = next(p for p in (tmp_path / "snapshots").iterdir() if b'"version":3' in p.read_bytes())
        newest.write_bytes(newest.read_bytes()[:-70])
        again = holder(world, tmp_path)
        assert (await again.load()).version == 2
        assert world.gateway.meters.events["snapshot_file_corrupt"] == 1
        await again.adopt(encoded(4))
        assert (await holder(World(), tmp_path).load()).version == 4
        for path in (tmp_path / "snapshots").iterdir():
            path.write_bytes(b"")
        assert await holder(World(), tmp_path).load() is None

    asyncio.run(main())


def link(world: World, held: Holder, reports: ReportQueue) -> Link:
    return Link("http://control:1", "gw-key", upstream=world.upstream, holder=held, reports=reports,
                clock=world.clock, random=SeededRandom(1), meters=world.gateway.meters)  # fmt: skip


def test_the_link_fetches_delivers_and_outlives_control(tmp_path: Path):
    async def main() -> None:
        async def forever(_: object) -> None:
            await asyncio.Event().wait()

        world = World(
            FakeAnswer(200, encoded(7)), FakeAnswer(304, b""), FakeAnswer(500), FakeAnswer(200), forever
        )
        held, reports = holder(world, tmp_path), ReportQueue(Meters())
        made = link(world, held, reports)
        assert await made.fetch()
        assert not await made.fetch()
        assert made.connected
        assert world.upstream.sent[0].path == b"/v1/snapshot?have=0&wait_s=20"
        assert world.upstream.sent[0].headers[b"authorization"] == b"Bearer gw-key"
        reports.send(TargetHealth(endpoint="e", target="t", gateway="g", at_ns=1, healthy=True, reason="r"))
        with pytest.raises(ConnectionError):
            await made.deliver()
        assert len(reports) == 1
        await made.deliver()
        assert len(reports) == 0
        assert msgspec.json.decode(world.upstream.sent[-1].body)["reports"][0]["type"] == "target"
        task = asyncio.ensure_future(made.run())
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_full_queue_drops_progress_first_and_a_cut_never():
    async def main() -> None:
        queue = ReportQueue(Meters())
        cuts = [Cut(rollout=f"r{n}", generation=1, release="x", gateway="g", at_ns=n, canary_requests=1, seconds=1.0,
                    action="abort", readings=()) for n in range(20)]  # fmt: skip
        for number in range(REPORTS_MAX + 50):
            queue.send(Progress(rollout=f"p{number}", generation=1, gateway="g", at_ns=1, canary_requests=1,
                                stable_requests=1, step_canary_requests=1, readings=()))  # fmt: skip
            if number < 20:
                queue.send(cuts[number])
        assert len(queue) == REPORTS_MAX
        seen: list[Any] = []
        while len(queue):
            batch = await queue.batch()
            queue.delivered(batch)
            seen += batch
        assert [report for report in seen if isinstance(report, Cut)] == cuts

    asyncio.run(main())


def test_the_admin_listener_tells_readiness_and_counts(tmp_path: Path):
    async def main() -> None:
        world = World()
        held = holder(world, tmp_path)
        admin = Admin(world.gateway, held, connected=lambda: True)

        async def get(path: bytes, method: bytes = b"GET") -> FakeReply:
            reply = FakeReply()
            await admin.handle(Request(method, path, b"", [], b"", ""), reply)
            return reply

        assert (await get(b"/livez")).status == 200
        assert (await get(b"/readyz")).status == 503
        await held.adopt(encoded(2))
        assert (await get(b"/readyz")).status == 200
        await world.chat()
        await world.chat(b'{"model":"evil\\"name","messages":[]}')
        text = (await get(b"/metrics")).body.decode()
        assert 'andon_requests_total{endpoint="chat",release="chat@1",status="2xx"} 1' in text
        assert 'andon_requests_total{endpoint="other",release="",status="4xx"} 1' in text
        assert 'andon_refused_total{reason="model_not_found"} 1' in text
        assert "evil" not in text
        assert "andon_snapshot_version 2" in text
        assert (await get(b"/debug/snapshot")).json["version"] == 2
        assert (await get(b"/nowhere")).status == 404
        assert (await get(b"/livez", b"POST")).status == 405

        class Server:
            async def drain(self, timeout_s: float) -> None:
                assert (await get(b"/readyz")).status == 503

        await world.gateway.drain(Server())

    asyncio.run(main())
