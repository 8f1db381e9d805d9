"""The units of dcgm-exporter, from those of the product: percent, MiB, millijoules, MHz. The one place for that way.

The other way, from the driver, is `adapters/nvml.py`. Names and units: NVIDIA/dcgm-exporter, etc/default-counters.csv.
"""

from __future__ import annotations

MIB = 2**20
MEGA = 1_000_000


def percent(ratio: float) -> float:
    """0.87 as 87."""
    return ratio * 100


def mebibytes(size_bytes: float) -> float:
    """Bytes as MiB."""
    return size_bytes / MIB


def millijoules(joules: float) -> float:
    """Joules as mJ."""
    return joules * 1000


def megahertz(hertz: float) -> float:
    """Hertz as MHz."""
    return hertz / MEGA
