"""The port of executors: start, stop, look, forget.

Every call is idempotent, none waits for a replica to become ready or to end, and what was started survives the
process that started it. One suite of tests holds for every executor (`tests/serving/test_executors.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.snapshot import Signature
from andon.serving.replica.model import ReplicaSpec

Phase = Literal["starting", "ready", "stopping", "exited"]

_LOOK_AGAIN_S = 0.05


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """One replica as seen now. One that was told to stop is gone from the list when it has ended."""

    spec: ReplicaSpec
    phase: Phase
    url: str = ""
    pid: int = 0
    started_ns: int = 0
    unready_since_ns: int = (
        0  # since when it is "starting": its start, or when it stopped answering; 0 when ready
    )
    was_ready: bool = False
    ended_ns: int = 0  # when its end was first seen
    code: int | None = None  # exit code, negative for a signal; None if it is not known
    error: str = ""
    reason: str = ""  # why it ended, or why it is not ready
    permanent: bool = False  # it would end the same way again
    signature: Signature | None = None  # once it has been ready
    digest: str = ""


class Executor(Protocol):
    """Runs replicas."""

    async def start(self, spec: ReplicaSpec) -> None:
        """Begin to run a replica; nothing if one with this id is known. Raises `Transient` if it cannot now."""
        ...

    async def stop(self, id_: str, grace_s: float) -> None:
        """Ask it to end, and kill it if it has not after `grace_s`; nothing if it is unknown or stopping already."""
        ...

    async def list(self, deployment: str = "") -> Sequence[Observed]:
        """What is known of one deployment, or of all; sorted by id, processes of an earlier life included."""
        ...

    async def forget(self, id_: str) -> None:
        """Remove what is left of a replica that has exited; nothing while it lives."""
        ...


async def stop_all(executor: Executor, clock: Clock, grace_s: float) -> int:
    """Stop every replica and wait until none lives; how many did not end in `grace_s` and two seconds more."""
    ends_at = clock.monotonic() + grace_s + 2.0
    while True:
        living = [one for one in await executor.list() if one.phase != "exited"]
        if not living or clock.monotonic() >= ends_at:
            return len(living)
        for one in living:
            await executor.stop(one.spec.id, grace_s)
        await clock.sleep(_LOOK_AGAIN_S)
