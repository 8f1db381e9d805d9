"""`andon status`: what the observer knows of the machine, in lines; and that nothing is pretended where it is away."""

from __future__ import annotations

import socket
from typing import Any

import msgspec
import pytest

from andon.app.cli.client import Client
from andon.app.cli.status import describe, size
from andon.kernel.devices import DeviceReading, Devices
from andon.kernel.errors import Transient
from andon.observability.infrastructure.model import (
    FileSystem,
    Gateway,
    Host,
    LogState,
    Moment,
    Process,
    warnings_of,
)

NOW_S = 1_800_000_000.0


def moment(**fields: Any) -> Moment:
    host = Host(
        cpus=2,
        cpu_s={"user": 1.0},
        load=(0.5, 0.4, 0.3),
        memory_bytes={},
        memory_total_bytes=8 * 2**30,
        memory_available_bytes=6 * 2**30,
        swap_used_bytes=0,
        swap_total_bytes=0,
        file_systems=(
            FileSystem(
                mount="/data",
                device="sda",
                kind="ext4",
                used_bytes=90 * 2**30,
                free_bytes=10 * 2**30,
                total_bytes=100 * 2**30,
                holds_ledger=True,
            ),
        ),
    )
    process = Process(
        role="replica",
        name="credit-2-r1",
        pid=77,
        endpoint="credit",
        release="credit@2",
        cpu_s=3.0,
        cpu_ratio=0.25,
        rss_bytes=150 * 2**20,
        open_files=9,
        threads=4,
        started_at=NOW_S - 7200,
    )
    given = {
        "at_ns": int(NOW_S) * 10**9,
        "host": host,
        "processes": (process,),
        "logs": (LogState(log="ledger", bytes=3 * 2**20, segments=2, newest_at=NOW_S),),
        "gateway": Gateway(answers=True, ledger_lag_s=0.004, ledger_in_trouble=False, sync_s=0.0021),
        **fields,
    }
    return Moment(**given)


def told(seen: Moment, tables: dict[str, Any] | None = None) -> list[str]:
    page = {"now": msgspec.to_builtins(seen), "warnings": warnings_of(seen)}
    return describe(page, tables, NOW_S)


def test_processes_ledger_disk_and_gpu_are_told() -> None:
    tables = {
        "tables": [],
        "quarantined": [],
        "logs": [{"name": "rows", "segments": 2, "sealed_position": 12_345, "waiting": 1, "lag_s": 3.2}],
    }
    gpu = DeviceReading(
        index=0,
        uuid="a",
        name="NVIDIA H200",
        utilisation=0.87,
        memory_used_bytes=3 * 2**30,
        memory_total_bytes=141 * 2**30,
        power_watts=512.4,
    )
    assert told(moment(devices=Devices(readings=(gpu,))), tables) == [
        "Processes",
        "  NAME          PID   CPU   MEMORY    UP   SERVES",
        "  credit-2-r1   77    25%   150 MiB   2h   credit (credit@2)",
        "Host        load 0.5 on 2 CPUs, memory 2.0 GiB of 8.0 GiB, 10 GiB free for the ledger on /data",
        "Ledger      lag 4 ms, sync 2.1 ms; ledger 3.0 MiB in 2 segments",
        "Tables      rows sealed up to 12,345 (1 segment waiting, 3 s)",
        "GPU         0 NVIDIA H200, 87% busy, 3.0 GiB of 141 GiB, 512 W",
        "Warning     /data is 90% full and holds the ledger: new rows stop when it is full",
    ]


def test_no_gpu_and_no_gateway_are_said_as_such() -> None:
    lines = told(moment(devices=Devices(absent="no NVIDIA driver"), gateway=Gateway()))
    assert "GPU         none: no NVIDIA driver" in lines
    assert any("the gateway does not answer" in line for line in lines)


def test_tables_that_do_not_answer_in_time_are_said() -> None:
    lines = told(moment(), None)
    assert "Tables      did not answer in time (andon ledger status)" in lines


def test_an_observer_that_is_away_or_new_is_said() -> None:
    assert "does not answer" in describe(None, None, NOW_S)[0]
    assert describe({"now": None, "warnings": []}, None, NOW_S) == ["Observer    has just started"]


@pytest.mark.parametrize(
    ("given", "text"), [(0, "0 B"), (1023, "1,023 B"), (1536, "1.5 KiB"), (5 * 2**40, "5.0 TiB")]
)
def test_sizes_are_read_by_people(given: int, text: str) -> None:
    assert size(given) == text


def test_a_process_that_hangs_is_waited_for_as_long_as_was_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Client(f"http://127.0.0.1:{silent.getsockname()[1]}", "key").within(0.05)
        with pytest.raises(Transient, match="timed out"):
            client.get("/v1/infrastructure")
