"""The proof `audit` in small: four ways of counting the same requests give the same number."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.audit import audit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


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


def test_they_agree_when_the_observer_dies_in_the_middle(tmp_path: Path) -> None:
    found = audit(tmp_path, seconds=4.0, clients=8, kill=True)
    assert found.tally.unsure == 0
    assert found.killed == 1
    # A span that was under way may have come twice, under the same id; nothing else counts twice.
    assert found.accepted == found.rows == found.metric_delta == found.traces
