"""The real disk: the file operations of `kernel.ports.Disk` below one folder, with few handles open.

Used by the log's own thread and by readers, each with an instance of its own: it is not shared between threads.
Errors of the operating system pass through as they are; whoever calls decides what they mean.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

HANDLES_MAX = 8  # beyond it the handle used longest ago is closed; it is opened again on demand

# Write and fdatasync in one system call (Linux): one hand-over of the interpreter lock instead of two.
_WRITE_DURABLY = getattr(os, "RWF_DSYNC", 0)


class FileDisk:
    """Files below `root`, which is created. Paths with `..` are refused."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        self._handles: OrderedDict[str, int] = OrderedDict()

    def append(self, path: str, data: bytes | bytearray) -> None:
        """Write at the end of a file, creating it (and its folder) durably by name."""
        self._write(self._handle(path), data, 0)

    def sync(self, path: str) -> None:
        """fdatasync; the file's name was made durable when it was created."""
        os.fdatasync(self._handle(path))

    def commit(self, path: str, data: bytes | bytearray) -> None:
        """Write at the end and return once it would survive a power loss."""
        handle = self._handle(path)
        self._write(handle, data, _WRITE_DURABLY)
        if not _WRITE_DURABLY:
            os.fdatasync(handle)

    def read(self, path: str, offset: int = 0, length: int = -1) -> bytes:
        """Bytes from `offset`; empty beyond the end. Raises FileNotFoundError."""
        with self._at(path).open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(length)

    def truncate(self, path: str, length: int) -> None:
        """Cut and sync."""
        handle = self._handle(path)
        os.ftruncate(handle, length)
        os.fsync(handle)

    def replace(self, path: str, data: bytes) -> None:
        """Write a whole file so that a crash leaves the old one or the new one."""
        target = self._at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(target.name + ".new")
        self.close(path)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self._write(handle, data, 0)
            os.fsync(handle)
        finally:
            os.close(handle)
        temporary.replace(target)
        _sync_folder(target.parent)

    def list(self, folder: str) -> list[str]:
        """Names in a folder, sorted; empty if it does not exist."""
        try:
            return sorted(os.listdir(self._at(folder)))
        except FileNotFoundError:
            return []

    def size(self, path: str) -> int:
        """Bytes in a file; 0 if it does not exist."""
        try:
            return self._at(path).stat().st_size
        except FileNotFoundError:
            return 0

    def remove(self, path: str) -> None:
        """Remove a file; nothing if it does not exist."""
        self.close(path)
        self._at(path).unlink(missing_ok=True)

    def close(self, path: str) -> None:
        """Let go of the handle of one file."""
        handle = self._handles.pop(path, None)
        if handle is not None:
            os.close(handle)

    def close_all(self) -> None:
        """Let go of every handle."""
        for path in list(self._handles):
            self.close(path)

    def _at(self, path: str) -> Path:
        if ".." in path.split("/"):
            raise ValueError(f"'{path}' leads out of {self._root}")
        return self._root / path

    def _handle(self, path: str) -> int:
        handle = self._handles.get(path)
        if handle is not None:
            self._handles.move_to_end(path)
            return handle
        target = self._at(path)
        is_new = not target.exists()
        if is_new:
            target.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if is_new:
            _sync_folder(target.parent)
        self._handles[path] = handle
        if len(self._handles) > HANDLES_MAX:
            self.close(next(iter(self._handles)))
        return handle

    @staticmethod
    def _write(handle: int, data: bytes | bytearray, flags: int) -> None:
        """All of `data`; a short write goes on, so that a full disk shows as the error of the next one."""
        with memoryview(data) as view:
            done = 0
            while done < len(view):
                rest = view[done:]
                # The handle appends, so the offset given here does not matter.
                done += os.pwritev(handle, [rest], 0, flags) if flags else os.write(handle, rest)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
