"""What people may write of models and providers, and what is refused before anything is started."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from andon.kernel.clock import SystemClock
from andon.kernel.errors import Transient
from andon.kernel.snapshot import TargetEntry
from andon.serving.deployments.template import template_of
from andon.serving.models.kinds import check_version
from andon.serving.models.model import MODEL, ModelVersionSpec
from andon.serving.providers.controller import ProviderController
from andon.serving.providers.model import PROVIDER, ProviderSpec, ProviderStatus
from andon.serving.providers.rules import check_provider, judge, target_of
from andon.store.model import Record
from andon.store.sql import open_store

WORLD = {(MODEL, "credit"): Record(kind=MODEL, name="credit", spec={})}


def version_problems(name: str = "credit-1", **spec: Any) -> list[str]:
    written = {"model": "credit", "version": "1", "source": "m", **spec}
    made = msgspec.convert(written, ModelVersionSpec)
    return [problem.path for problem in check_version(made, Record(kind="", name=name, spec={}), WORLD)]


def test_a_version_is_named_after_model_and_version() -> None:
    assert version_problems() == []
    assert version_problems("credit-2") == ["metadata.name"]
    assert version_problems("loan-1", model="loan") == ["spec.model"]


X = {"name": "x", "datatype": "FP32", "shape": [-1, 2]}


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"resources": {"memory": "much"}}, "spec.resources.memory"),
        ({"resources": {"memory": "1Mi"}}, "spec.resources.memory"),
        ({"entry": "a:B", "format": "onnx"}, "spec.entry"),
        ({"signature": {"inputs": [X, X]}}, "spec.signature.inputs[1].name"),
        ({"signature": {"inputs": [X | {"shape": [-2]}]}}, "spec.signature.inputs[0].shape"),
        ({"signature": {"inputs": [X | {"minimum": 2, "maximum": 1}]}}, "spec.signature.inputs[0].minimum"),
        ({"signature": {"inputs": [X | {"datatype": "BYTES", "minimum": 2}]}}, "spec.signature.inputs[0]"),
        ({"signature": {"inputs": [X]}, "warmup": [{"z": 1}]}, "spec.warmup[0].z"),
    ],
)
def test_versions_that_could_not_be_served_are_refused(spec: dict[str, Any], path: str) -> None:
    assert version_problems(**spec) == [path]


def test_everything_that_matters_changes_the_fingerprint() -> None:
    base = ModelVersionSpec(model="credit", version="1", source="m")
    prints = {
        template_of("credit-1", msgspec.structs.replace(base, **change), Path("/factory")).fingerprint
        for change in (
            {},
            {"source": "n"},
            {"env": {"A": "1"}},
            {"allow_pickle": True},
            {"start_timeout_s": 5.0},
        )
    }
    assert len(prints) == 5
    assert template_of("credit-1", base, Path("/factory")).source == "/factory/m"


def provider_problems(**spec: Any) -> list[str]:
    made = msgspec.convert({"url": "https://api.example.com/v1", **spec}, ProviderSpec)
    return [problem.path for problem in check_provider(made, Record(kind="", name="p", spec={}), {})]


@pytest.mark.parametrize(
    ("spec", "paths"),
    [
        ({}, []),
        ({"url": "http://127.0.0.1:1/v1"}, []),
        ({"url": "http://localhost:1"}, []),
        ({"url": "http://[::1]:1"}, []),
        ({"url": "http://api.example.com"}, ["spec.url"]),
        ({"url": "http://api.example.com", "allowInsecure": True}, []),
        ({"url": "http://localhost.evil.example"}, ["spec.url"]),
        ({"url": "ftp://x"}, ["spec.url"]),
        ({"url": "https://user:word@x"}, ["spec.url"]),
        ({"url": "https://x:port"}, ["spec.url"]),
        ({"url": "https://x/?a=1"}, ["spec.url"]),
        ({"credential": "env:KEY"}, []),
        ({"credential": "file:key.txt"}, []),
        ({"credential": "sk-1234567890"}, ["spec.credential"]),
        ({"health": {"path": "health"}}, ["spec.health.path"]),
        ({"health": {"path": "/he alth"}}, ["spec.health.path"]),
        ({"health": {"periodS": 1, "timeoutS": 2}}, ["spec.health.timeoutS"]),
    ],
)
def test_providers(spec: dict[str, Any], paths: list[str]) -> None:
    assert provider_problems(**spec) == paths


def test_a_provider_becomes_a_target() -> None:
    spec = ProviderSpec(url="https://x/v1/", credential="env:K", models={"small": "gpt-small"}, weight=3)
    assert target_of("p", spec, "small") == TargetEntry(
        id="provider-p-small",
        url="https://x/v1",
        protocol="openai",
        model="gpt-small",
        credential="env:K",
        weight=3,
    )
    assert target_of("p", spec).model == ""


def test_a_provider_is_unwell_after_a_few_failures_and_well_after_one_answer() -> None:
    spec = ProviderSpec(url="https://x")
    status = ProviderStatus()
    seen = []
    for problem in ("a", "b", "c", "d", "", "e"):
        status = judge(spec, status, problem, 1)
        seen.append(status.healthy)
    assert seen == [True, True, False, False, True, True]


class Answered:
    """An answer of the imagined upstream."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.headers: Sequence[tuple[bytes, bytes]] = ()
        self.body = b""


class Scripted:
    """An upstream that answers by a script; 0 means no connection."""

    def __init__(self, statuses: list[int]) -> None:
        self.statuses = statuses
        self.asked: list[tuple[str, bytes]] = []

    async def send(
        self, target: TargetEntry, method: bytes, path: bytes, headers: object, body: bytes, **options: object
    ) -> Answered:
        self.asked.append((target.url, path))
        status = self.statuses.pop(0)
        if not status:
            raise Transient("upstream_connect", "Nobody is there.")
        return Answered(status)


def test_health_checks_are_written_down_and_told_when_they_change(tmp_path: Path) -> None:
    async def main() -> None:
        clock = SystemClock()
        store = await open_store(f"sqlite:///{tmp_path / 's.db'}", clock)
        upstream = Scripted([200, 0, 500, 401])
        spec = {"url": "https://x/v1", "health": {"path": "/h", "failures": 2}}
        await store.transact(lambda unit: unit.put(Record(kind=PROVIDER, name="p", spec=spec)))
        controller = ProviderController(store, upstream, clock)
        assert await store.transact(controller.subjects) == ["Provider/p"]
        healthy = []
        try:
            for _ in range(4):
                facts = await controller.observe("Provider/p")
                assert facts is not None
                plan = controller.plan(facts, clock.now_ns())
                lease = await store.transact(lambda unit: unit.acquire("p", "test", 30.0))
                assert lease is not None
                for step in plan.steps:
                    await controller.act(facts, step, lease)
                (result,) = await controller.conclude(facts, plan, lease)
                assert result.status is not None
                healthy.append(result.status["healthy"])
                status = result.status | {"checkedNs": 0}  # its period is over
                await store.transact(lambda unit, status=status: unit.put_status(PROVIDER, "p", status))  # type: ignore[misc]  # as above
            told = await store.transact(lambda unit: [one.event.name for one in unit.events()])
        finally:
            await store.close()
        assert healthy == [True, True, False, True]
        assert told == ["provider.failed", "provider.recovered"]
        assert upstream.asked == [("https://x/v1", b"/h")] * 4

    asyncio.run(main())
