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


def read_local(reference: str, environment: Mapping[str, str], apart_from: Path | None = None) -> str:
    """The value behind `env:NAME` or `file:PATH`; raises Refused, never naming the value.

    Nothing below `apart_from` is read: whoever may name a credential and where it is sent must not have the factory's
    own keys sent there.
    """
    form, _, place = reference.partition(":")
    try:
        if form == "env":
            return environment[place].strip()
        if form == "file":
            path = Path(place).resolve()
            if apart_from is not None and path.is_relative_to(apart_from.resolve()):
                raise Refused(
                    "credential_missing",
                    f"The credential {reference} lies among the factory's own files, which are sent to nobody.",
                    hint="Keep it elsewhere, or with: andon secrets set NAME.",
                )
            # A pipe that nobody writes to must not be waited for.
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                return (file.read(VALUE_BYTES_MAX) or b"").decode().strip()
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
