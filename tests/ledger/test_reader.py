"""Readers: order, positions, following, filters, and rows of other versions."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.kernel.clock import SystemClock
from andon.ledger import segment
from andon.ledger.query import Query, check_status
from andon.ledger.reader import Cursor, Entry, follow, last_position, read, tail
from andon.ledger.row import SCHEMA_VERSION, Column, Intent, Outcome, Row, describe
from andon.ledger.scan import Damage
from andon.ledger.seals import Header, NamedHeader
from andon.ledger.settings import LogSettings
from andon.testing.disk import SimulatedDisk
from tests.ledger.conftest import disk, opened, row

SMALL = LogSettings(segment_bytes=400, flush_s=60, reserve_bytes=0)


async def fill(on: SimulatedDisk, count: int, start: int = 0, every: int = 3) -> None:
    log = await opened(on, SMALL)
    for number in range(start, start + count):
        log.append(row(number, at_ns=number))
        if number % every == every - 1:
            await log.committed()
    await log.close()


def ids(entries: list[Entry]) -> list[str]:
    return [entry.row.id for entry in entries]


def test_rows_come_in_order_across_segments_and_restarts() -> None:
    on = disk()
    for start in (0, 50, 100):
        asyncio.run(fill(on, 50, start))
    entries = list(read(on, "gw"))
    assert ids(entries) == [f"r-{number}" for number in range(150)]
    assert [entry.position for entry in entries] == list(range(1, 151))
    assert last_position(on, "gw") == 150


@given(st.integers(0, 60), st.integers(1, 20))
def test_reading_can_be_resumed_from_any_position_in_any_steps(after: int, limit: int) -> None:
    on = disk()
    asyncio.run(fill(on, 50))
    found: list[Entry] = []
    while entries := Cursor(on, "gw", after=found[-1].position if found else after).poll(limit):
        found += entries
    assert ids(found) == [f"r-{number}" for number in range(after, 50)]


def test_the_open_segment_is_read_too_and_a_cursor_goes_on_where_it_stopped() -> None:
    async def main() -> None:
        on = disk()
        log = await opened(on, SMALL)
        cursor, found = Cursor(on, "gw"), []
        for number in range(40):
            log.append(row(number))
            await log.committed()
            found += cursor.poll()
            assert ids(found) == [f"r-{seen}" for seen in range(number + 1)]
        assert cursor.poll() == []
        await log.close()

    asyncio.run(main())


def test_half_a_frame_at_the_open_end_is_not_damage_but_not_yet() -> None:
    async def main() -> None:
        on = disk()
        log = await opened(on, LogSettings(reserve_bytes=0))
        log.append(row(0))
        await log.committed()
        (path,) = [f"gw/{name}" for name in on.list("gw")]
        damages: list[object] = []
        cursor = Cursor(on, "gw", report=damages.append)
        assert len(cursor.poll()) == 1
        before = on.size(path)
        log.append(row(1))
        await log.committed()
        whole = on.read(path, before)
        on.truncate(path, before)
        on.append(path, whole[:20])
        assert cursor.poll() == []
        on.append(path, whole[20:])
        assert ids(cursor.poll()) == ["r-1"]
        assert damages == []
        await log.close()

    asyncio.run(main())


class HastyClock(SystemClock):
    """Counts sleeps instead of sleeping."""

    def __init__(self) -> None:
        self.slept = 0

    async def sleep(self, seconds: float) -> None:
        self.slept += 1
        await asyncio.sleep(0)


def test_following_sees_rows_as_they_come_and_only_those_wanted() -> None:
    async def main() -> None:
        on, clock = disk(), HastyClock()
        log = await opened(on, SMALL)
        log.append(row(0, endpoint="other"))
        await log.committed()
        rows = follow(on, clock, "gw", query=Query(endpoint="credit"))
        for number in range(1, 20):
            log.append(row(number, endpoint="credit"))
            await log.committed()
            assert (await anext(rows)).row.id == f"r-{number}"
        await rows.aclose()  # type: ignore[attr-defined]  # an async generator
        await log.close()

    asyncio.run(main())


def test_the_tail_is_the_last_rows_also_across_segments() -> None:
    on = disk()
    asyncio.run(fill(on, 50))
    assert ids(tail(on, 20, "gw")) == [f"r-{number}" for number in range(30, 50)]
    assert len(tail(on, 500, "gw")) == 50
    assert ids(tail(on, 2, "gw", query=Query(until_ns=10))) == ["r-8", "r-9"]
    assert tail(disk(), 5, "gw") == []


def test_a_segment_removed_while_it_is_read_is_a_gap_not_a_failure() -> None:
    on = disk()
    asyncio.run(fill(on, 50))
    damages: list[Damage] = []
    cursor = Cursor(on, "gw", report=damages.append)
    found = cursor.poll(1)
    (first, *_) = [f"gw/{name}" for name in on.list("gw") if name.endswith(".log")]
    on.remove(first)
    on.remove(first + ".sealed")
    while entries := cursor.poll():
        found += entries
    assert found[-1].row.id == "r-49"
    assert len(found) + sum(damage.rows for damage in damages) == 50


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (Query(), [1, 2, 3]),
        (Query(endpoint="credit"), [1, 2]),
        (Query(release="credit@2"), [2]),
        (Query(status="error"), [2, 3]),
        (Query(status="5xx"), [2]),
        (Query(status="429"), [3]),
        (Query(status="ok"), [1]),
        (Query(since_ns=2), [2, 3]),
        (Query(until_ns=2), [1]),
        (Query(id="r-3"), [3]),
        (Query(key="k"), [3]),
        (Query(intents=True), [0, 1, 2, 3]),
        (Query(intents=True, status="ok"), [1]),
    ],
)
def test_filters(query: Query, wanted: list[int]) -> None:
    rows: list[Row] = [
        Intent(id="r-0"),
        row(1, endpoint="credit", release="credit@1", status=200, at_ns=1),
        row(2, endpoint="credit", release="credit@2", status=502, at_ns=2),
        row(3, endpoint="chat", status=429, at_ns=3, key="k"),
    ]
    assert [number for number, each in enumerate(rows) if query.matches(each)] == wanted


def test_a_status_filter_that_means_nothing_is_refused() -> None:
    assert check_status("5xx") == "5xx"
    with pytest.raises(ValueError, match="5xx"):
        check_status("five")


def test_shorter_and_longer_rows_of_other_versions_are_read() -> None:
    decode = msgspec.msgpack.Decoder(Row).decode
    shorter = decode(msgspec.msgpack.encode([2, "r-1", 0, True]))
    assert shorter == Outcome(id="r-1")
    whole = msgspec.msgpack.decode(msgspec.msgpack.encode(Outcome(id="r-1", status=200)))
    assert decode(msgspec.msgpack.encode([*whole, "a field of the future", 7])) == Outcome(
        id="r-1", status=200
    )


def test_the_schema_is_frozen_by_version() -> None:
    """Appending a field: raise SCHEMA_VERSION and extend this list. Anything else breaks what is on disk."""
    names = {
        kind: [column.name for column in describe() if column.row == kind] for kind in ("intent", "outcome")
    }
    assert SCHEMA_VERSION == 3
    assert ",".join(names["intent"]) == (
        "id,attempt,at_ns,endpoint,operation,dialect,key,team,release,arm,propensity,pinned,unit,stream,"
        "reserved_tokens,request_bytes,client_retry,traceparent,snapshot"
    )
    assert ",".join(names["outcome"]) == (
        "id,attempt,final,at_ns,status,error_code,provider_error,endpoint,release,arm,target,operation,dialect,key,"
        "team,propensity,pinned,unit,stream,duration_us,overhead_us,queue_us,upstream_us,first_byte_us,input_tokens,"
        "output_tokens,usage_source,request_bytes,response_bytes,refused_by,durability,cost_micros,currency,"
        "price_version,gateway,traceparent,reference,response_id,model,finish_reason,prediction,score,feature_us,"
        "features,guard_us,connect_us,tls_us,client_retry,snapshot,principal,policies,data_class,verdicts,scanned_bytes,"
        "delivered_bytes,address"
    )


def test_every_field_is_described_with_its_unit() -> None:
    columns = describe()
    assert all(column.meaning for column in columns)
    assert (
        Column(
            row="outcome",
            name="duration_us",
            type="integer",
            nullable=True,
            unit="microseconds",
            meaning="from the request's last byte to this row",
        )
        in columns
    )


def test_a_header_with_names_is_read_as_one_without() -> None:
    """Compiled gateways wrote the names of the fields, until somebody looked."""
    header = Header(1, 2, 7, 100, 99, 5, "g")
    named = NamedHeader(1, 2, 7, 100, 99, 5, "g")
    assert segment.decode_header(segment.encode_header(header)) == (
        header,
        len(segment.encode_header(header)),
    )
    data = segment.encode_header(named)  # type: ignore[arg-type]  # as it was written then
    assert segment.decode_header(data) == (header, len(data))
    assert isinstance(msgspec.msgpack.decode(msgspec.msgpack.encode(header)), list)
