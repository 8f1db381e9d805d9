"""A real PostgreSQL for the test session: Debian's server programs on a free port in a folder of their own.

PostgreSQL refuses to run as root, so root starts it as the user `postgres`. Nothing is left behind.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def programs() -> Path | None:
    """The folder of the newest server programs, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def _prefix() -> list[str] | None:
    """How to become a user who may run the server; None if there is no way."""
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return None
    return ["runuser", "-u", "postgres", "--"] if shutil.which("runuser") else None


def unavailable() -> str:
    """Why there is no PostgreSQL here; empty if there is."""
    if programs() is None:
        return "no PostgreSQL server programs (apt-get install postgresql)"
    return "" if _prefix() is not None else "root cannot become the user postgres"


@contextmanager
def running() -> Iterator[str]:
    """The URL of a fresh server, which is stopped and removed at the end."""
    bin_, prefix = programs(), _prefix()
    assert bin_ is not None
    assert prefix is not None
    folder = Path(tempfile.mkdtemp(prefix="andon-pg-"))
    if prefix:
        shutil.chown(folder, "postgres", "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"

    def call(*words: str) -> None:
        subprocess.run([*prefix, *words], check=True, capture_output=True, cwd=folder, timeout=60)

    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    try:
        call(str(bin_ / "initdb"), "-D", str(data), "-U", "andon", "-A", "trust", "--no-sync", "-E", "UTF8")
        log = str(folder / "log")
        call(str(bin_ / "pg_ctl"), "-D", str(data), "-l", log, "-o", options, "-w", "start")
        try:
            yield f"postgresql://andon@127.0.0.1:{port}/postgres"
        finally:
            call(str(bin_ / "pg_ctl"), "-D", str(data), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
