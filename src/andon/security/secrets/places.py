"""Values behind `env:` and `file:` on this machine, and files that only their owner can read.

Blocks, briefly. What cannot be read is refused without naming a value.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from andon.kernel.errors import Refused
from andon.kernel.references import parse_reference

VALUE_BYTES_MAX: Final = 64 * 1024


def read_local(reference: str, environment: Mapping[str, str]) -> str:
    """The value behind `env:NAME` or `file:PATH`; raises Refused, never naming the value."""
    form, _, place = reference.partition(":")
    try:
        if form == "env":
            return environment[place].strip()
        if form == "file":
            with Path(place).open("rb") as file:
                return file.read(VALUE_BYTES_MAX).decode().strip()
    except (KeyError, OSError, UnicodeDecodeError) as error:
        raise Refused(
            "credential_missing",
            f"The credential {reference} cannot be read: {type(error).__name__}.",
            hint="Set the environment variable of the process, or make the file readable to it.",
        ) from None if isinstance(error, UnicodeDecodeError) else error
    named = reference if parse_reference(reference) is not None else "that was given"
    raise Refused(
        "credential_missing", f"The credential {named} cannot be read here.", hint="Write a reference."
    )


def replace_privately(path: Path, data: bytes) -> None:
    """Write a whole file of mode 0600 so that a crash leaves the old one or the new one. Raises OSError."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
