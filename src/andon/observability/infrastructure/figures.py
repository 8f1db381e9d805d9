"""A moment of the host, its processes and logs as families of metrics. Pure.

Names are OpenTelemetry's `system.*` as Prometheus writes them; labels likewise (`cpu_mode`, `system_device`, …).
Sources: OpenTelemetry semantic conventions, docs/system/system-metrics.md and the naming rules of its Prometheus part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from andon.observability.families import Family, Sample
from andon.observability.infrastructure.model import (
    Disk,
    FileSystem,
    Host,
    LogState,
    Moment,
    Network,
    Process,
)

Labels = tuple[tuple[str, str], ...]
Kind = Literal["counter", "gauge"]


def family(name: str, kind: Kind, meaning: str, samples: Iterable[tuple[Labels, float | None]]) -> Family:
    """One family; what is unknown is left out."""
    known = tuple(Sample(labels, float(value)) for labels, value in samples if value is not None)
    return Family(name=name, kind=kind, meaning=meaning, samples=known)


def families_of(moment: Moment) -> tuple[Family, ...]:
    """Everything but the devices, which `gpu_figures` writes."""
    host = moment.host
    return (
        *_processors(host),
        *_memory(host),
        *_networks(host.networks),
        *_disks(host.disks),
        *_file_systems(host.file_systems),
        *_processes(moment.processes),
        *_logs(moment.logs),
    )


def _processors(host: Host) -> tuple[Family, ...]:
    times = [((("cpu_mode", mode),), value) for mode, value in sorted(host.cpu_s.items())]
    spans = zip(("1m", "5m", "15m"), host.load, strict=True)
    return (
        family("system_cpu_time_seconds_total", "counter", "Processor time since boot, by mode.", times),
        family("system_cpu_logical", "gauge", "Logical processors.", [((), host.cpus)]),
        *(
            family(f"system_cpu_load_average_{span}", "gauge", f"Runnable over {span}.", [((), value)])
            for span, value in spans
        ),
    )


def _memory(host: Host) -> tuple[Family, ...]:
    states = [
        ((("system_memory_state", state),), value) for state, value in sorted(host.memory_bytes.items())
    ]
    swap_free = host.swap_total_bytes - host.swap_used_bytes
    paging = [
        ((("system_paging_state", "used"),), host.swap_used_bytes),
        ((("system_paging_state", "free"),), swap_free),
    ]
    return (
        family("system_memory_usage_bytes", "gauge", "Memory by state.", states),
        family("system_memory_limit_bytes", "gauge", "Memory there is.", [((), host.memory_total_bytes)]),
        family(
            "system_memory_available_bytes",
            "gauge",
            "What new work could have without swapping.",
            [((), host.memory_available_bytes)],
        ),
        family("system_paging_usage_bytes", "gauge", "Swap by state.", paging),
    )


def _networks(found: tuple[Network, ...]) -> tuple[Family, ...]:
    def pairs(read: Callable[[Network], tuple[int, int]]) -> Iterable[tuple[Labels, float]]:
        for one in found:
            for direction, value in zip(("receive", "transmit"), read(one), strict=True):
                yield (("network_interface_name", one.name), ("network_io_direction", direction)), value

    return (
        family("system_network_io_bytes_total", "counter", "Bytes since boot.", pairs(lambda one: one.bytes)),
        family(
            "system_network_packet_count_total",
            "counter",
            "Packets since boot.",
            pairs(lambda one: one.packets),
        ),
        family("system_network_errors_total", "counter", "Errors since boot.", pairs(lambda one: one.errors)),
        family(
            "system_network_packet_dropped_total",
            "counter",
            "Packets dropped since boot.",
            pairs(lambda one: one.dropped),
        ),
    )


def _disks(found: tuple[Disk, ...]) -> tuple[Family, ...]:
    def pairs(read: Callable[[Disk], tuple[int, int]]) -> Iterable[tuple[Labels, float]]:
        for one in found:
            for direction, value in zip(("read", "write"), read(one), strict=True):
                yield (("system_device", one.name), ("disk_io_direction", direction)), value

    busy = [((("system_device", one.name),), one.io_time_s) for one in found]
    return (
        family("system_disk_io_bytes_total", "counter", "Bytes since boot.", pairs(lambda one: one.bytes)),
        family(
            "system_disk_operations_total",
            "counter",
            "Operations since boot.",
            pairs(lambda one: one.operations),
        ),
        family("system_disk_io_time_seconds_total", "counter", "Time the device was busy since boot.", busy),
    )


def _file_systems(found: tuple[FileSystem, ...]) -> tuple[Family, ...]:
    def place(one: FileSystem) -> Labels:
        return (
            ("system_device", one.device),
            ("system_filesystem_mountpoint", one.mount),
            ("system_filesystem_type", one.kind),
            ("holds_ledger", "true" if one.holds_ledger else "false"),
        )

    usage = [
        ((*place(one), ("system_filesystem_state", state)), value)
        for one in found
        for state, value in (("used", one.used_bytes), ("free", one.free_bytes))
    ]
    return (
        family("system_filesystem_usage_bytes", "gauge", "Space by state.", usage),
        family(
            "system_filesystem_limit_bytes",
            "gauge",
            "Space there is.",
            [(place(one), one.total_bytes) for one in found],
        ),
        family(
            "system_filesystem_utilization_ratio",
            "gauge",
            "Used over what can be used, as df shows it.",
            [(place(one), one.used_ratio) for one in found],
        ),
    )


def _processes(found: tuple[Process, ...]) -> tuple[Family, ...]:
    def named(read: Callable[[Process], float | None]) -> Iterable[tuple[Labels, float | None]]:
        for one in found:
            labels = (
                ("role", one.role),
                ("name", one.name),
                ("endpoint", one.endpoint),
                ("release", one.release),
            )
            yield labels, read(one)

    counted: tuple[tuple[str, Kind, str, Callable[[Process], float | None]], ...] = (
        ("andon_process_cpu_seconds_total", "counter", "Processor time since its start.", lambda p: p.cpu_s),
        ("andon_process_resident_memory_bytes", "gauge", "Memory that it holds.", lambda p: p.rss_bytes),
        ("andon_process_open_fds", "gauge", "Open files and sockets.", lambda p: p.open_files),
        ("andon_process_threads", "gauge", "Threads.", lambda p: p.threads),
        (
            "andon_process_start_time_seconds",
            "gauge",
            "When it began, since the epoch.",
            lambda p: p.started_at,
        ),
    )
    return tuple(family(name, kind, meaning, named(read)) for name, kind, meaning, read in counted)


def _logs(found: tuple[LogState, ...]) -> tuple[Family, ...]:
    def named(read: Callable[[LogState], float | None]) -> Iterable[tuple[Labels, float | None]]:
        return [((("log", one.log),), read(one)) for one in found]

    return (
        family("andon_log_bytes", "gauge", "Size on disk of a log's segments.", named(lambda one: one.bytes)),
        family("andon_log_segments", "gauge", "Segments that are on disk.", named(lambda one: one.segments)),
        family(
            "andon_log_written_time_seconds",
            "gauge",
            "When it was last written to, since the epoch.",
            named(lambda one: one.newest_at),
        ),
    )
