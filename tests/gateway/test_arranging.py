"""A stage that must ask before it decides: awaited in its place, settled like all others."""

from __future__ import annotations

import asyncio

from andon.kernel.errors import AndonError, Transient
from andon.kernel.exchange import Exchange
from andon.kernel.pending import PENDING
from tests.gateway.world import FakeStage, World


class AskingStage(FakeStage):
    """Answers PENDING, then what it is told to."""

    def __init__(self, name: str, answer: AndonError | Exception | None = None) -> None:
        super().__init__(name)
        self.answer = answer
        self.gate: asyncio.Event | None = None

    def admit(self, exchange: Exchange) -> AndonError | None:
        return PENDING

    async def arrange(self, exchange: Exchange) -> AndonError | None:
        await (self.gate.wait() if self.gate is not None else asyncio.sleep(0))
        if isinstance(self.answer, AndonError) or self.answer is None:
            if self.answer is None:
                self.admitted.append(exchange.id)
            return self.answer
        raise self.answer


def world(*asking: AskingStage) -> World:
    return World(stages=[FakeStage("identify"), *asking, FakeStage("after")])


def test_an_arranged_stage_stands_where_it_stands_and_is_settled_once() -> None:
    async def main() -> None:
        here = world(AskingStage("one"), AskingStage("two"))
        assert (await here.chat()).status == 200
        assert [len(stage.admitted) for stage in here.stages] == [1, 1, 1, 1]
        here.assert_whole()

    asyncio.run(main())


def test_its_refusal_is_a_refusal_and_nothing_behind_it_is_asked() -> None:
    async def main() -> None:
        here = world(AskingStage("one", Transient("rate_limit_exceeded", "Full.", status=429)))
        reply = await here.chat()
        assert reply.status == 429
        assert here.stages[2].admitted == []
        assert [row.refused_by for row in here.log.outcomes] == ["one"]
        here.assert_whole()

    asyncio.run(main())


def test_a_bug_in_it_is_one_answer_lost() -> None:
    async def main() -> None:
        here = world(AskingStage("one", RuntimeError("bug")))
        reply = await here.chat()
        assert reply.status == 500
        here.assert_whole()

    asyncio.run(main())


def test_a_client_that_leaves_meanwhile_leaves_nothing_behind() -> None:
    async def main() -> None:
        asking = AskingStage("one")
        asking.gate = asyncio.Event()
        here = world(asking)
        task = asyncio.ensure_future(here.chat())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert here.stages[0].settled[0][1] == 499
        assert [row.status for row in here.log.outcomes] == [499]
        here.assert_whole()

    asyncio.run(main())
