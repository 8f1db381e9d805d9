"""Taking facts in: receipts, repetition, unknown requests, a disk that fails, too many at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from andon.kernel.errors import Refused, Transient
from andon.ledger.facts.intake import DECODING_MAX, WAITING_MAX, Doorway, FactsRefused
from andon.ledger.facts.items import Receipt
from andon.ledger.facts.known import KnownRequests
from andon.ledger.facts.recent import RecentIds
from andon.ledger.reader import Entry
from andon.ledger.row import Outcome
from tests.ledger.conftest import HeldRunner
from tests.ledger.facts.rig import Rig


def run(work: Callable[[Rig], Awaitable[None]], capacity_bytes: int | None = None) -> None:
    async def main() -> None:
        rig = await Rig.open(capacity_bytes)
        try:
            await work(rig)
        finally:
            await rig.close()

    asyncio.run(main())


async def send(rig: Rig, items: Any, kind: str = "label") -> Receipt:
    data = json.dumps({"items": items} if isinstance(items, list) else items).encode()
    return await rig.intake.receive(kind, data, "application/json", "identity", "key:k1")


def test_a_receipt_comes_when_the_facts_are_on_disk() -> None:
    async def work(rig: Rig) -> None:
        row = rig.answered()
        receipt = await send(rig, {"request": row.id, "value": 1})
        assert receipt == Receipt(accepted=1, duplicates=0, unknown=0)
        assert [(fact.request, fact.value) for fact in rig.written()] == [(row.id, 1.0)]

    run(work)


def test_what_is_sent_again_is_a_duplicate_within_a_batch_and_after_it() -> None:
    async def work(rig: Rig) -> None:
        items = [{"id": "a", "request": "r", "value": 1}, {"id": "a", "request": "r", "value": 1}]
        assert (await send(rig, items)).duplicates == 1
        assert (await send(rig, items)).duplicates == 2
        assert (await send(rig, {"request": "r", "value": 1})).duplicates == 0
        assert (await send(rig, {"request": "r", "value": 1})).duplicates == 1
        # A correction is another fact.
        assert (await send(rig, {"request": "r", "value": 0})).duplicates == 0
        assert len(rig.written()) == 3

    run(work)


def test_valid_items_are_kept_and_the_others_are_named() -> None:
    async def work(rig: Rig) -> None:
        receipt = await send(
            rig, [{"request": "a", "value": 1}, {"value": 1}, {"request": "b", "value": "x"}]
        )
        assert (receipt.accepted, receipt.refused_count) == (1, 2)
        assert [(one.index, one.code) for one in receipt.refused] == [
            (1, "subject_missing"), (2, "invalid_field"),
        ]  # fmt: skip
        assert rig.intake.counters.refused == {"subject_missing": 1, "invalid_field": 1}

    run(work)


def test_a_batch_of_which_nothing_can_be_taken_is_refused_with_every_fault() -> None:
    async def work(rig: Rig) -> None:
        with pytest.raises(FactsRefused) as refused:
            await send(rig, [{"value": 1}, {"request": "r", "value": 1, "time": "2199-01-01T00:00:00Z"}])
        assert refused.value.status == 422
        assert [fault.path for fault in refused.value.faults] == ["items[0].request", "items[1].time"]
        assert "in the future" in refused.value.faults[1].message
        assert not rig.written()

    run(work)


def test_unknown_requests_are_kept_and_counted_and_old_ones_are_looked_up() -> None:
    async def work(rig: Rig) -> None:
        rig.engine.put("old-id", "old-ref", "old-resp", None, 10**18)
        items = [
            {"request": "old-id", "value": 1},
            {"reference": "old-ref", "value": 1},
            {"response": "old-resp", "value": 1},
            {"request": "nobody", "value": 1},
            {"reference": "nobody", "value": 1},
        ]
        receipt = await send(rig, items)
        assert (receipt.accepted, receipt.unknown) == (5, 2)
        assert len(rig.written()) == 5
        assert rig.engine.asked == 3
        assert rig.intake.counters.unknown == 2

    run(work)


def test_recent_requests_are_known_without_a_query_by_each_of_their_ids() -> None:
    async def work(rig: Rig) -> None:
        row = rig.answered(reference="loan-7", response_id="chatcmpl-9")
        items = [
            {"request": row.id, "value": 1},
            {"reference": "loan-7", "value": 1},
            {"response": "chatcmpl-9", "value": 1},
        ]
        assert (await send(rig, items)).unknown == 0
        assert rig.engine.asked == 0

    run(work)


def test_where_the_tables_do_not_answer_unknown_is_null_and_the_facts_are_kept() -> None:
    async def work(rig: Rig) -> None:
        rig.engine.problem = Transient("query_timeout", "too slow")
        receipt = await send(rig, {"request": "nobody", "value": 1})
        assert (receipt.accepted, receipt.unknown) == (1, None)
        assert rig.intake.counters.unchecked == 1

    run(work)


def test_lag_and_coverage_follow_labels_before_and_after_their_rows() -> None:
    async def work(rig: Rig) -> None:
        minute_ago = rig.clock.now_ns() - 60 * 10**9
        first = rig.answered(at_ns=minute_ago)
        rig.answered()
        rig.answered(status=503)  # not served: needs no label
        assert rig.known.coverage() == {"credit": (2, 0)}
        await send(rig, {"request": first.id, "value": 1})
        await send(rig, {"request": first.id, "value": 0})
        assert rig.known.coverage() == {"credit": (2, 1)}
        assert sum(rig.intake.counters.lags) == 2
        assert 119 < rig.intake.counters.lag_sum_s < 180
        await send(rig, {"reference": "later", "value": 1})
        assert rig.known.waiting == 1
        rig.answered(reference="later")
        assert (rig.known.waiting, rig.known.joined_late) == (0, 1)
        assert rig.known.coverage() == {"credit": (3, 2)}

    run(work)


def test_a_full_disk_is_a_503_and_sending_again_loses_and_doubles_nothing() -> None:
    async def work(rig: Rig) -> None:
        rig.disk.capacity_bytes = rig.disk.used_bytes
        with pytest.raises(Transient) as refused:
            await send(rig, {"request": "r", "value": 1})
        assert (refused.value.code, refused.value.status) == ("facts_not_written", 503)
        assert refused.value.retry_after_s > 0
        rig.disk.capacity_bytes = None
        async with asyncio.timeout(10):
            while rig.log.state != "ok":
                await asyncio.sleep(0)
        await send(rig, {"request": "r", "value": 1})
        assert len({fact.id for fact in rig.written()}) == 1

    run(work)


def test_a_batch_larger_than_the_logs_memory_is_written_in_turns() -> None:
    async def work(rig: Rig) -> None:
        items = [{"request": f"r{number}", "text": "x" * 8000} for number in range(3000)]
        receipt = await send(rig, items)
        assert receipt.accepted == 3000
        assert len(rig.written()) == 3000

    run(work)


def test_too_many_bodies_at_once_are_told_to_come_back() -> None:
    async def main() -> None:
        runner = HeldRunner()
        runner.holds = True
        door = Doorway(runner)
        inside = [asyncio.create_task(door.run(lambda: 1)) for _ in range(DECODING_MAX + WAITING_MAX)]
        await asyncio.sleep(0)
        assert len(runner.held) == DECODING_MAX
        with pytest.raises(Transient) as refused:
            await door.run(lambda: 1)
        assert refused.value.code == "intake_busy"
        while not all(task.done() for task in inside):
            runner.let_go()
            await asyncio.sleep(0)
        assert await asyncio.gather(*inside) == [1] * len(inside)

    asyncio.run(main())


def test_a_body_that_inflates_to_too_much_is_refused() -> None:
    async def work(rig: Rig) -> None:
        with pytest.raises(Refused) as refused:
            await rig.intake.receive("label", b"{}", "application/json", "zstd", "admin")
        assert refused.value.status == 415

    run(work)


def test_memories_are_bounded() -> None:
    recent = RecentIds(10)
    for number in range(1000):
        recent.add(str(number))
    assert len(recent) <= 20
    assert all(str(number) in recent for number in range(990, 1000))
    known = KnownRequests(requests_max=10, waiting_max=10)
    for number in range(1000):
        known.mark_labelled(("request", f"w{number}"))
        known.take_rows([Entry(number, Outcome(id=f"r{number}", endpoint=f"e{number}", status=200))])
    assert known.waiting == 10
    assert known.given_up == 990
    assert sum(served for served, _ in known.coverage().values()) <= 20
    assert known.find(("request", "r999")) is not None
    assert known.find(("request", "r1")) is None
