"""The proof `audit` in small: four ways of counting the same requests give the same number."""

from __future__ import annotations

from pathlib import Path

from benchmarks.audit import audit


def test_clients_ledger_spans_and_metrics_agree(tmp_path: Path) -> None:
    found = audit(tmp_path, seconds=3.0, clients=12)
    assert found.tally.unsure == 0
    assert found.accepted > 200
    assert found.accepted == found.rows == found.spans == found.metric_delta
    assert found.requests == found.traces == found.rows
    told = {
        kind: {told for one, told in found.tally.results if one == kind} for kind, _ in found.tally.results
    }
    assert {"whole", "stream", "retried", "failing", "client leaves stream", "no key"} <= told.keys()
