"""What the routes of identity stand on: who is known, who signs in, and how requests are told apart.

Wired by control; the observer takes the part that recognises callers. Opens nothing and starts nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from andon.kernel.clock import Clock
from andon.kernel.errors import Transient
from andon.kernel.ports import Runner
from andon.kernel.random import Random
from andon.security.identity.directory import Directory
from andon.security.identity.discovery import Upstreams
from andon.security.identity.people import People
from andon.security.identity.sessions import Sessions
from andon.security.identity.signing_in import SignIns
from andon.store.model import Store
from andon.web.authentication import Authenticator, Credential, Lookup


@dataclass(frozen=True, kw_only=True)
class IdentityGround:
    """What identity stands on."""

    store: Store  # not one that notices changes: sessions and invitations are no desired state
    clock: Clock
    random: Random
    runner: Runner  # hashes passwords away from the event loop
    pepper: bytes
    upstreams: Upstreams
    credentials: tuple[Credential, ...]  # the factory's own keys
    lookup: Lookup | None  # API keys
    secrets: Callable[[str], str]  # resolves references to client secrets
    code_file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Identities:
    """Everything that knows somebody."""

    authenticator: Authenticator
    directory: Directory
    sessions: Sessions
    people: People
    sign_ins: SignIns
    code_file: Path | None = None  # of the first administrator; removed once it was used


def assemble_identities(ground: IdentityGround) -> Identities:
    """Connect the parts."""
    directory = Directory(ground.store, ground.clock, ground.upstreams)
    sessions = Sessions(ground.store, ground.clock, ground.random, ground.pepper)
    return Identities(
        authenticator=Authenticator(
            ground.credentials,
            ground.pepper,
            ground.lookup,
            tokens=directory.find,
            sessions=sessions.find,
        ),
        directory=directory,
        sessions=sessions,
        code_file=ground.code_file,
        people=People(ground.store, ground.clock, ground.random, ground.runner),
        sign_ins=SignIns(
            ground.store, directory, ground.upstreams, ground.secrets, ground.clock, ground.random
        ),
    )


async def leave_code(people: People, place: Path) -> bool:
    """Leave a code for the first administrator in a file of mode 0600, where there is no user; whether there is one.

    Made anew at every start, so that a code lives no longer than it is said to.
    """
    if await people.any():
        _write(place, "")
        return False
    _write(place, await people.first())
    return True


def _write(place: Path, code: str) -> None:
    place.unlink(missing_ok=True)
    if code:
        with open(place, "x", opener=_private) as file:
            file.write(code + "\n")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def read_reference(reference: str) -> str:
    """The secret behind `env:NAME` or `file:PATH`; raises Transient, never naming the value."""
    form, _, place = reference.partition(":")
    try:
        return (os.environ[place] if form == "env" else Path(place).read_text()).strip()
    except (KeyError, OSError, UnicodeDecodeError) as error:
        raise Transient(
            "issuer_unusable",
            f"The client secret {reference} cannot be read: {type(error).__name__}.",
            hint="Set the environment variable of control, or make the file readable to it.",
        ) from error
