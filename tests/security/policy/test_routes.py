"""No route of any plane is open by omission."""

from __future__ import annotations

import asyncio

from benchmarks.authz_routes import OPEN_ADMIN, OPEN_DATA, OPEN_OWN, probe_everything


def test_every_route_asks_who_and_whether() -> None:
    probes = asyncio.run(probe_everything())
    assert [probe for probe in probes if probe.unchecked] == []
    assert len(probes) > 100
    assert {probe.plane for probe in probes} == {"admin", "data", "own"}
    # The short list is short, and nothing on it has gone.
    opened = {probe.route for probe in probes if probe.meant_open}
    assert opened == OPEN_ADMIN | OPEN_DATA | OPEN_OWN
