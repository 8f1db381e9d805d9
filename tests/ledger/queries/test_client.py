"""The ledger from Python: a home's own files, with nothing running."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import andon.ledger as ledger
from andon.kernel.errors import Refused, Transient
from andon.ledger.client import Ledger, connect
from andon.ledger.facts.model import Label
from andon.ledger.tables import export, story
from tests.ledger.queries.rig import BASE_NS, SECOND_NS, Rig, intent, outcome


def home_of(rig: Rig, tmp_path: Path) -> Path:
    """The rig's folders where a home has them."""
    state = tmp_path / "factory" / ".andon"
    state.mkdir(parents=True)
    for name, log in (("ledger", "rows"), ("facts", "facts"), ("bodies", "bodies")):
        (state / name).symlink_to(rig.world.folder(log))
    (state / "tables").symlink_to(rig.world.root / "tables")
    return state.parent


def test_a_home_is_read_with_nothing_running(rig: Rig, tmp_path: Path) -> None:
    rig.write("rows", [outcome(n, release=f"credit@{n % 2}") for n in range(10)])
    rig.seal()
    rig.write("rows", [outcome(n) for n in range(10, 12)])
    with ledger.open(home_of(rig, tmp_path)) as opened:
        assert isinstance(opened, Ledger)
        result = opened.query("SELECT count(*) AS n FROM requests")
        assert (result.rows(), len(result), result.truncated) == ([{"n": 12}], 1, False)
        assert result.arrow().to_pylist() == result.pandas().to_dict("records") == result.polars().to_dicts()
        assert len(opened.requests(release="credit@0")) == 5
        assert len(opened.requests(since="2020-01-01", until="2100-01-01T00:00:00Z", endpoint="credit")) == 12
        assert len(opened.requests(since="1s")) == 0
        assert opened.requests(limit=3).truncated
        with pytest.raises(Refused, match="neither a span nor a moment"):
            opened.requests(since="yesterday")


def test_what_is_not_a_home_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refusal:
        connect(tmp_path)
    assert refusal.value.code == "home_missing"


def test_a_factory_that_does_not_answer_is_told(tmp_path: Path) -> None:
    with pytest.raises(Transient) as refusal:
        connect("http://127.0.0.1:9", key="k").query("SELECT 1")
    assert refusal.value.code == "control_unreachable"


def test_to_import_the_ledger_costs_no_engine() -> None:
    code = "import andon.ledger, sys; sys.exit(bool({'duckdb', 'pyarrow', 'deltalake', 'msgspec'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": "src"}, check=False, timeout=60)
    assert done.returncode == 0


def test_the_story_of_a_request_has_everything_about_it(rig: Rig) -> None:
    parent = f"00-{7:032x}-{1:016x}-01"
    rig.write(
        "rows",
        [
            intent(1),
            outcome(1, final=False, status=503, traceparent=parent),
            outcome(1, attempt=1, reference="order-1", traceparent=parent),
        ],
    )
    rig.write("facts", [Label("a", at_ns=BASE_NS, reference="order-1", value=1.0)])
    found = story.tell(rig.engine, "r-1")
    assert [row["status"] for row in found["attempts"]] == [503, 200]
    assert [row["id"] for row in found["facts"]["labels"]] == ["a"]
    assert found["open_intents"] == []
    with pytest.raises(Refused) as refusal:
        story.tell(rig.engine, "r-2")
    assert (refusal.value.code, refusal.value.status) == ("request_unknown", 404)


def test_every_form_holds_every_value(rig: Rig) -> None:
    rig.write("rows", [outcome(0, features={"age": 3})])
    table = rig.engine.query(
        "SELECT at, at::DATE AS day, features, sum(1) OVER () AS total, 'x'::BLOB AS raw, NULL AS nothing FROM requests"
    )
    (row,) = export.records(table)
    assert row == {
        "at": "2025-10-09T08:53:20Z",
        "day": "2025-10-09",
        "features": {"age": 3},
        "total": 1,
        "raw": "eA==",
        "nothing": None,
    }
    assert SECOND_NS * 1_760_000_000 == BASE_NS
    assert b'"{""age"":3}"' in export.encode(table, "csv")
    assert export.decode(export.encode(table, "arrow")).to_pylist() == table.to_pylist()
    assert export.encode(table, "parquet")[:4] == b"PAR1"


def test_what_python_or_parquet_cannot_hold_still_leaves(rig: Rig) -> None:
    table = rig.engine.query(
        "SELECT INTERVAL '1 month 2 days 1.5 seconds' AS span, DATE '0044-03-15 (BC)' AS ides, "
        "'infinity'::TIMESTAMP AS never, NULL::INTERVAL AS none"
    )
    (row,) = export.records(table)
    assert (row["span"], row["ides"], row["none"]) == ("P1M2DT1.5S", "-0043-03-15", None)
    for form in export.MEDIA_TYPES:
        assert export.encode(table, form)
