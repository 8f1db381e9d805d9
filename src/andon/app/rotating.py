"""Rotation of the wrapping key, and erasure by destroying keys of bodies: what control does with everything sealed.

A rotation makes a new version first; then each sealed thing is wrapped anew, one at a time, data untouched. Whoever
dies in between goes on with the same verb: what is done is passed over. A version is removed only when a count of
everything sealed finds nothing under it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from andon.app.home import Home
from andon.kernel.clock import Clock
from andon.kernel.errors import Conflict
from andon.kernel.events import Event
from andon.kernel.ports import Runner
from andon.security.secrets.body_keys import BodyKeys, day_name, subject_name
from andon.security.secrets.envelope import take_apart
from andon.security.secrets.keyring import FileKeys, Keyring
from andon.security.secrets.leases import SUFFIX, lease_context, rewrap_file
from andon.security.secrets.service import Secrets
from andon.store.model import Store

Holding = dict[
    tuple[str, int], tuple[int, int, int]
]  # by wrapping key and version: secrets, body keys, leases


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a rotation did."""

    rewrapped: int
    removed: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RotationGround:
    """What a rotation works on."""

    home: Home
    identity: str  # of the home
    pepper: bytes
    wrapper: Keyring
    secrets: Secrets
    keys: BodyKeys
    store: Store
    clock: Clock
    runner: Runner


class Rotation:
    """The verbs."""

    def __init__(self, ground: RotationGround) -> None:
        self._ground = ground

    def present(self) -> tuple[str, int]:
        """The wrapping key's name and version."""
        return self._ground.wrapper.present()

    async def run(self, *, new: bool, remove_old: bool, actor: str) -> Done:
        """Rotate. Raises Conflict where there is no new version to be made, AndonError where something is damaged."""
        ground = self._ground
        first = ground.wrapper.sources[0]
        rotatable = hasattr(first, "rotate")
        if new and rotatable:
            await ground.runner.run(cast("FileKeys", first).rotate)
        rewrapped = await ground.secrets.rewrap()
        rewrapped += await ground.runner.run(self._rewrap_files)
        removed: tuple[int, ...] = ()
        if remove_old:
            removed = await self._remove_old(first)
        key, version = ground.wrapper.present()
        event = Event(
            name="kek.rotated",
            subject=f"WrappingKey/{key}",
            actor=actor,
            data={"version": version, "rewrapped": rewrapped, "removed": list(removed)},
        )
        await ground.store.transact(lambda unit: unit.append(event))
        return Done(rewrapped=rewrapped, removed=removed)

    def _rewrap_files(self) -> int:
        ground = self._ground
        changed = sum(ground.keys.rewrap(name) for name in ground.keys.names())
        for path in self._lease_files():
            gateway = path.name.removeprefix("gateway-").removesuffix(SUFFIX)
            try:
                changed += rewrap_file(path, lease_context(ground.identity, gateway), ground.wrapper)
            except FileNotFoundError:
                continue  # given back meanwhile
        return changed

    def _lease_files(self) -> list[Path]:
        return sorted(self._ground.home.leases.glob(f"gateway-*{SUFFIX}"))

    async def _remove_old(self, source: object) -> tuple[int, ...]:
        if not isinstance(source, FileKeys):
            raise Conflict(
                "kek_elsewhere",
                "The wrapping key is not kept here.",
                hint="Remove old versions where it is kept.",
            )
        held = await self.held()
        name, present = source.present()
        old = [
            one for one in source.versions() if one != present and not any(held.get((name, one), (0, 0, 0)))
        ]
        for version in old:
            await self._ground.runner.run(lambda number=version: source.remove(number))  # type: ignore[misc]  # binds
        return tuple(old)

    async def held(self) -> Holding:
        """How much each version holds."""
        ground = self._ground
        secrets = await ground.secrets.wrapped_by()
        bodies, leases = await ground.runner.run(self._count_files)
        names = {*secrets, *bodies, *leases, self.present()}
        return {one: (secrets.get(one, 0), bodies.get(one, 0), leases.get(one, 0)) for one in names}

    def _count_files(self) -> tuple[dict[tuple[str, int], int], dict[tuple[str, int], int]]:
        leases: dict[tuple[str, int], int] = {}
        for path in self._lease_files():
            try:
                wrapped = take_apart(path.read_bytes()).wrapped
            except FileNotFoundError:
                continue  # given back meanwhile
            leases[wrapped.key, wrapped.version] = leases.get((wrapped.key, wrapped.version), 0) + 1
        return self._ground.keys.wrapped_by(), leases

    async def shred(self, *, subject: str, day: str, actor: str, reason: str) -> tuple[str, ...]:
        """Destroy the key of a subject or a day; the names of those that were there."""
        ground = self._ground
        name = subject_name(subject, ground.pepper) if subject else day_name(day)
        gone = await ground.runner.run(lambda: ground.keys.destroy(name))
        event = Event(
            name="bodies.shredded",
            subject=f"BodyKey/{name}",
            actor=actor,
            data={"destroyed": gone, "reason": reason[:500]},
        )
        await ground.store.transact(lambda unit: unit.append(event))
        return (name,) if gone else ()
