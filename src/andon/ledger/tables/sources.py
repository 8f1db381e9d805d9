"""Which log a row came from: a name for each log folder, made once and kept in the folder itself.

Tables remember by this name how far each log is sealed. It goes with the folder, so that neither a renamed gateway nor
a log begun afresh can be taken for another one. Two homes must never share one folder's copy and one set of tables.
"""

from __future__ import annotations

import os
from pathlib import Path

from andon.kernel.random import Random

FILE = "source"
POSITION = "#position"


def read_source(folder: Path) -> str:
    """The folder's name, empty while nothing of it has ever been sealed."""
    try:
        return (folder / FILE).read_text().strip()
    except FileNotFoundError:
        return ""


def settle_source(folder: Path, random: Random) -> str:
    """The folder's name, made durably if it has none. Raises OSError."""
    known = read_source(folder)
    if known:
        return known
    name = f"{random.bits(64):016x}"
    temporary = folder / f"{FILE}.new"
    with temporary.open("w") as file:
        file.write(name + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, folder / FILE)  # the first one wins
    except FileExistsError:
        name = read_source(folder)
    temporary.unlink(missing_ok=True)
    return name


def segment_key(log: str, source: str) -> str:
    """The application transaction whose version is the last segment of that log in a table; the `log` column."""
    return f"{log}/{source}"


def position_key(log: str, source: str) -> str:
    """The one whose version is the position up to which that log is in a table: the tail begins after it."""
    return segment_key(log, source) + POSITION
