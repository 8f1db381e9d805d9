"""Accelerators as the product sees them: what each said at one moment, and the port that asks.

Implemented by `adapters/nvml.py` and by `testing/devices.py`. Units are those of the product (bytes, ratios, joules,
seconds); what the driver counts in is converted in the adapter and nowhere else.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class DeviceReading(msgspec.Struct, frozen=True, kw_only=True):
    """One device now. What it does not tell is null, never zero."""

    index: int
    uuid: str  # "GPU-8f3c…": stays the same over restarts
    name: str  # "NVIDIA H200"
    utilisation: float | None = None  # share of the last moment in which a kernel ran, in [0, 1]
    memory_utilisation: float | None = None  # share in which memory was read or written
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    power_watts: float | None = None
    energy_joules: float | None = None  # since the driver was loaded; grows
    temperature_celsius: float | None = None
    sm_clock_hertz: int | None = None
    memory_clock_hertz: int | None = None
    ecc_uncorrected: int | None = None  # since the driver was loaded
    ecc_corrected: int | None = None
    pcie_replays: int | None = None
    last_xid: int | None = None  # the last error of the driver that was seen; null while none was
    pids: tuple[int, ...] = ()  # processes that compute on it


class Devices(msgspec.Struct, frozen=True, kw_only=True):
    """All devices of this host, or why there are none to be seen."""

    readings: tuple[DeviceReading, ...] = ()
    absent: str = ""  # such as "no NVIDIA driver"; empty where devices can be asked


class DeviceProbe(Protocol):
    """Asks the devices of this host. Blocking: handed to a runner."""

    def read(self) -> Devices:
        """What they say now; never raises for a missing driver or a device that is lost."""
        ...

    def close(self) -> None:
        """Let the driver go."""
        ...
