"""Devices as families of metrics, under two sets of names: dcgm-exporter's in its units, OpenTelemetry's in base units.

Existing GPU dashboards and rules read the first (`DCGM_FI_DEV_*`), new ones the second (`hw_*`). A host without a GPU
says so with `andon_gpus 0` and nothing else. Pure.
"""

from __future__ import annotations

from collections.abc import Callable

from andon.kernel.devices import DeviceReading, Devices
from andon.observability.families import Family
from andon.observability.infrastructure import units
from andon.observability.infrastructure.attribution import UNATTRIBUTED, Attribution
from andon.observability.infrastructure.figures import Kind, Labels, family

Read = Callable[[DeviceReading], float | None]


def _scaled(read: Read, scale: Callable[[float], float]) -> Read:
    def scaled(device: DeviceReading) -> float | None:
        value = read(device)
        return None if value is None else scale(value)

    return scaled


def _free(device: DeviceReading) -> float | None:
    if device.memory_total_bytes is None or device.memory_used_bytes is None:
        return None
    return device.memory_total_bytes - device.memory_used_bytes


def _used_ratio(device: DeviceReading) -> float | None:
    if not device.memory_total_bytes or device.memory_used_bytes is None:
        return None
    return device.memory_used_bytes / device.memory_total_bytes


_DCGM: tuple[tuple[str, Kind, str, Read], ...] = (
    ("GPU_UTIL", "gauge", "Utilisation in %.", _scaled(lambda d: d.utilisation, units.percent)),
    (
        "MEM_COPY_UTIL",
        "gauge",
        "Memory utilisation in %.",
        _scaled(lambda d: d.memory_utilisation, units.percent),
    ),
    ("FB_USED", "gauge", "Memory used in MiB.", _scaled(lambda d: d.memory_used_bytes, units.mebibytes)),
    ("FB_FREE", "gauge", "Memory free in MiB.", _scaled(_free, units.mebibytes)),
    ("POWER_USAGE", "gauge", "Power in W.", lambda d: d.power_watts),
    (
        "TOTAL_ENERGY_CONSUMPTION",
        "counter",
        "Energy since the driver was loaded in mJ.",
        _scaled(lambda d: d.energy_joules, units.millijoules),
    ),
    ("GPU_TEMP", "gauge", "Temperature in C.", lambda d: d.temperature_celsius),
    ("SM_CLOCK", "gauge", "SM clock in MHz.", _scaled(lambda d: d.sm_clock_hertz, units.megahertz)),
    ("MEM_CLOCK", "gauge", "Memory clock in MHz.", _scaled(lambda d: d.memory_clock_hertz, units.megahertz)),
    ("XID_ERRORS", "gauge", "The last XID error that was seen.", lambda d: d.last_xid),
    ("ECC_SBE_VOL_TOTAL", "counter", "Corrected memory errors.", lambda d: d.ecc_corrected),
    ("ECC_DBE_VOL_TOTAL", "counter", "Uncorrected memory errors.", lambda d: d.ecc_uncorrected),
    ("PCIE_REPLAY_COUNTER", "counter", "PCIe replays.", lambda d: d.pcie_replays),
)
_OTEL: tuple[tuple[str, Kind, str, Read], ...] = (
    ("hw_gpu_utilization_ratio", "gauge", "Share of time in which a kernel ran.", lambda d: d.utilisation),
    ("hw_gpu_memory_usage_bytes", "gauge", "Memory used.", lambda d: d.memory_used_bytes),
    ("hw_gpu_memory_limit_bytes", "gauge", "Memory there is.", lambda d: d.memory_total_bytes),
    ("hw_gpu_memory_utilization_ratio", "gauge", "Share of memory used.", _used_ratio),
    ("hw_power_watts", "gauge", "Power.", lambda d: d.power_watts),
    ("hw_energy_joules_total", "counter", "Energy since the driver was loaded.", lambda d: d.energy_joules),
    ("hw_temperature_celsius", "gauge", "Temperature.", lambda d: d.temperature_celsius),
)


def device_families(devices: Devices) -> tuple[Family, ...]:
    """Both sets of names; where there is no GPU, the statement that there is none."""
    found = devices.readings
    meaning = "GPUs that can be asked" + (f"; none here: {devices.absent}." if devices.absent else ".")
    count = family("andon_gpus", "gauge", meaning, [((), len(found))])
    if not found:
        return (count,)
    families = [count]
    for names, table, labels in (("DCGM_FI_DEV_", _DCGM, _dcgm_labels), ("", _OTEL, _otel_labels)):
        for name, kind, words, read in table:
            made = family(names + name, kind, words, [(labels(device), read(device)) for device in found])
            if made.samples:
                families.append(made)
    return tuple(families)


def attribution_families(attribution: Attribution, endpoints: frozenset[str]) -> tuple[Family, ...]:
    """What each endpoint had of each device so far; intervals count a minute after their end."""

    def named(amounts: dict[tuple[str, str], float]) -> list[tuple[Labels, float | None]]:
        totals: dict[Labels, float] = {}
        for (endpoint, device), amount in amounts.items():
            name = endpoint if endpoint in endpoints else "other"
            labels = (
                ("endpoint", "unattributed" if endpoint == UNATTRIBUTED else name),
                ("device", device),
            )
            totals[labels] = totals.get(labels, 0.0) + amount
        return [(labels, amount) for labels, amount in sorted(totals.items())]

    return (
        family(
            "andon_gpu_attributed_seconds_total",
            "counter",
            "Busy seconds of a device by endpoint; adds up to the device.",
            named(attribution.settled_s),
        ),
        family(
            "andon_gpu_attributed_joules_total",
            "counter",
            "Energy of a device by endpoint; adds up to the device.",
            named(attribution.settled_joules),
        ),
        family(
            "andon_gpu_late_seconds_total",
            "counter",
            "In-flight seconds that were told after their interval was counted.",
            [((), attribution.late_s)],
        ),
    )


def _dcgm_labels(device: DeviceReading) -> Labels:
    return (
        ("gpu", str(device.index)),
        ("UUID", device.uuid),
        ("device", f"nvidia{device.index}"),
        ("modelName", device.name),
    )


def _otel_labels(device: DeviceReading) -> Labels:
    return (("hw_id", device.uuid), ("hw_name", device.name), ("hw_type", "gpu"))
