"""The witness process: follows an audit log from a folder or an address and cosigns what it has checked.

`python -m andon.app.witness_process --home DIR` runs the one of the setting `audit_witness`; `andon audit witness`
runs any other, on any machine. It needs nothing of the factory but what the log publishes, and it never gives up: what
it cannot read is read again, what it must not sign is told once and refused for ever.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, SIGTERM, signal
from typing import Final

from andon.app.home import Home
from andon.app.settings import load_settings
from andon.kernel.clock import SystemClock
from andon.kernel.errors import AndonError, Permanent
from andon.kernel.random import SystemRandom
from andon.security.audit.notes import read_checkpoint
from andon.security.audit.sources import FolderSource, LogSource
from andon.security.audit.witness import Witness

PERIOD_S: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class WitnessTerms:
    """What a witness is told."""

    source: Callable[[], LogSource]  # may be refused while there is no log yet
    state: Path
    key: Path | None = None
    log_key: str = ""
    period_s: float = PERIOD_S
    once: bool = False


def witness(terms: WitnessTerms, say: Callable[[str], None], stopping: threading.Event) -> int:
    """Follow until `stopping`; with `once`, one look. 1 if the last look found something that it must not sign."""
    one = Witness(terms.state, SystemClock(), SystemRandom(), key=terms.key, log_key=terms.log_key)
    said, code = "", 0
    try:
        say(f"witness {one.vkey}")
        while True:
            try:
                code = 0
                note = one.look(terms.source())
                told = "" if note is None else f"cosigned {read_checkpoint(note.text).size} entries"
            except (AndonError, OSError) as error:
                told = f"{'REFUSED' if isinstance(error, Permanent) else 'waiting'}: {error}"
                code = 1
            if told and (told != said or code == 0):
                say(told)
            said = told or said
            if terms.once or stopping.wait(terms.period_s):
                return code
    finally:
        one.close()


def main() -> None:
    """The command line of the process."""
    parser = argparse.ArgumentParser(prog="andon witness")
    parser.add_argument("--home", type=Path, required=True)
    home = Home(parser.parse_args().home)
    stopping = threading.Event()
    for number in (SIGTERM, SIGINT):
        signal(number, lambda *_: stopping.set())
    try:
        settings = load_settings(home.root, os.environ)
        terms = WitnessTerms(source=lambda: FolderSource(home.audit), state=Path(settings.audit_witness))
        with contextlib.suppress(KeyboardInterrupt):  # the handler has stopped it already
            witness(terms, lambda text: print(text, flush=True), stopping)
    except (AndonError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
