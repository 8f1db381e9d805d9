"""What people write about policies: the spec of `Policy`, and the set that all of them make together.

The built-in policies come first; those that a resource replaces are left out. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Final

import msgspec

from andon.kernel.snapshot import PolicyEntry
from andon.security.policy.text import built_in, statements
from andon.store.model import Record

POLICY: Final = "Policy"
TEXT_MAX = 512 * 1024


class PolicySpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Who may do what, in Cedar."""

    cedar: Annotated[
        str,
        msgspec.Meta(
            max_length=TEXT_MAX,
            description="Policies in Cedar, each with an @id that no other policy of the factory has.",
        ),
    ]
    description: Annotated[
        str, msgspec.Meta(max_length=500, description="What they are for, for people.")
    ] = ""
    replaces: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="Built-in policies that are left out, such as role-model-user."),
    ] = ()


def text_of(specs: Iterable[PolicySpec]) -> str:
    """The whole set, built-in policies included."""
    written = tuple(specs)
    replaced = {id_ for spec in written for id_ in spec.replaces}
    kept = [one.text for one in statements(built_in()) if one.id not in replaced]
    return "\n\n".join([*kept, *(spec.cedar.strip() for spec in written)]) + "\n"


def entry_of(records: Iterable[Record], schema: str) -> PolicyEntry | None:
    """What a snapshot says of policies; None where the factory has none of its own. Raises msgspec.ValidationError."""
    specs = [msgspec.convert(record.spec, PolicySpec) for record in sorted(records, key=lambda one: one.name)]
    if not specs:
        return None
    text = text_of(specs)
    digest = hashlib.sha256(f"{len(text)}\0{text}\0{schema}".encode()).hexdigest()
    return PolicyEntry(digest=digest, text=text, schema=schema)
