"""What stands behind the routes of secrets: the verbs of rooms, in the shapes that the API promises.

Wired by `app/control_process`. A value passes through on its way in, and never comes out of here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from andon.app.keeping import KeptSecrets
from andon.app.rotating import Rotation
from andon.app.secret_routes import (
    KekVersion,
    Rotated,
    SecretPage,
    SecretShown,
    Shredded,
    shown,
)
from andon.kernel.errors import Refused
from andon.kernel.references import parse_reference
from andon.kernel.snapshot import LeaseEntry
from andon.kernel.units import duration_s
from andon.security.secrets.inspection import texts_of
from andon.security.secrets.model import LeaseAnswer, SecretWish
from andon.web.routes import Call


class _Served(msgspec.Struct, frozen=True):
    leases: tuple[LeaseEntry, ...] = ()


class SecretVerbs:
    """The verbs. `snapshot` gives the encoded snapshot in force."""

    def __init__(self, kept: KeptSecrets, rotation: Rotation, snapshot: Callable[[], bytes]) -> None:
        self._kept = kept
        self._rotation = rotation
        self._snapshot = snapshot

    async def list(self, call: Call) -> SecretPage:
        """Every secret."""
        return SecretPage(items=tuple(shown(one) for one in await self._kept.verbs.list()))

    async def get(self, call: Call) -> SecretShown:
        """One secret."""
        return shown(await self._kept.verbs.get(call.path.name))

    async def put(self, call: Call) -> SecretShown:
        """A new version."""
        asked = call.body
        wish = SecretWish(
            owner=asked.owner,
            labels=asked.labels,
            users=None if asked.users is None else tuple(asked.users),
            expires_in_s=_seconds(asked.expires_in, "expires_in"),
            rotate_s=_seconds(asked.rotate_every, "rotate_every"),
        )
        value = asked.value.encode()
        return shown(await self._kept.put(call.path.name, value, wish, actor=call.principal.name))

    async def revoke(self, call: Call) -> SecretShown:
        """A version is given out no more."""
        verbs, asked, actor = self._kept.verbs, call.body, call.principal.name
        return shown(await verbs.revoke(call.path.name, asked.version, actor=actor, reason=asked.reason))

    async def remove(self, call: Call) -> SecretPage:
        """Forget it."""
        await self._kept.verbs.remove(call.path.name, actor=call.principal.name, reason=call.body.reason)
        return await self.list(call)

    async def keys(self, call: Call) -> Rotated:
        """Versions of the wrapping key."""
        return await self._rotated(0, ())

    async def rotate(self, call: Call) -> Rotated:
        """Wrap anew."""
        done = await self._rotation.run(
            new=call.body.new, remove_old=call.body.remove_old, actor=call.principal.name
        )
        return await self._rotated(done.rewrapped, done.removed)

    async def _rotated(self, rewrapped: int, removed: tuple[int, ...]) -> Rotated:
        key, version = self._rotation.present()
        held = await self._rotation.held()
        return Rotated(
            key=key,
            version=version,
            rewrapped=rewrapped,
            removed=removed,
            versions=tuple(
                KekVersion(
                    key=one,
                    version=number,
                    present=(one, number) == (key, version),
                    secrets=counts[0],
                    body_keys=counts[1],
                    leases=counts[2],
                )
                for (one, number), counts in sorted(held.items())
            ),
        )

    async def shred(self, call: Call) -> Shredded:
        """Destroy keys of bodies."""
        asked = call.body
        if bool(asked.subject) == bool(asked.day):
            raise Refused(
                "shred_unclear", "Say either a subject or a day.", hint="andon secrets shred --help"
            )
        names = await self._rotation.shred(
            subject=asked.subject, day=asked.day or "", actor=call.principal.name, reason=asked.reason
        )
        return Shredded(keys=names)

    async def look_up(self, specs: Sequence[Any]) -> None:
        """Ask others' stores now for what resources refer to there."""
        references = sorted({text for spec in specs for text in texts_of(spec) if _is_outside(text)})
        if references:
            await self._kept.outside.look(references, now=True)

    async def lease(self, call: Call) -> LeaseAnswer:
        """Leases of what the snapshot in force names."""
        entries = msgspec.json.decode(self._snapshot() or b"{}", type=_Served).leases
        served = frozenset(entry.reference for entry in entries if entry.version)
        return await self._kept.lease(call.body.references, served, call.principal.name)


def _is_outside(text: str) -> bool:
    found = parse_reference(text)
    return found is not None and found.form in ("aws-sm", "vault")


def _seconds(text: str | None, param: str) -> float | None:
    if text is None:
        return None
    if text in ("", "0", "never"):
        return 0.0
    try:
        return duration_s(text)
    except ValueError as error:
        raise Refused(
            "invalid_field", f"{error}.", hint="Write it as 30s, 5m or 90d.", param=param
        ) from error
