"""A simulated disk: the port `kernel.ports.Disk` in memory, with seeded faults.

It knows what would survive a power loss and what would not: bytes appended but not synced are torn at an arbitrary
place when the power goes. Faults are asked for by tests and simulations; left alone it never fails.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from andon.kernel.random import Random


class PowerLoss(Exception):
    """The machine is off: every operation raises this until `restart`."""


class _File:
    __slots__ = ("data", "durable")

    def __init__(self) -> None:
        self.data = bytearray()
        self.durable: int | None = None  # bytes sure to survive; None = not even the name is


class SimulatedDisk:
    """Files below one root. `capacity_bytes` None = endless."""

    def __init__(self, random: Random, capacity_bytes: int | None = None) -> None:
        self._random = random
        self._files: dict[str, _File] = {}
        self._is_off = False
        self._crash_in_bytes: int | None = None
        self._faults: list[tuple[str, int]] = []
        self.capacity_bytes = capacity_bytes
        self.before: Callable[[str, str], None] = (
            _go_on  # called with (operation, path): to be slow, or to stop
        )
        self.operations = 0

    def fail_next(self, operation: str, code: int = errno.EIO, times: int = 1) -> None:
        """The next `times` calls of "append", "sync", "truncate", "replace" or "remove" raise OSError(code)."""
        self._faults += [(operation, code)] * times

    def crash_after(self, size_bytes: int) -> None:
        """Lose power once so many more bytes have been written, in the middle of a write if need be."""
        self._crash_in_bytes = size_bytes

    def crash(self) -> None:
        """Lose power now: of what was not synced each file keeps a random prefix, then perhaps zeros."""
        self._is_off = True
        self._crash_in_bytes = None
        for path, file in list(self._files.items()):
            sure = file.durable or 0
            pending = len(file.data) - sure
            if file.durable is None and self._random.uniform() < 0.5:
                del self._files[path]
                continue
            kept = sure + int(self._random.uniform() * (pending + 1))
            zeros = len(file.data) - kept if self._random.uniform() < 0.25 else 0
            file.data[kept:] = bytes(zeros)
            file.durable = len(file.data)

    def restart(self) -> None:
        """Power again; faults not yet used are forgotten."""
        self._is_off = False
        self._faults.clear()

    def forgive(self) -> None:
        """No failure that was asked for and has not happened will happen."""
        self._faults.clear()
        self._crash_in_bytes = None

    def flip(self, path: str, offset: int, mask: int = 0xFF) -> None:
        """Corrupt one byte where it lies."""
        self._files[path].data[offset] ^= mask

    def append(self, path: str, data: bytes | bytearray) -> None:
        """As a real disk: what fits is written before ENOSPC is raised."""
        self._enter("append", path)
        file = self._files.setdefault(path, _File())
        room = len(data) if self.capacity_bytes is None else max(0, self.capacity_bytes - self.used_bytes)
        part = data[:room]
        if self._crash_in_bytes is not None and len(part) >= self._crash_in_bytes:
            file.data += part[: self._crash_in_bytes]
            self.crash()
            raise PowerLoss("the power went during a write")
        if self._crash_in_bytes is not None:
            self._crash_in_bytes -= len(part)
        file.data += part
        if len(part) < len(data):
            raise OSError(errno.ENOSPC, "no space left on the simulated disk", path)

    def sync(self, path: str) -> None:
        """After a failure the unsynced bytes are readable and will not survive, as on Linux."""
        self._enter("sync", path)
        file = self._files.setdefault(path, _File())
        file.durable = len(file.data)

    def commit(self, path: str, data: bytes | bytearray) -> None:
        """`append`, then `sync`."""
        self.append(path, data)
        self.sync(path)

    def read(self, path: str, offset: int = 0, length: int = -1) -> bytes:
        """Raises FileNotFoundError."""
        self._enter("read", path)
        if path not in self._files:
            raise FileNotFoundError(errno.ENOENT, "no such file on the simulated disk", path)
        data = self._files[path].data
        return bytes(data[offset:] if length < 0 else data[offset : offset + length])

    def truncate(self, path: str, length: int) -> None:
        """Cut and sync."""
        self._enter("truncate", path)
        file = self._files.setdefault(path, _File())
        del file.data[length:]
        file.durable = len(file.data)

    def replace(self, path: str, data: bytes) -> None:
        """All or nothing, also when the power goes."""
        self._enter("replace", path)
        old = len(self._files[path].data) if path in self._files else 0
        if self.capacity_bytes is not None and self.used_bytes - old + len(data) > self.capacity_bytes:
            raise OSError(errno.ENOSPC, "no space left on the simulated disk", path)
        if self._crash_in_bytes is not None:
            if len(data) >= self._crash_in_bytes:
                self.crash()
                raise PowerLoss("the power went during a replacement")
            self._crash_in_bytes -= len(data)
        file = _File()
        file.data += data
        file.durable = len(data)
        self._files[path] = file

    def list(self, folder: str) -> list[str]:
        self._enter("list", folder)
        prefix = f"{folder}/" if folder else ""
        names = {path[len(prefix) :].split("/")[0] for path in self._files if path.startswith(prefix)}
        return sorted(names)

    def size(self, path: str) -> int:
        self._enter("size", path)
        return len(self._files[path].data) if path in self._files else 0

    def remove(self, path: str) -> None:
        self._enter("remove", path)
        self._files.pop(path, None)

    def close(self, path: str) -> None:
        self._enter("close", path)

    @property
    def used_bytes(self) -> int:
        """Bytes in all files."""
        return sum(len(file.data) for file in self._files.values())

    def _enter(self, operation: str, path: str) -> None:
        self.before(operation, path)
        self.operations += 1
        if self._is_off:
            raise PowerLoss("the machine is off")
        for index, (name, code) in enumerate(self._faults):
            if name == operation:
                del self._faults[index]
                raise OSError(code, f"simulated failure of {operation}", path)


def _go_on(operation: str, path: str) -> None:
    """The default of `before`: nothing holds the disk up."""
