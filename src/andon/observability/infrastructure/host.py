"""Reads this machine through psutil: processors, memory, networks, disks, file systems, processes, log folders.

Blocking, a few milliseconds; run away from the event loop. What the system does not tell, or takes away while it is
being read, is left out: measuring never fails because of what is measured.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from andon.observability.infrastructure.model import (
    Disk,
    FileSystem,
    Host,
    LogState,
    Network,
    Process,
    Wanted,
)

LISTED_MAX = 64  # interfaces, disks and file systems; a host with more shows the first in order of name
PROCESSES_MAX = 512


def read_host(ledger: Path) -> Host:
    """This machine now. `ledger` tells which file system holds it."""
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    states = {
        state: int(getattr(memory, state))
        for state in ("used", "free", "cached", "buffers")
        if hasattr(memory, state)
    }
    return Host(
        cpus=psutil.cpu_count() or 1,
        cpu_s={mode: float(value) for mode, value in psutil.cpu_times()._asdict().items()},
        load=psutil.getloadavg(),
        memory_bytes=states,
        memory_total_bytes=int(memory.total),
        memory_available_bytes=int(memory.available),
        swap_used_bytes=int(swap.used),
        swap_total_bytes=int(swap.total),
        networks=_networks(),
        disks=_disks(),
        file_systems=_file_systems(ledger),
    )


def _networks() -> tuple[Network, ...]:
    found = sorted(psutil.net_io_counters(pernic=True).items())[:LISTED_MAX]
    return tuple(
        Network(
            name=name,
            bytes=(io.bytes_recv, io.bytes_sent),
            packets=(io.packets_recv, io.packets_sent),
            errors=(io.errin, io.errout),
            dropped=(io.dropin, io.dropout),
        )
        for name, io in found
    )


def _disks() -> tuple[Disk, ...]:
    try:
        counters = psutil.disk_io_counters(perdisk=True) or {}
    except (RuntimeError, OSError):
        return ()  # a container that does not show them
    return tuple(
        Disk(
            name=name,
            bytes=(io.read_bytes, io.write_bytes),
            operations=(io.read_count, io.write_count),
            io_time_s=io.busy_time / 1000 if hasattr(io, "busy_time") else None,
        )
        for name, io in sorted(counters.items())[:LISTED_MAX]
        if not name.startswith(("loop", "ram", "zram"))
    )


def _file_systems(ledger: Path) -> tuple[FileSystem, ...]:
    home = mount_of(ledger)
    mounted = {one.mountpoint: (one.device, one.fstype) for one in psutil.disk_partitions(all=False)}
    if home not in mounted:
        # Containers and network file systems count as virtual; the one that matters is always shown.
        every = {one.mountpoint: (one.device, one.fstype) for one in psutil.disk_partitions(all=True)}
        mounted[home] = every.get(home, ("", ""))
    found = []
    for mount, (device, kind) in sorted(mounted.items()):
        if not Path(mount).is_dir():
            continue  # single files that a container runtime mounts
        try:
            usage = psutil.disk_usage(mount)
        except OSError:
            continue  # not ours to see, or gone
        found.append(
            FileSystem(
                mount=mount,
                device=device,
                kind=kind,
                used_bytes=usage.used,
                free_bytes=usage.free,
                total_bytes=usage.total,
                holds_ledger=mount == home,
            )
        )
    found.sort(key=lambda one: (not one.holds_ledger, one.mount))
    return tuple(found[:LISTED_MAX])


def mount_of(path: Path) -> str:
    """Where the file system that holds `path` is mounted."""
    at = path.resolve()
    while not os.path.ismount(at):
        at = at.parent
    return str(at)


def read_processes(wanted: Sequence[Wanted], before: Mapping[int, tuple[float, float]], now_s: float) -> tuple[
    Process, ...
]:  # fmt: skip
    """Those that live. `before`: (CPU seconds, moment) by pid at the last look; `now_s` on the same clock."""
    found = (_process(one, before.get(one.pid), now_s) for one in wanted[:PROCESSES_MAX])
    return tuple(one for one in found if one is not None)


def _process(wanted: Wanted, before: tuple[float, float] | None, now_s: float) -> Process | None:
    try:
        process = psutil.Process(wanted.pid)
        with process.oneshot():
            times = process.cpu_times()
            cpu_s = float(times.user + times.system)
            is_same = before is not None and cpu_s >= before[0] and now_s > before[1]
            return Process(
                role=wanted.role,
                name=wanted.name,
                pid=wanted.pid,
                endpoint=wanted.endpoint,
                release=wanted.release,
                cpu_s=cpu_s,
                cpu_ratio=(cpu_s - before[0]) / (now_s - before[1]) if is_same and before else None,
                rss_bytes=int(process.memory_info().rss),
                open_files=_open_files(process),
                threads=int(process.num_threads()),
                started_at=float(process.create_time()),
            )
    except psutil.Error:
        return None  # it has ended, or belongs to somebody else


def _open_files(process: psutil.Process) -> int | None:
    try:
        return int(process.num_fds())
    except (psutil.Error, AttributeError):
        return None


def children_of(supervisor: int, modules: Mapping[str, str]) -> list[Wanted]:
    """The supervisor and those of its children whose command line names a module: role by module."""
    found = []
    try:
        parent = psutil.Process(supervisor)
        found.append(Wanted(role="supervisor", name="supervisor", pid=supervisor))
        children = parent.children()
    except psutil.Error:
        return found
    for child in children:
        try:
            words = child.cmdline()
        except psutil.Error:
            continue  # it ended while being asked
        role = next((role for module, role in modules.items() if module in words), "")
        if role:
            found.append(Wanted(role=role, name=role, pid=child.pid))
    return found


def read_logs(folders: Iterable[tuple[str, Path]]) -> tuple[LogState, ...]:
    """Size and segments of each log's folder, those below it included."""
    return tuple(_log_state(name, folder) for name, folder in folders)


def _log_state(name: str, folder: Path) -> LogState:
    total, segments, newest = 0, 0, None
    for place, _, files in os.walk(folder):
        for file in files:
            try:
                seen = os.stat(os.path.join(place, file))
            except OSError:
                continue  # removed by retention meanwhile
            # What is reserved ahead in an open segment is not yet used: blocks, not length.
            total += min(seen.st_size, seen.st_blocks * 512)
            segments += file.endswith(".log")
            newest = max(newest or 0.0, seen.st_mtime)
    return LogState(log=name, bytes=total, segments=segments, newest_at=newest)
