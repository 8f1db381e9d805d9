"""The observer's process: `python -m andon.app.observer.process --home DIR`.

Reads the gateway's log, writes the log of facts, keeps the tables, answers what control forwards. It may die at any
time: traffic and releases go on, and it resumes where its durable positions stand. It runs at a lower priority than
the data plane on the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import structlog
import uvloop

from andon.app.home import Home
from andon.app.journals import set_up
from andon.app.observer.serving import observe
from andon.app.settings import load_settings
from andon.kernel.errors import AndonError
from andon.kernel.redaction import KnownSecrets

NICE = 5  # below gateway, control and replicas
OOM_SCORE = 500  # of 1000: where memory ends, watching ends before serving does

_logger = structlog.get_logger("andon.observer")


async def _main(home: Home, known: KnownSecrets) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await observe(home, load_settings(home.root, os.environ), os.environ, stopping, known)


def main() -> None:
    """The command line of the process."""
    parser = argparse.ArgumentParser(prog="andon observer")
    parser.add_argument("--home", type=Path, required=True)
    home = Home(parser.parse_args().home)
    try:
        home.create()
        os.nice(NICE)
        with contextlib.suppress(OSError):  # only Linux knows it; elsewhere the kernel chooses by size
            Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
        known = KnownSecrets()
        set_up("observer", load_settings(home.root, os.environ).log_level, known)
        with contextlib.suppress(KeyboardInterrupt):  # the signal handler has stopped already
            uvloop.run(_main(home, known))
    except (AndonError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
