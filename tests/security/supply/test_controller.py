"""The scheduled scan: told once, again when data changes, silent while there is none."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from andon.kernel.clock import SystemClock
from andon.kernel.random import SystemRandom
from andon.security.supply.controller import SUBJECT, Places, VulnerabilityController
from andon.security.supply.requirements import Package
from andon.store.model import Lease, Record
from andon.store.sql import open_store

LEASE = Lease(name="x", owner="x", token=1, expires_ns=0)


def vulnerability(id_: str, name: str) -> dict[str, Any]:
    affected = {"package": {"ecosystem": "PyPI", "name": name}, "ranges": [], "versions": ["1.0"]}
    return {"id": id_, "summary": "bad", "affected": [affected]}


def test_findings_are_told_once_and_again_when_data_changes(tmp_path: Path) -> None:
    async def main() -> None:
        clock = SystemClock()
        store = await open_store(f"sqlite:///{tmp_path / 'state.db'}", clock, random=SystemRandom())
        places = Places(
            root=tmp_path,
            data=tmp_path / "osv",
            judgements=tmp_path / "vex.json",
            report=tmp_path / "vulnerabilities.json",
        )
        controller = VulnerabilityController(
            store, clock, places, lambda: [Package(name="own", version="1.0", source="installed")]
        )

        async def turn() -> list[str]:
            facts = await controller.observe(SUBJECT)
            assert facts is not None
            plan = controller.plan(facts, clock.now_ns())
            for step in plan.steps:
                await controller.act(facts, step, LEASE)
            return [str(step.data.get("id", step.verb)) for step in plan.steps]

        try:
            (tmp_path / "m").mkdir()
            (tmp_path / "m" / "requirements.txt").write_text("dep==1.0\n")
            record = Record(kind="ModelVersion", name="m-1", spec={"source": "m"})
            await store.transact(lambda unit: unit.put(record))
            assert await turn() == []
            places.data.mkdir()
            assert await turn() == ["vulnerability.unknown"]
            (places.data / "a.json").write_text(json.dumps(vulnerability("PYSEC-1", "own")))
            assert await turn() == ["PYSEC-1"]
            assert await turn() == []
            (places.data / "b.json").write_text(json.dumps(vulnerability("PYSEC-2", "dep")))
            assert await turn() == ["PYSEC-2"]
            assert [one["id"] for one in json.loads(places.report.read_bytes())["found"]] == [
                "PYSEC-2",
                "PYSEC-1",
            ]
        finally:
            await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("content", ["{", "[1]", '{"id": "x"}'])
def test_judgements_that_cannot_be_read_are_told(content: str, tmp_path: Path) -> None:
    async def main() -> None:
        clock = SystemClock()
        store = await open_store(f"sqlite:///{tmp_path / 'state.db'}", clock, random=SystemRandom())
        (tmp_path / "osv.json").write_text(json.dumps(vulnerability("PYSEC-1", "own")))
        (tmp_path / "vex.json").write_text(content)
        places = Places(
            root=tmp_path,
            data=tmp_path / "osv.json",
            judgements=tmp_path / "vex.json",
            report=tmp_path / "r.json",
        )
        try:
            facts = await VulnerabilityController(store, clock, places, list).observe(SUBJECT)
            assert facts is not None
            # An object without vulnerabilities is a VEX document that judges nothing.
            assert bool(facts.problem) is (content != '{"id": "x"}')
        finally:
            await store.close()

    asyncio.run(main())
