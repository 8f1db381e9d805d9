"""What a replica writes down: small JSON files for its executor, JSON lines for people.

Files appear whole or not at all. Lines go to the process's own error output, which the executor leads to a log file.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import msgspec

from andon.kernel.clock import Clock

_BETWEEN_FAILURES_S = 1.0
_TRACE_MAX = 4000


def write_whole(path: str, value: msgspec.Struct) -> None:
    """Write a struct as JSON, so that a reader sees all of it or the file before."""
    temporary = Path(f"{path}.{os.getpid()}.tmp")
    temporary.write_bytes(msgspec.json.encode(value))
    os.replace(temporary, path)


class ReplicaLog:
    """Lines of what happened to one replica."""

    def __init__(self, replica: str, clock: Clock) -> None:
        self._replica = replica
        self._clock = clock
        self._failures = 0
        self._unsaid = 0
        self._said_at = float("-inf")

    def say(self, event: str, **fields: Any) -> None:
        """One line. Values are JSON or become their `repr`."""
        line = {"at_ns": self._clock.now_ns(), "replica": self._replica, "event": event, **fields}
        sys.stderr.write(msgspec.json.encode(line, enc_hook=repr).decode() + "\n")
        sys.stderr.flush()

    def failed(self, error: Exception) -> None:
        """What the model raised on a request: counted always, said at most once a second."""
        self._failures += 1
        now = self._clock.monotonic()
        if now - self._said_at < _BETWEEN_FAILURES_S:
            self._unsaid += 1
            return
        trace = "".join(traceback.format_exception(error))[-_TRACE_MAX:]
        self.say("predict.failed", failures=self._failures, unsaid=self._unsaid, trace=trace)
        self._said_at, self._unsaid = now, 0
