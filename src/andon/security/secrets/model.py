"""What is known of a secret besides its value: kept in the control database, shown by `andon secrets`.

A secret is no kind of resource: it cannot stand in a factory file. Its value lies sealed in records of its own.
"""

from __future__ import annotations

from typing import Literal

import msgspec

SECRET = "Secret"  # noqa: S105  # the name of a kind of record
SECRET_VERSION = "SecretVersion"  # noqa: S105
OUTSIDE = "OutsideSecret"  # what was last found behind a reference to somebody else's store
VALUE_BYTES_MAX = 64 * 1024
VERSIONS_MAX = 20  # kept of one secret; the oldest that is not the latest goes
SECRETS_MAX = 5_000

State = Literal["active", "expired", "revoked", "empty"]


class VersionEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One version of a value, without it."""

    number: int
    created_ns: int
    author: str = ""
    revoked_ns: int = 0
    size_bytes: int = 0


class SecretEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A secret without its values."""

    owner: str = ""
    labels: dict[str, str] = {}
    users: tuple[str, ...] = ()  # "Provider/openai", "AlertReceiver/*": who may refer to it; empty = all
    expires_ns: int = 0  # 0 = never; no version is given out after it
    rotate_s: float = 0.0  # how old the latest version may become before it is due; 0 = never
    versions: tuple[VersionEntry, ...] = ()
    next: int = 1  # number of the next version; never given twice

    def find(self, number: int) -> VersionEntry | None:
        """A version that may be given out: the latest for 0. None if there is none, or it was revoked."""
        able = [one for one in self.versions if not one.revoked_ns and number in (0, one.number)]
        return able[-1] if able else None

    def state(self, now_ns: int) -> State:
        """Whether values of it are given out."""
        if self.expires_ns and now_ns >= self.expires_ns:
            return "expired"
        if not self.versions:
            return "empty"
        return "active" if self.find(0) is not None else "revoked"

    def due_ns(self) -> int:
        """When a new version is due; 0 = never."""
        latest = self.find(0)
        return latest.created_ns + int(self.rotate_s * 1e9) if latest and self.rotate_s else 0

    def lets(self, user: str) -> bool:
        """Whether `Kind/name` may refer to it."""
        kind = user.partition("/")[0]
        return not self.users or user in self.users or f"{kind}/*" in self.users


class SecretWish(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody says of a secret with a new value; None leaves what is there."""

    owner: str | None = None
    labels: dict[str, str] | None = None
    users: tuple[str, ...] | None = None
    expires_in_s: float | None = None  # 0 = never
    rotate_s: float | None = None


class SecretView(msgspec.Struct, frozen=True, kw_only=True):
    """A secret as it is shown: never its value."""

    name: str
    entry: SecretEntry
    state: State
    last_used_ns: int
    changed_ns: int


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A value lent to a gateway for a while."""

    reference: str
    version: int
    value: str
    expires_ns: int  # to be renewed before; see docs/secrets.md for what happens when control is away


class LeaseAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway gets: leases, and which references it gets none for."""

    leases: tuple[Lease, ...]
    refused: tuple[str, ...] = ()
    troubled: tuple[str, ...] = ()  # cannot be found at the moment: what is held goes on being used
