"""What a replica is told when it starts, what it tells when it is ready, and its last words when it ends.

Written and read as JSON files by executors and by the replica process; light enough for control to import.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec

from andon.kernel.snapshot import Signature


class ReplicaSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One replica of one model version, explicit in every field."""

    id: str  # "credit-2-r1", never used again
    deployment: str  # "credit-2"
    slot: int = 0  # which of the wanted replicas it is; backoff is counted by slot
    fingerprint: str = ""  # of everything below: replicas with another one are replaced
    model: str
    version: str
    source: str  # absolute path
    format: str = "auto"
    entry: str = ""
    digest: str = ""
    allow_pickle: bool = False
    signature: Signature | None = None
    rows_max: int = 32
    delay_max_ms: float = 0.0
    memory_bytes: int = 0  # 0 = no limit
    cpu_threads: int = 1
    warmup: tuple[dict[str, Any], ...] = ()
    env: dict[str, str] = {}
    start_timeout_s: float = 60.0
    linger_s: float = 1.0  # after SIGTERM it still accepts for so long, until the gateways know


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """The file a replica process is started with."""

    spec: ReplicaSpec
    listen: str  # unix:///path or http://127.0.0.1:port
    ready_path: str  # where it writes `Ready`
    words_path: str  # where it writes `LastWords`
    pid_path: str  # where it writes `Pid`
    log_path: str = ""  # the file its output goes to, so that it can keep it short; empty = not a file
    created_ns: int = 0


class Pid(msgspec.Struct, frozen=True, kw_only=True):
    """Which process it is; the start time tells it from a later one with the same number."""

    pid: int
    started_at: float  # seconds since the epoch, as the operating system says


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What is known once the model is loaded and warm."""

    signature: Signature
    digest: str
    url: str
    platform: str
    load_s: float
    predict_us: float  # one row, at warm-up


class LastWords(msgspec.Struct, frozen=True, kw_only=True):
    """Why it ended. Without them the process was killed from outside or fell."""

    code: int
    error: str  # a stable code: "drained", "digest_mismatch", "memory_limit"
    reason: str
    hint: str = ""
    permanent: bool = False  # starting it again would end the same way


class Exit(IntEnum):
    """Exit codes; those of sysexits.h where one fits."""

    DRAINED = 0
    SPEC = 64  # the launch file cannot be read
    MODEL = 65  # the model cannot be served as it stands: digest, signature, format, code
    CRASH = 70  # a bug, ours or the model's
    MEMORY = 71  # beyond its memory limit
    LISTEN = 73  # it could not listen where it was told to
