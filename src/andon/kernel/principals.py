"""Principals: whoever acts, on either plane, once it is known who that is.

Made by `security/identity` on the data plane and by `web/authentication` on the admin plane; read by policies, rows and
audit records. Holds names only, never a credential.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from andon.kernel.labels import Label

PrincipalKind = Literal["user", "service", "key", "gateway", "anonymous"]


# Of the factory's own processes and of keys that send facts: nobody can be granted them, by claim or by binding.
RESERVED_ROLES = frozenset({"gateway", "sender"})


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts. Policies see all of it; rows and records keep `name`."""

    kind: PrincipalKind
    id: str  # a key's public id, a user's subject, a service's name; never empty
    roles: tuple[str, ...] = ()  # "administrator", "operator", …: what policies grant to
    team: str = ""
    owner: str = ""  # who answers for a key or a service
    cohorts: tuple[str, ...] = ()
    label: Label = "restricted"  # highest data class that it may handle
    issuer: str = ""  # who vouched for it; empty = this factory itself

    @property
    def name(self) -> str:
        """How it is written in rows, journals and records: "key:4kq…", "user:ann@example.com"."""
        return f"{self.kind}:{self.id}"


NOBODY = Principal(kind="anonymous", id="anonymous", label="public")
