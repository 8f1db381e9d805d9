"""What a look at a machine gives: readings, metrics, history, warnings, and honesty about what is not there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import pytest

from andon.kernel.devices import DeviceReading, Devices
from andon.ledger.reader import Entry
from andon.ledger.row import Outcome
from andon.observability.families import Family
from andon.observability.infrastructure import units
from andon.observability.infrastructure.collector import Census, Collector
from andon.observability.infrastructure.figures import families_of
from andon.observability.infrastructure.gpu_figures import attribution_families, device_families
from andon.observability.infrastructure.history import History, busy_ratio, figures
from andon.observability.infrastructure.host import (
    children_of,
    mount_of,
    read_host,
    read_logs,
    read_processes,
)
from andon.observability.infrastructure.model import (
    FileSystem,
    Gateway,
    Host,
    Moment,
    Wanted,
    warnings_of,
)
from andon.observability.infrastructure.upstreams import TARGETS_MAX, Upstreams
from tests.ledger.conftest import InlineRunner

SECOND = 10**9
START = 1_800_000_000 * SECOND
GPU = DeviceReading(
    index=0,
    uuid="GPU-a",
    name="NVIDIA H200",
    utilisation=0.87,
    memory_used_bytes=3 * 2**30,
    memory_total_bytes=5 * 2**30,
    power_watts=512.5,
    energy_joules=1000.0,
    sm_clock_hertz=1_980_000_000,
    temperature_celsius=61,
)


def host(cpu_s: Mapping[str, float] | None = None, **fields: object) -> Host:
    given: dict[str, object] = {
        "cpus": 2,
        "cpu_s": dict(cpu_s or {"user": 1.0, "idle": 9.0}),
        "load": (0.1, 0.2, 0.3),
        "memory_bytes": {"used": 10},
        "memory_total_bytes": 100,
        "memory_available_bytes": 60,
        "swap_used_bytes": 0,
        "swap_total_bytes": 0,
        **fields,
    }
    return Host(**given)  # type: ignore[arg-type]  # tests name fields loosely


def values(found: Sequence[Family], name: str) -> dict[tuple[tuple[str, str], ...], float]:
    (family,) = [one for one in found if one.name == name]
    return {sample.labels: sample.value for sample in family.samples}


def test_this_machine_can_be_read(tmp_path: Path) -> None:
    seen = read_host(tmp_path)
    assert seen.cpus >= 1
    assert {"user", "system", "idle"} <= set(seen.cpu_s)
    assert 0 < seen.memory_available_bytes <= seen.memory_total_bytes
    (holding,) = [one for one in seen.file_systems if one.holds_ledger]
    assert holding.mount == mount_of(tmp_path)
    assert 0 < holding.used_bytes + holding.free_bytes <= holding.total_bytes
    assert any(one.name == "lo" for one in seen.networks)


def test_processes_are_read_and_those_that_ended_are_left_out() -> None:
    gone = Wanted(role="gateway", name="gateway", pid=2**22 + 1)
    own = Wanted(role="replica", name="credit-2-r1", pid=os.getpid(), endpoint="credit", release="credit@2")
    times = psutil.Process().cpu_times()
    before = {os.getpid(): (times.user + times.system - 1.0, 10.0)}
    (found,) = read_processes([gone, own], before, 12.0)
    assert (found.name, found.endpoint, found.release) == ("credit-2-r1", "credit", "credit@2")
    assert found.cpu_ratio == pytest.approx(0.5, abs=0.4)
    assert found.rss_bytes > 0
    assert found.threads >= 1


def test_a_pid_that_was_used_again_has_no_share_yet() -> None:
    own = Wanted(role="control", name="control", pid=os.getpid())
    (found,) = read_processes([own], {os.getpid(): (1e9, 1.0)}, 2.0)
    assert found.cpu_ratio is None


def test_a_supervisor_that_is_gone_has_no_children() -> None:
    assert children_of(2**22 + 1, {"andon.app.gateway_process": "gateway"}) == []
    assert children_of(os.getpid(), {}) == [Wanted(role="supervisor", name="supervisor", pid=os.getpid())]


def test_logs_are_measured_in_what_is_used_not_in_what_is_reserved(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "00000001-00000000000000000001.log").write_bytes(b"x" * 10_000)
    with (tmp_path / "ledger" / "00000002-00000000000000000009.log").open("wb") as file:
        file.truncate(64 * 2**20)
    ledger, facts = read_logs([("ledger", tmp_path / "ledger"), ("facts", tmp_path / "facts")])
    assert ledger.segments == 2
    assert 10_000 <= ledger.bytes < 2**20
    assert (facts.bytes, facts.segments, facts.newest_at) == (0, 0, None)


def test_a_machine_is_told_in_opentelemetrys_names(tmp_path: Path) -> None:
    seen = read_host(tmp_path)
    found = families_of(Moment(at_ns=START, host=seen, logs=read_logs([("ledger", tmp_path)])))
    names = {family.name for family in found}
    assert {
        "system_cpu_time_seconds_total",
        "system_memory_usage_bytes",
        "system_network_io_bytes_total",
        "system_disk_io_bytes_total",
        "system_filesystem_usage_bytes",
        "andon_log_bytes",
    } <= names
    assert len(names) == len(found)
    times = values(found, "system_cpu_time_seconds_total")
    assert times[(("cpu_mode", "idle"),)] == seen.cpu_s["idle"]
    for family in found:
        labels = [sample.labels for sample in family.samples]
        assert len(labels) == len(set(labels)), family.name
        assert family.name.endswith("_total") == (family.kind == "counter")


def test_devices_are_told_in_dcgms_units_and_in_base_units() -> None:
    found = device_families(Devices(readings=(GPU,)))
    dcgm = (("gpu", "0"), ("UUID", "GPU-a"), ("device", "nvidia0"), ("modelName", "NVIDIA H200"))
    otel = (("hw_id", "GPU-a"), ("hw_name", "NVIDIA H200"), ("hw_type", "gpu"))
    for name, labels, value in (
        ("DCGM_FI_DEV_GPU_UTIL", dcgm, 87.0),
        ("DCGM_FI_DEV_FB_USED", dcgm, 3072.0),
        ("DCGM_FI_DEV_FB_FREE", dcgm, 2048.0),
        ("DCGM_FI_DEV_POWER_USAGE", dcgm, 512.5),
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", dcgm, 1_000_000.0),
        ("DCGM_FI_DEV_SM_CLOCK", dcgm, 1980.0),
        ("hw_gpu_utilization_ratio", otel, 0.87),
        ("hw_gpu_memory_usage_bytes", otel, 3 * 2**30),
        ("hw_gpu_memory_utilization_ratio", otel, 0.6),
        ("hw_energy_joules_total", otel, 1000.0),
        ("andon_gpus", (), 1.0),
    ):
        assert values(found, name)[labels] == pytest.approx(value), name
    assert "DCGM_FI_DEV_XID_ERRORS" not in {family.name for family in found}


def test_no_gpu_is_one_clear_statement() -> None:
    (only,) = device_families(Devices(absent="no NVIDIA driver"))
    assert only.name == "andon_gpus"
    assert only.samples[0].value == 0
    assert "no NVIDIA driver" in only.meaning


@pytest.mark.parametrize(
    ("convert", "given", "wanted"),
    [
        (units.percent, 0.5, 50),
        (units.mebibytes, 2**30, 1024),
        (units.millijoules, 1.5, 1500),
        (units.megahertz, 2e9, 2000),
    ],
)
def test_units(convert: object, given: float, wanted: float) -> None:
    assert convert(given) == wanted  # type: ignore[operator]  # a table of functions


def test_a_full_disk_and_a_sick_gpu_are_told() -> None:
    full = FileSystem(
        mount="/var",
        device="d",
        kind="ext4",
        used_bytes=85,
        free_bytes=15,
        total_bytes=100,
        holds_ledger=True,
    )
    fine = FileSystem(mount="/", device="e", kind="ext4", used_bytes=85, free_bytes=15, total_bytes=100)
    sick = DeviceReading(index=1, uuid="b", name="gpu", last_xid=79, ecc_uncorrected=2)
    moment = Moment(
        at_ns=START,
        host=host(file_systems=(full, fine)),
        devices=Devices(readings=(sick,)),
        gateway=Gateway(answers=True, ledger_in_trouble=True),
    )
    found = warnings_of(moment)
    assert len(found) == 4
    assert found[0] == "/var is 85% full and holds the ledger: new rows stop when it is full"
    assert "XID 79" in found[2]


def test_history_keeps_a_point_a_minute_for_a_day() -> None:
    history = History()
    for minute in range(3000):
        for half in (0, 30):
            at_ns = START + (minute * 60 + half) * SECOND
            history.take(Moment(at_ns=at_ns, host=host({"user": minute * 30.0, "idle": minute * 30.0})))
    (busy,) = [one for one in history.series() if one.name == "cpu_busy_ratio"]
    assert len(busy.values) == 1440
    assert busy.values[-1] == pytest.approx(0.5)
    assert history.series(START + 2995 * 60 * SECOND)[0].at_ns[0] >= START + 2995 * 60 * SECOND


def test_figures_do_not_count_guests_twice_and_never_fall_below_zero() -> None:
    before, now = host({"user": 10, "guest": 5, "idle": 10}), host({"user": 20, "guest": 10, "idle": 20})
    assert busy_ratio(before, now) == pytest.approx(0.5)
    assert busy_ratio(now, before) is None
    found = figures(Moment(at_ns=START, host=before), Moment(at_ns=START + SECOND, host=now))
    assert found["memory_used_ratio"] == pytest.approx(0.4)
    assert "ledger_lag_s" not in found


def test_upstreams_are_counted_by_target_and_bounded() -> None:
    upstreams = Upstreams()
    rows = [
        Outcome(id=f"r{n}", endpoint="chat", target=f"t{n}", connect_us=1500, first_byte_us=40_000)
        for n in range(TARGETS_MAX + 20)
    ]
    upstreams.take_rows([Entry(n + 1, row) for n, row in enumerate([*rows, Outcome(id="refused")])])
    by_name = {family.name: family for family in upstreams.families()}
    connect = by_name["andon_target_connect_seconds"]
    assert len(connect.samples) == TARGETS_MAX + 1
    other = next(one for one in connect.samples if dict(one.labels)["target"] == "other")
    assert other.count == 20
    assert other.value == pytest.approx(20 * 0.0015)
    assert other.buckets[-1] == (float("inf"), 20)
    assert by_name["andon_target_tls_seconds"].samples == ()


class _Clock:
    at_ns = START

    def now_ns(self) -> int:
        return self.at_ns

    def monotonic(self) -> float:
        return self.at_ns / SECOND

    async def sleep(self, seconds: float) -> None:
        self.at_ns += int(seconds * SECOND)
        await asyncio.sleep(0)


def _collector(clock: _Clock, devices: Devices) -> Collector:
    async def census() -> Census:
        return Census(replicas={"chat-1-r1": 4242}, endpoints=frozenset({"chat"}))

    async def gateway() -> Gateway:
        return Gateway(answers=True, ledger_lag_s=0.01)

    def measure(wanted: Sequence[Wanted], before: Mapping[int, tuple[float, float]]) -> Moment:
        return Moment(at_ns=clock.now_ns(), host=host(), devices=devices)

    return Collector(clock, InlineRunner(), measure, census, gateway)


def test_the_collector_gives_gpu_time_to_the_endpoint_that_was_in_flight() -> None:
    async def main() -> None:
        clock = _Clock()
        collector = _collector(clock, Devices(readings=(GPU,)))
        await collector.look()
        row = Outcome(
            id="r",
            endpoint="chat",
            target="chat-1-r1",
            at_ns=START + 4 * SECOND,
            upstream_us=3_000_000,
            input_tokens=100,
            output_tokens=50,
        )
        collector.take_rows([Entry(1, row)])
        for _ in range(30):
            await clock.sleep(5.0)
            await collector.look()
        chat, nobody = collector.attribution.endpoints()
        assert chat.gpu_s == pytest.approx(0.87 * 5)
        assert nobody.gpu_s == pytest.approx(0.87 * 145)
        assert chat.tokens == 150
        found = attribution_families(collector.attribution, frozenset({"chat"}))
        seconds = values(found, "andon_gpu_attributed_seconds_total")
        assert seconds[(("endpoint", "chat"), ("device", "GPU-a"))] == pytest.approx(0.87 * 5)
        assert (("endpoint", "unattributed"), ("device", "GPU-a")) in seconds
        assert {family.name for family in collector.families()} >= {"andon_gpus", "DCGM_FI_DEV_GPU_UTIL"}

    asyncio.run(main())


def test_a_look_that_fails_is_counted_and_tried_again() -> None:
    async def main() -> None:
        clock, looks = _Clock(), 0
        collector = _collector(clock, Devices(absent="none"))
        good = collector._measure

        def measure(wanted: Sequence[Wanted], before: Mapping[int, tuple[float, float]]) -> Moment:
            nonlocal looks
            looks += 1
            if looks == 1:
                raise OSError("/proc is away")
            return good(wanted, before)

        collector._measure = measure
        running = asyncio.create_task(collector.run())
        while collector.moment is None:
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert collector.failures == 1
        assert collector.moment.devices.absent == "none"

    asyncio.run(main())
