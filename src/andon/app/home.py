"""The home of a factory: the `.andon/` folder and what lies where in it.

Made by `andon up`; held by one supervisor at a time through a lock that dies with its process.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

import msgspec

from andon.kernel.errors import Conflict, Refused

FOLDER = ".andon"


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Where the running processes can be reached: `run/control.json`, read by the command line."""

    url: str  # control API
    gateway_url: str
    gateway_admin_url: str
    observer_url: str = ""  # empty where no observer runs
    pid: int  # of the supervisor


class Home:
    """Paths of one factory. `root` holds the factory file, `state` everything that Andon keeps."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.state = self.root / FOLDER
        self.run = self.state / "run"
        self.logs = self.state / "logs"
        self.ledger = self.state / "ledger"
        self.tables = self.state / "tables"
        self.facts = self.state / "facts"
        self.bodies = self.state / "bodies"
        self.lineage = self.state / "lineage"  # OpenLineage events as they came
        self.observer = self.state / "observer"  # positions and profiles: what the observer goes on from
        self.snapshots = self.state / "snapshots"
        self.cuts = self.state / "cuts"
        self.access = self.state / "access"  # decisions of the admin plane
        self.audit = self.state / "audit"  # the Merkle log: entries, tiles, checkpoints
        self.certificates = self.state / "certificates"
        self.models = self.state / "models"  # manifests, bills of materials and cards of admitted versions
        self.kek = self.state / "kek"  # wraps the keys of secrets and of recorded bodies
        self.body_keys = self.state / "body-keys"  # one for each subject or day; destroying one is erasure
        self.leases = self.state / "leases"  # secrets lent to gateways, sealed
        self.identity = self.state / "identity"  # of this home: what sealed files are bound to
        self.admin_key = self.state / "admin.key"
        self.setup_code = self.state / "setup.code"  # with which the first administrator sets a password
        self.gateway_key = self.state / "gateway.key"
        self.pepper = self.state / "pepper"
        self.run_info = self.run / "control.json"
        self._lock: IO[str] | None = None

    def create(self) -> None:
        """Make the folders, readable by the owner only. Raises Refused where that is impossible."""
        try:
            kept = (
                self.ledger,
                self.facts,
                self.bodies,
                self.lineage,
                self.tables,
                self.observer,
                self.snapshots,
                self.cuts,
                self.access,
                self.audit,
                self.certificates,
                self.models,
                self.body_keys,
                self.leases,
            )
            for folder in (self.state, self.run, self.logs, *kept):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Refused(
                "home_unusable",
                f"{self.state} cannot be made: {error.strerror}.",
                hint="Choose a folder that you may write to with --home.",
            ) from error

    def has_state(self) -> bool:
        """Whether a factory has been started here before, on the embedded database."""
        return (self.state / "state.db").exists()

    def database_url(self) -> str:
        """The embedded database."""
        return f"sqlite:///{self.state / 'state.db'}"

    def lock(self) -> None:
        """Take the home for this process. Raises Conflict with the holder's pid if somebody has it."""
        handle = (self.state / "lock").open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            handle.close()
            raise Conflict(
                "home_in_use",
                f"Another factory (pid {holder}) is running on {self.state}.",
                hint="Stop it with `andon down`, or choose another folder with --home.",
            ) from error
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        os.set_inheritable(handle.fileno(), False)
        self._lock = handle

    def unlock(self) -> None:
        """Give the home back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def write_run_info(self, info: RunInfo) -> None:
        """Say where the processes are, atomically."""
        partial = self.run_info.with_suffix(".part")
        partial.write_bytes(msgspec.json.encode(info))
        partial.replace(self.run_info)

    def read_run_info(self) -> RunInfo | None:
        """Where the processes are, or None when none was started or the file is unreadable."""
        try:
            return msgspec.json.decode(self.run_info.read_bytes(), type=RunInfo)
        except (OSError, msgspec.MsgspecError):
            return None
