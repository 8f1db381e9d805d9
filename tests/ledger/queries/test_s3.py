"""The same answers where the tables lie on an object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from andon.ledger.facts.model import Label
from tests.ledger.queries.rig import BASE_NS, Rig, outcome
from tests.ledger.tables.test_s3 import bucket, endpoint, options

__all__ = ["bucket", "endpoint", "options"]  # fixtures


@pytest.fixture
def remote(tmp_path: Path, bucket: str, options: dict[str, str]) -> Iterator[Rig]:
    made = Rig(tmp_path, bucket, options)
    yield made
    made.engine.close()


def test_sealed_and_unsealed_rows_are_one_on_an_object_store(remote: Rig) -> None:
    remote.write("rows", [outcome(n, features={"age": n}) for n in range(40)], segment_bytes=4000)
    remote.write("facts", [Label("a", at_ns=BASE_NS, request="r-3", value=1.0)])
    remote.seal()
    remote.write("rows", [outcome(n) for n in range(40, 50)])
    count = "SELECT count(*) AS rows, count(DISTINCT id) AS ids FROM requests"
    assert remote.ask(count) == [{"rows": 50, "ids": 50}]
    assert remote.ask("SELECT features FROM requests WHERE id = 'r-7'") == [{"features": [("age", 7)]}]
    assert remote.ask("SELECT request_id, value FROM labels") == [{"request_id": "r-3", "value": 1.0}]
    remote.seal()
    assert remote.ask(count) == [{"rows": 50, "ids": 50}]
    assert remote.value("SELECT count(*) FROM requests WHERE at >= '2025-10-09 08:53:25'") == 45
