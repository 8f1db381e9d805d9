"""Where a replica's socket is: in the factory's own folder, or in a short one if the path would be too long.

Unix sockets have at most 108 bytes of path on Linux (`unix(7)`, sun_path), 104 elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from andon.kernel.errors import Permanent

_PATH_BYTES_MAX = 103


def socket_path(run: Path, id_: str) -> Path:
    """A path short enough to listen on, in a folder that only this user may enter.

    Raises `Permanent` if the short folder belongs to somebody else.
    """
    path = run / f"{id_}.sock"
    if len(os.fsencode(path)) <= _PATH_BYTES_MAX:
        return path
    folder = Path(tempfile.gettempdir()) / f"andon-{os.getuid()}-{_short(str(run))}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
        raise Permanent(
            "socket_folder",
            f"{folder} is not a private folder of this user.",
            hint="Remove it, or keep the factory in a folder with a shorter path.",
        )
    return folder / f"{_short(id_)}.sock"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
