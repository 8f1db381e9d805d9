"""What is measured: one host, the factory's processes on it, its logs, its devices.

Frozen; the unit is the last part of a name. What nobody could tell is null, never zero.
"""

from __future__ import annotations

import msgspec

from andon.kernel.devices import Devices

FULL_RATIO = 0.9  # from here on a file system is told as nearly full
LEDGER_FULL_RATIO = 0.8  # earlier for the one that holds the ledger: a full one stops new rows


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """One interface since boot; each pair is (received, transmitted)."""

    name: str
    bytes: tuple[int, int]
    packets: tuple[int, int]
    errors: tuple[int, int]
    dropped: tuple[int, int]


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """One block device since boot; each pair is (read, written)."""

    name: str
    bytes: tuple[int, int]
    operations: tuple[int, int]
    io_time_s: float | None = None  # the device was busy; null where the system does not say


class FileSystem(msgspec.Struct, frozen=True, kw_only=True):
    """One mounted file system."""

    mount: str
    device: str
    kind: str  # ext4, xfs, overlay
    used_bytes: int
    free_bytes: int  # that may be written by anybody
    total_bytes: int
    holds_ledger: bool = False

    @property
    def used_ratio(self) -> float:
        """As `df` shows it: used over what can be used."""
        return self.used_bytes / max(1, self.used_bytes + self.free_bytes)

    @property
    def nearly_full(self) -> bool:
        """Whether somebody should look."""
        return self.used_ratio >= (LEDGER_FULL_RATIO if self.holds_ledger else FULL_RATIO)


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """One machine now; counters are since boot."""

    cpus: int
    cpu_s: dict[str, float]  # by mode: user, system, idle, iowait, …
    load: tuple[float, float, float]  # runnable over 1, 5 and 15 minutes
    memory_bytes: dict[str, int]  # by state: used, free, cached, buffers
    memory_total_bytes: int
    memory_available_bytes: int
    swap_used_bytes: int
    swap_total_bytes: int
    networks: tuple[Network, ...] = ()
    disks: tuple[Disk, ...] = ()
    file_systems: tuple[FileSystem, ...] = ()


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A process to look at."""

    role: str  # supervisor, gateway, control, observer or replica
    name: str  # of the replica; the role itself for the others
    pid: int
    endpoint: str = ""  # that a replica serves; several, joined by commas
    release: str = ""  # such as credit@2


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the factory now."""

    role: str
    name: str
    pid: int
    endpoint: str
    release: str
    cpu_s: float
    cpu_ratio: float | None  # of one core, since the last look; null at the first
    rss_bytes: int
    open_files: int | None
    threads: int
    started_at: float  # seconds since the epoch


class LogState(msgspec.Struct, frozen=True, kw_only=True):
    """One of the factory's logs on disk."""

    log: str  # ledger, facts or bodies
    bytes: int
    segments: int
    newest_at: float | None  # when it was last written to, seconds since the epoch


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway says of its log; empty where it does not answer."""

    answers: bool = False
    ledger_lag_s: float | None = None  # age of the oldest row that is not yet on disk
    ledger_in_trouble: bool | None = None
    sync_s: float | None = None  # mean of one sync to disk since the look before
    in_flight: int | None = None
    counters_away: bool | None = None  # None where no counters of limits are shared


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one time."""

    at_ns: int
    host: Host
    processes: tuple[Process, ...] = ()
    logs: tuple[LogState, ...] = ()
    gateway: Gateway = Gateway()
    devices: Devices = Devices()
    rows_behind_s: float | None = None  # age of the newest row that the observer has seen


def warnings_of(moment: Moment) -> tuple[str, ...]:
    """What somebody should look at, in words."""
    found = [
        f"{one.mount} is {one.used_ratio:.0%} full"
        + (" and holds the ledger: new rows stop when it is full" if one.holds_ledger else "")
        for one in moment.host.file_systems
        if one.nearly_full
    ]
    if moment.gateway.ledger_in_trouble:
        found.append("the gateway cannot write its log; see .andon/logs/gateway.log")
    if moment.gateway.counters_away:
        found.append("the store of shared counters does not answer: limits do as they declare (onStoreDown)")
    found += [
        f"GPU {device.index} reported XID {device.last_xid}"
        for device in moment.devices.readings
        if device.last_xid is not None
    ]
    found += [
        f"GPU {device.index} has {device.ecc_uncorrected} uncorrected memory errors"
        for device in moment.devices.readings
        if device.ecc_uncorrected
    ]
    return tuple(found)
