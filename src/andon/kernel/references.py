"""References to secrets: how factory files and settings name a value that they must not hold.

Pure. Read at `plan` by the kinds that take one, and by whoever resolves it; nothing here knows a value.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

Form = Literal["env", "file", "secret", "aws-sm", "vault"]

WRITE_AS: Final = "Write env:NAME, file:PATH, secret:NAME, aws-sm:NAME#KEY or vault:PATH#KEY."
_SHAPES: Final = (
    ("env", re.compile(r"env:(?P<place>[A-Za-z_][A-Za-z0-9_]*)")),
    ("file", re.compile(r"file:(?P<place>\S.*)")),
    ("secret", re.compile(r"secret:(?P<place>[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?)(@(?P<version>[1-9][0-9]{0,8}))?")),
    ("aws-sm", re.compile(r"aws-sm:(?P<place>[A-Za-z0-9/_+=.@:-]{1,512})(#(?P<key>[A-Za-z0-9_.-]{1,128}))?")),
    ("vault", re.compile(r"vault:(?P<place>[A-Za-z0-9/_.-]{1,512})#(?P<key>[A-Za-z0-9_.-]{1,128})")),
)  # fmt: skip


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """One reference, taken apart."""

    form: Form
    place: str  # variable, path, name of a secret
    version: int = 0  # of a secret; 0 = the latest
    key: str = ""  # the field of a JSON object; empty = the whole value

    @property
    def leased(self) -> bool:
        """Whether control finds it, and gateways hold it only as a lease."""
        return self.form in ("secret", "aws-sm", "vault")


def parse_reference(text: str) -> Reference | None:
    """The reference that a text is, or None."""
    for form, shape in _SHAPES:
        found = shape.fullmatch(text)
        if found:
            named = found.groupdict()
            return Reference(
                form=form,  # type: ignore[arg-type]  # the shapes name forms only
                place=named["place"],
                version=int(named.get("version") or 0),
                key=named.get("key") or "",
            )
    return None


def is_leased(text: str) -> bool:
    """Whether this is a reference that control resolves."""
    found = parse_reference(text)
    return found is not None and found.leased
