"""The replica's process on this machine: `python -m andon.app.replica_process LAUNCH.json`.

Decides which form of the hot path is used, compiled or interpreted, and only then imports the replica. A replica
that is started anywhere else runs as `andon.serving.replica`, interpreted.
"""

from __future__ import annotations

import os
import sys

from andon.app import compiled
from andon.app.cli.commands import load


def main() -> int:
    """The exit code of the replica."""
    compiled.use(os.environ)
    code: int = load("andon.serving.replica.__main__").main(sys.argv[1:])
    return code


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # A model stuck in its thread would keep the interpreter from ending; everything that matters is on disk.
    os._exit(status)
