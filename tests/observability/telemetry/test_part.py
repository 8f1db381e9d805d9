"""The parts as the observer runs them: a real home, a real log, a real collector, a real AWS imitation."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from andon.app.home import Home
from andon.app.observer import metrics as metrics_part
from andon.app.observer.metrics import build_metrics
from andon.app.observer.metrics_routes import metrics_action
from andon.app.observer.part import ObserverGround, Part
from andon.app.observer.serving import open_ground
from andon.app.observer.telemetry import build_telemetry
from andon.app.settings import Settings, load_settings
from andon.kernel.access import OPEN
from andon.kernel.clock import SystemClock
from andon.kernel.errors import Transient
from andon.kernel.events import Event
from andon.kernel.principals import Principal
from andon.kernel.redaction import KnownSecrets
from andon.ledger.folder import open_log
from andon.ledger.row import Outcome
from andon.store.model import Record
from andon.web.routes import Call
from benchmarks.collector import Collector, attributes_of, collecting
from tests.adapters.imitation import imitating_aws
from tests.observability.telemetry.rows import outcome, refusal

CALL = Call(id="1", principal=Principal(kind="user", id="x"))


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as started:
        yield started


async def wait_for(what: str, look: Callable[[], Any], patience_s: float = 20.0) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    while not look():
        assert loop.time() < deadline, what
        await asyncio.sleep(0.02)


@asynccontextmanager
async def observing(
    root: Path, settings: Settings, environment: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[ObserverGround, tuple[Part, Part]]]:
    """Both parts on a real ground, their loops running, closed as the process closes them."""
    home = Home(root)
    home.create()
    async with open_ground(home, settings, environment or {}, KnownSecrets()) as ground:
        await ground.store.transact(_resources)
        telemetry = build_telemetry(ground)
        metrics = build_metrics(ground, telemetry.metrics)
        tasks = [asyncio.ensure_future(loop()) for part in (telemetry, metrics) for loop in part.loops]
        try:
            yield ground, (telemetry, metrics)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for part in (telemetry, metrics):
                for close in part.closing:
                    close()


def _resources(unit: Any) -> None:
    for kind, name, spec in (
        ("Team", "crew", {}),
        ("ApiKey", "k1", {}),
        ("Endpoint", "assistant", {"release": {"provider": "dummy", "upstreamModel": "small"}}),
    ):
        if unit.get(kind, name) is None:
            unit.put(Record(kind=kind, name=name, spec=spec))


async def write(root: Path, rows: list[Outcome]) -> None:
    now_ns = SystemClock().now_ns()
    async with open_log(Home(root).ledger, SystemClock(), "0") as log:
        for place, row in enumerate(rows):
            row.at_ns = now_ns + place
            log.append(row)
        await log.committed()


async def scrape(part: Part, accept: str = "") -> str:
    (route,) = part.routes
    raw = await route.handler(Call(id="1", principal=CALL.principal, accept=accept))
    return str(raw.body.decode())


def test_rows_become_spans_records_and_metrics(tmp_path: Path, collector: Collector) -> None:
    async def main() -> None:
        settings = Settings(otlp_endpoint=collector.url, telemetry_period_s=0.1)
        async with observing(tmp_path, settings) as (ground, parts):
            await write(
                tmp_path, [outcome(1), outcome(2, status=502, error_code="upstream_error"), refusal(3)]
            )
            event = Event(
                name="rollout.aborted", subject="Rollout/a-1", actor="gateway:0", data={"reason": "x"},
                at_ns=ground.clock.now_ns(),
            )  # fmt: skip
            await ground.store.transact(lambda unit: unit.append(event))
            await wait_for("spans", lambda: len(collector.roots()) == 3)
            await wait_for("records", lambda: len(collector.records) == 3)
            await wait_for("metrics", lambda: "andon.requests" in collector.metrics)
            text = await scrape(parts[1])
        (release,) = {attributes_of(span.attributes).get("andon.release") for span in collector.spans} - {
            None
        }
        assert release == "dummy/small"
        assert {record.event_name for record in collector.records} == {
            "andon.request.failed", "andon.request.refused", "andon.rollout.aborted",
        }  # fmt: skip
        assert 'status_class="5xx"' in text
        assert 'team="crew"' in text
        assert 'andon_telemetry_exported_total{exporter="otlp-traces"} 5.0' in text
        assert collector.resource["service.name"] == "andon"

    asyncio.run(main())


def test_the_standard_variables_are_honoured(tmp_path: Path, collector: Collector) -> None:
    async def main() -> None:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-token=abc",
            "OTEL_SERVICE_NAME": "plant-7",
        }
        async with observing(tmp_path, Settings(), environment):
            await write(tmp_path, [outcome(1)])
            await wait_for("spans", collector.roots)
        assert collector.headers["x-token"] == "abc"
        assert collector.resource["service.name"] == "plant-7"

    asyncio.run(main())


def test_counters_go_on_after_the_observer_has_been_away(tmp_path: Path) -> None:
    async def main() -> None:
        for number in range(3):  # rows are written while nobody watches
            await write(tmp_path, [outcome(10 * number + place) for place in range(10)])
            async with observing(tmp_path, Settings()) as (_, parts):
                counting: Any = parts[0].metrics[0]
                await wait_for("the end of the log", lambda counting=counting: counting.is_current)
                text = await scrape(parts[1], "application/openmetrics-text; version=1.0.0")
            (line,) = (line for line in text.splitlines() if line.startswith("andon_requests_total{"))
            assert line.endswith(f" {10 * (number + 1)}.0")
            assert text.endswith("# EOF\n")

    asyncio.run(main())


def test_a_backend_that_hangs_holds_up_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen(8)  # takes connections and never answers
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            await write(tmp_path, [outcome(1), refusal(2)])
            loop = asyncio.get_running_loop()
            settings = Settings(otlp_endpoint=url, telemetry_period_s=0.1)
            async with observing(tmp_path, settings) as (_, parts):
                counting: Any = parts[0].metrics[0]
                await wait_for("the end of the log", lambda: counting.is_current)
                assert "andon_requests_total{" in await scrape(parts[1])
                closing_at = loop.time()
            assert loop.time() - closing_at < 9.0  # the exporters' own time-out is 10 s, for each of four

    asyncio.run(main())


def test_what_was_not_sent_while_the_backend_was_away_is_sent_by_the_next_process(tmp_path: Path) -> None:
    async def main() -> None:
        with collecting() as collector:
            collector.answer = lambda path, message: (503, b"")
            settings = Settings(otlp_endpoint=collector.url)
            await write(tmp_path, [outcome(number) for number in range(20)])
            async with observing(tmp_path, settings):
                await wait_for("a try", lambda: collector.requests)
            assert collector.roots() == []
            collector.answer = lambda path, message: (200, b"")
            async with observing(tmp_path, settings):
                await wait_for("spans", lambda: len(collector.roots()) == 20)
            async with observing(tmp_path, settings) as (_, parts):
                counting: Any = parts[0].metrics[0]
                await wait_for("the end of the log", lambda: counting.is_current)
            assert len(collector.roots()) == 20

    asyncio.run(main())


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with imitating_aws() as url:
        yield url


def test_cloudwatch_and_xray(tmp_path: Path, aws: str) -> None:
    async def main() -> None:
        settings = Settings(
            aws_region="us-east-1", aws_endpoint_url=aws, cloudwatch_group="andon", cloudwatch_metrics="Andon",
            xray=True,
        )  # fmt: skip
        async with observing(tmp_path, settings) as (ground, (telemetry, _)):
            rows = [outcome(1), outcome(2), refusal(3)]
            await write(tmp_path, rows)

            def exported() -> dict[str, float]:
                families = {family.name: family for family in telemetry.metrics[1].families()}
                samples = families["andon_telemetry_exported_total"].samples
                return {dict(sample.labels)["exporter"]: sample.value for sample in samples}

            wanted = {"cloudwatch-logs": 1, "cloudwatch-journal": 0, "xray": 3}
            await wait_for("everything", lambda: exported() == wanted)
            made = metrics_part._cloudwatch(ground, telemetry.metrics, ground.runner)
            assert made is not None
            push, _, period_s = made
            await push()
            await push()  # nothing was added meanwhile, so nothing is sent
            assert period_s == 60.0
        logs = boto3.client("logs", region_name="us-east-1", endpoint_url=aws)
        streams = logs.describe_log_streams(logGroupName="andon")["logStreams"]
        # Other tests write streams of their own into this group.
        assert {one["logStreamName"] for one in streams} >= {"andon-0-requests", "andon-0-metrics"}
        told = logs.get_log_events(logGroupName="andon", logStreamName="andon-0-metrics")["events"]
        lines = [json.loads(event["message"]) for event in told]
        logs.close()
        assert sum(line["andon.requests"] for line in lines) == 3
        assert {tuple(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"][0]) for line in lines} == {
            ("Endpoint", "Release"), ("Endpoint",),
        }  # fmt: skip

    asyncio.run(main())


def test_a_backend_that_cannot_be_set_up_costs_only_itself(tmp_path: Path) -> None:
    async def main() -> None:
        settings = Settings(cloudwatch_metrics="Andon")  # without a log group
        async with observing(tmp_path, settings) as (_, parts):
            counting: Any = parts[0].metrics[0]
            await wait_for("the end of the log", lambda: counting.is_current)
            assert "andon_metrics_rows_total" in await scrape(parts[1])

    asyncio.run(main())


def test_a_failed_push_is_counted_and_followed_by_the_next(tmp_path: Path) -> None:
    async def main() -> None:
        async with observing(tmp_path, Settings()) as (ground, _):
            results: list[Exception | None] = [
                Transient("telemetry_unreachable", "away"),
                ValueError("bug"),
                None,
            ]

            async def push() -> None:
                error = results.pop(0)
                if error is not None:
                    raise error

            pushes = metrics_part.Pushes()
            task = asyncio.ensure_future(metrics_part._every(ground, 0.001, push, pushes, "otlp")())
            await wait_for("three pushes", lambda: not results)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            (family,) = pushes.families()
            told = {dict(sample.labels)["result"]: sample.value for sample in family.samples}
            assert told["ok"] == 1
            assert told["failed"] >= 2

    asyncio.run(main())


@pytest.mark.parametrize(
    ("settings", "is_open"),
    [
        (Settings(), True),
        (Settings(control_host="0.0.0.0"), False),
        (Settings(control_host="0.0.0.0", metrics_open=True), True),
        (Settings(metrics_open=False), False),
    ],
)
def test_who_may_read_the_metrics(settings: Settings, is_open: bool) -> None:
    assert (metrics_action(settings) == OPEN) is is_open


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    found = load_settings(
        tmp_path, {"ANDON_METRICS_OPEN": "false", "ANDON_TRACE_SHARE": "0.25", "ANDON_XRAY": "true"}
    )
    assert (found.metrics_open, found.trace_share, found.xray) == (False, 0.25, True)
