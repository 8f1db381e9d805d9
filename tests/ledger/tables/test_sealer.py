"""Segments into tables: each exactly once, whatever crashes when, and damage costs only itself."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from andon.ledger.bodies import Body
from andon.ledger.facts.model import KpiEvent
from andon.ledger.row import Outcome
from andon.ledger.segment import FRAME_MARK
from andon.ledger.tables.compaction import tidy
from andon.ledger.tables.delta import commit_properties
from andon.ledger.tables.settings import SealSettings
from andon.ledger.tables.sources import position_key, read_source, segment_key
from tests.ledger.tables.worlds import (
    DAY_NS,
    NOON_NS,
    BreakingTables,
    World,
    exchanges,
    frame,
    labels,
    outcomes,
    prices,
    write_segment,
)

EAGER = SealSettings(
    retry_s=1e-9, retry_s_max=1e-9, keep_s=1e9, bunch_bytes=1
)  # one segment to a commit: as many places to crash as there can be


def three_logs(world: World) -> None:
    rows = world.folder("rows")
    write_segment(rows, 1, 1, exchanges(range(20)))
    write_segment(rows, 2, 41, exchanges(range(20, 30)))
    write_segment(world.folder("facts"), 1, 1, [*labels(range(5)), *prices(range(2))])
    write_segment(world.folder("facts"), 2, 8, labels(range(5, 8)))


def test_every_sealed_segment_of_every_log_is_in_its_tables_and_the_open_one_is_not(tmp_path: Path) -> None:
    world = World(tmp_path)
    three_logs(world)
    write_segment(world.folder("rows"), 3, 61, outcomes(["open"]), sealed=False)
    world.seal_all()
    assert world.ids() == [f"r-{number}" for number in range(30)]
    assert world.ids("labels") == [f"l-{number}" for number in range(8)]
    assert world.ids("prices") == ["p-0", "p-1"]
    assert world.ids("open_intents") == world.ids("spans") == []
    assert world.sealer.marks()["rows"].segment == 2
    assert world.sealer.counters.segments == {"rows": 2, "facts": 2}
    row = world.read("attempts")[0]
    assert row["log"] == segment_key("rows", read_source(world.folder("rows")))
    assert (row["segment"], row["position"], row["schema_version"]) == (1, 2, 3)


def test_an_intent_stays_open_only_if_its_segment_has_no_outcome_for_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    rows = exchanges(["answered", "lost"])[:3]
    write_segment(world.folder("rows"), 1, 1, rows)
    world.seal_all()
    assert world.ids("open_intents") == ["r-lost"]
    assert world.ids() == ["r-answered"]


def test_files_are_kept_by_the_day_in_which_rows_were_written(tmp_path: Path) -> None:
    world = World(tmp_path)
    rows = [*outcomes(["late"], at_ns=NOON_NS + DAY_NS), *outcomes(["noon"])]
    write_segment(world.folder("rows"), 1, 1, rows)
    world.seal_all()
    days = {Path(uri).parent.name for uri in world.tables.file_uris("attempts")}
    assert days == {"day=2024-10-04", "day=2024-10-05"}


def test_a_snapshot_says_for_its_own_files_how_far_each_log_is(tmp_path: Path) -> None:
    world = World(tmp_path)
    three_logs(world)
    world.seal_all()
    source = read_source(world.folder("rows"))
    keys = (segment_key("rows", source), position_key("rows", source))
    snapshot = world.tables.snapshot("attempts", keys)
    assert snapshot is not None
    assert snapshot.transactions == {keys[0]: 2, keys[1]: 60}
    write_segment(world.folder("rows"), 3, 61, outcomes(["more"]))
    world.seal_all()
    assert len(snapshot.uris) == 1
    again = world.tables.snapshot("attempts", keys)
    assert again is not None
    assert again.transactions[keys[1]] == 61
    assert len(again.uris) == 2


def test_what_holds_nothing_for_a_table_still_moves_it_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    write_segment(world.folder("facts"), 1, 1, labels(range(3)))
    world.seal_all()
    key = segment_key("facts", read_source(world.folder("facts")))
    assert world.tables.transaction("prices", key) == 1


@pytest.mark.parametrize("landed", [False, True])
def test_a_crash_at_any_step_leaves_each_row_in_its_table_exactly_once(tmp_path: Path, landed: bool) -> None:
    step = 0
    while True:
        step += 1
        world = World(tmp_path / f"{step}", settings=EAGER)
        three_logs(world)
        breaking = BreakingTables(world.url, fails_at=step, landed=landed)
        world.open(breaking)
        for _ in range(3):
            if world.sealer.turn().failures:
                break
        world.open()  # a new process, which knows only what the tables say
        world.seal_all()
        assert world.ids() == [f"r-{number}" for number in range(30)]
        assert world.ids("labels") == [f"l-{number}" for number in range(8)]
        assert world.ids("prices") == ["p-0", "p-1"]
        if breaking.appends < step:
            return  # every step has failed once


def test_a_commit_that_landed_without_an_answer_is_not_made_twice_by_the_same_process(tmp_path: Path) -> None:
    world = World(tmp_path, settings=EAGER)
    three_logs(world)
    world.open(BreakingTables(world.url, fails_at=1, landed=True))
    world.seal_all()
    assert world.sealer.counters.failures == 1
    assert world.ids() == [f"r-{number}" for number in range(30)]


def test_one_table_that_fails_keeps_only_itself_behind(tmp_path: Path) -> None:
    world = World(tmp_path, settings=SealSettings(retry_s=3600, retry_s_max=3600, keep_s=1e9))
    three_logs(world)
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "labels").write_text("something is in the way")
    world.open()
    assert [error.code for error in world.sealer.turn().failures] == ["tables_unreachable"]
    world.sealer.turn()
    assert world.ids() == [f"r-{number}" for number in range(30)]
    assert world.ids("prices") == ["p-0", "p-1"]
    assert list(world.sealer.failing()) == ["labels"]
    assert world.sealer.marks()["facts"].segment == 0
    (tmp_path / "tables" / "labels").unlink()
    world.open()
    world.seal_all()
    assert world.ids("labels") == [f"l-{number}" for number in range(8)]
    assert world.ids("prices") == ["p-0", "p-1"]


def test_a_copy_that_a_failed_write_left_behind_is_sealed_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    rows = world.folder("rows")
    # The writer gave segment 1 up after rows that it then wrote again into segment 2.
    write_segment(rows, 1, 1, outcomes(range(10)), sealed=False)
    write_segment(rows, 2, 6, outcomes(range(5, 15)), after_row=5)
    world.seal_all()
    assert world.ids() == [f"r-{number}" for number in range(15)]
    assert world.quarantine.records() == []


def test_a_torn_end_that_was_written_again_is_no_damage(tmp_path: Path) -> None:
    world = World(tmp_path)
    rows = world.folder("rows")
    path = write_segment(rows, 1, 1, outcomes(range(5)), sealed=False)
    path.write_bytes(path.read_bytes() + frame(6, outcomes(range(5, 10)))[:-7])
    write_segment(rows, 2, 6, outcomes(range(5, 15)), after_row=5)
    world.seal_all()
    assert world.ids() == [f"r-{number}" for number in range(15)]
    assert world.quarantine.records() == []


def test_numbers_that_leap_after_an_unclean_end_are_no_damage(tmp_path: Path) -> None:
    world = World(tmp_path)
    write_segment(world.folder("rows"), 1, 1, outcomes(range(5)))
    write_segment(world.folder("rows"), 2, 1_000_006, outcomes(range(5, 10)), after_row=5)
    world.seal_all()
    assert world.ids() == [f"r-{number}" for number in range(10)]
    assert world.quarantine.records() == []


def test_a_corrupt_frame_is_quarantined_and_the_rest_is_sealed(tmp_path: Path) -> None:
    world = World(tmp_path)
    path = write_segment(world.folder("rows"), 1, 1, outcomes(range(20)))
    data = bytearray(path.read_bytes())
    second = data.index(FRAME_MARK, data.index(FRAME_MARK) + 1)
    data[second + 40] ^= 0xFF
    path.write_bytes(bytes(data))
    write_segment(world.folder("rows"), 2, 21, outcomes(range(20, 25)))
    told = world.sealer.turn().quarantined
    assert world.ids() == [f"r-{number}" for number in (*range(5), *range(10, 25))]
    assert [(one.segment, one.rows) for one in told] == [(path.name, 5)]
    [record] = world.quarantine.records()
    assert record.damages[0].offset == second
    assert record.damages[0].reason == "bytes that are not a frame"
    world.open()
    assert world.sealer.turn().quarantined == ()


def test_a_row_that_is_not_of_its_kind_costs_only_itself(tmp_path: Path) -> None:
    world = World(tmp_path)
    rows = [*outcomes(["a"]), [2, "bad", 0, True, "not a time"], [77, "from the future"], *outcomes(["b"])]
    write_segment(world.folder("rows"), 1, 1, rows)
    [record] = world.sealer.turn().quarantined
    assert world.ids() == ["r-a", "r-b"]
    assert record.rows == 2
    assert "position 2" in str(record.damages)


def test_a_broken_header_and_a_missing_segment_are_told_and_the_rest_is_sealed(tmp_path: Path) -> None:
    world = World(tmp_path, settings=EAGER)
    path = write_segment(world.folder("rows"), 1, 1, outcomes(range(5)))
    path.write_bytes(b"x" * 20 + path.read_bytes()[20:])
    write_segment(world.folder("rows"), 3, 11, outcomes(range(10, 15)))
    world.seal_all()
    assert world.ids() == [f"r-{number}" for number in (*range(5), *range(10, 15))]
    records = world.quarantine.records()
    assert [sum(damage.rows for damage in record.damages) for record in records] == [0, 5]
    assert "before the segment" in records[1].damages[0].reason


def test_a_new_column_appears_in_a_table_of_an_older_schema(tmp_path: Path) -> None:
    world = World(tmp_path)
    old = [list(row) for row in [[2, "r-old", 0, True, NOON_NS, 200]]]
    write_segment(world.folder("rows"), 1, 1, old, schema_version=1)
    older = world.tables
    world.sealer.turn()
    # As an older release left it: without the columns that were appended since.
    handle = older.handle("attempts")
    assert handle is not None
    narrow = handle.to_pyarrow_table().drop_columns(["reference", "features"])
    handle_path = Path(world.url) / "attempts"
    keys = {segment_key("rows", read_source(world.folder("rows"))): 1}
    keys[position_key("rows", read_source(world.folder("rows")))] = 1
    _leave_as_older_release(handle_path, narrow, keys)
    assert "reference" not in world.read("attempts")[0]
    world.open()
    write_segment(world.folder("rows"), 2, 2, outcomes(["new"], reference="order-7", features={"age": 3}))
    world.seal_all()
    old_row, new_row = world.read("attempts")
    assert (old_row["id"], old_row["reference"], old_row["schema_version"]) == ("r-old", None, 1)
    assert (new_row["reference"], new_row["features"]) == ("order-7", [("age", 3)])


def _leave_as_older_release(path: Path, rows: pa.Table, keys: dict[str, int]) -> None:
    shutil.rmtree(path)
    write_deltalake(str(path), rows, partition_by=["day"], commit_properties=commit_properties(keys))


def test_a_rebuilt_table_equals_the_original(tmp_path: Path) -> None:
    world = World(tmp_path, settings=EAGER)
    three_logs(world)
    world.seal_all()
    for table in ("attempts", "labels", "open_intents"):
        original = world.read(table)
        assert world.sealer.rebuild(table) == len(original)
        assert world.read(table) == original
    write_segment(world.folder("rows"), 3, 61, outcomes(["more"]))
    world.seal_all()
    assert world.ids()[-1] == "r-more"


def test_rebuilding_keeps_rows_whose_segments_are_gone(tmp_path: Path) -> None:
    world = World(tmp_path, settings=EAGER)
    three_logs(world)
    world.seal_all()
    original = world.read("attempts")
    for path in world.folder("rows").glob("00000001-*"):
        path.unlink()
    assert world.sealer.rebuild("attempts") == 10
    assert world.read("attempts") == original


def test_a_table_that_was_removed_is_made_again_by_itself(tmp_path: Path) -> None:
    world = World(tmp_path)
    three_logs(world)
    world.seal_all()
    original = world.read("labels")
    shutil.rmtree(tmp_path / "tables" / "labels")
    world.open()
    world.seal_all()
    assert world.read("labels") == original


def test_small_files_are_merged_and_nothing_changes(tmp_path: Path) -> None:
    settings = SealSettings(retry_s=1e-9, retry_s_max=1e-9, keep_s=1e9, bunch_bytes=1, tidy_commits=10)
    world = World(tmp_path, settings=settings)
    for number in range(25):
        write_segment(world.folder("rows"), number + 1, number + 1, outcomes([number]))
    world.seal_all()
    assert world.ids() == [f"r-{number}" for number in range(25)]
    assert world.sealer.counters.compactions == 4  # two for each table of rows
    assert len(world.tables.file_uris("attempts")) < 12
    assert world.sealer.marks()["rows"].segment == 25
    world.open()
    assert world.sealer.turn().segments == 0
    tidy(world.tables, "attempts", settings)
    assert world.ids() == [f"r-{number}" for number in range(25)]


def test_old_segments_leave_the_log_once_they_are_in_every_table(tmp_path: Path) -> None:
    settings = SealSettings(retry_s=1e-9, retry_s_max=1e-9, keep_s=0, keep_segments=2)
    world = World(tmp_path, settings=settings)
    rows = world.folder("rows")
    for number in range(6):
        path = write_segment(rows, number + 1, number + 1, outcomes([number]))
        if number == 1:
            path.write_bytes(path.read_bytes()[:-4])  # damage: stays for whoever looks at it
    world.sealer.turn()
    kept = sorted(int(path.name[:8]) for path in rows.glob("*.log"))
    assert kept == [2, 5, 6]
    assert len(list(rows.glob("*.sealed"))) == 3
    assert world.ids() == [f"r-{number}" for number in (0, 2, 3, 4, 5)]
    world.open()
    assert world.sealer.turn().segments == 0


def test_a_log_begun_afresh_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    world = World(tmp_path)
    write_segment(world.folder("rows"), 1, 1, outcomes(["before"]))
    world.seal_all()
    for path in world.folder("rows").iterdir():
        path.unlink()
    world.open()
    write_segment(world.folder("rows"), 1, 1, outcomes(["after"]))
    world.seal_all()
    assert sorted(world.ids()) == ["r-after", "r-before"]


def test_facts_keep_their_own_columns(tmp_path: Path) -> None:
    world = World(tmp_path)
    sale = KpiEvent(id="k", at_ns=NOON_NS, event_ns=5, name="sale", value=3.0, currency="EUR", unit=7)
    write_segment(world.folder("facts"), 1, 1, [sale])
    world.seal_all()
    [row] = world.read("kpi_events")
    assert (row["id"], row["event_ns"], row["value"], row["unit"]) == ("k", 5, 3.0, 7)


def test_rows_of_a_file_stand_in_order_of_time(tmp_path: Path) -> None:
    world = World(tmp_path)
    rows = [Outcome(id=str(at), at_ns=NOON_NS + at) for at in (3, 1, 2)]
    write_segment(world.folder("rows"), 1, 1, rows)
    world.seal_all()
    handle = world.tables.handle("attempts")
    assert handle is not None
    assert handle.to_pyarrow_table()["id"].to_pylist() == ["1", "2", "3"]


def test_lag_is_the_age_of_the_oldest_waiting_segment(tmp_path: Path) -> None:
    world = World(tmp_path)
    three_logs(world)
    assert world.sealer.lag_s()["rows"] > 0
    world.seal_all()
    assert world.sealer.lag_s() == {"rows": 0.0, "facts": 0.0, "bodies": 0.0}


def bodies(first: int, count: int, size: int) -> list[Body]:
    return [
        Body(id=f"r-{number}", at_ns=NOON_NS + number, data=bytes(Random(number).randbytes(size)))
        for number in range(first, first + count)
    ]


def test_bodies_stay_within_their_limit_and_the_oldest_go_first(tmp_path: Path) -> None:
    settings = SealSettings(retry_s=1e-9, keep_s=1e9, bunch_bytes=1, bodies_bytes=60_000)
    world = World(tmp_path, settings=settings)
    for number in range(4):
        write_segment(world.folder("bodies"), number + 1, 1 + number * 10, bodies(number * 10, 10, 2000))
    world.seal_all()
    world.open()
    world.sealer.turn()
    assert world.ids("bodies") == [f"r-{number}" for number in range(20, 40)]
    assert world.sealer.marks()["bodies"].segment == 4


def test_bodies_that_left_their_log_unsealed_are_no_damage(tmp_path: Path) -> None:
    world = World(tmp_path)
    write_segment(world.folder("bodies"), 1, 1, bodies(0, 5, 10))
    world.seal_all()
    write_segment(world.folder("bodies"), 3, 11, bodies(10, 5, 10))
    world.seal_all()
    assert len(world.ids("bodies")) == 10
    assert world.quarantine.records() == []
