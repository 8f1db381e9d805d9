"""Sessions: what a person is given for having signed in, by password or with an issuer, and how it ends.

A random token that only its holder has; the store keeps its hash, who it is for, and until when. Who somebody is was
settled at sign-in; what they may do is looked up at every use, so that a role taken away is gone at once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Any, Final

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.events import Event
from andon.kernel.labels import Label
from andon.kernel.principals import Principal, PrincipalKind
from andon.kernel.random import Random
from andon.security.identity.bindings import Bindings, binding_entries
from andon.security.identity.issuers import ISSUER
from andon.security.identity.people import SESSION, user_spec
from andon.security.identity.tokens import Identity
from andon.store.model import Record, Store, Unit

PREFIX: Final = "andon-session-"
LIFE_S: Final = 12 * 3600.0
IDLE_S: Final = 2 * 3600.0
TOUCH_S: Final = 60.0  # the time of last use is written at most so often
SESSIONS_MAX: Final = 10_000
OF_ONE_MAX: Final = 20  # sessions of one person; the oldest gives way

_FORM = re.compile(r"andon-session-([A-Za-z0-9_-]{43})([A-Za-z0-9_-]{16})")


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A session as the store keeps it, under the hash of its token."""

    subject: str  # principal id: "ann", "corp/ann"
    kind: PrincipalKind
    created_ns: int
    expires_at_ns: int
    seen_ns: int
    issuer: str = ""
    named: str = ""  # as the issuer names them, for bindings
    groups: tuple[str, ...] = ()
    claimed: tuple[str, ...] = ()
    team: str = ""
    label: Label = "internal"


class Sessions:
    """Begins, finds and ends sessions. Its store should not be one that notices changes: they change nothing else."""

    def __init__(self, store: Store, clock: Clock, random: Random, pepper: bytes) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._pepper = pepper

    async def begin_user(self, name: str) -> str:
        """A session of one of the factory's own users."""
        now_ns = self._clock.now_ns()
        return await self._begin(
            Held(
                subject=name,
                kind="user",
                created_ns=now_ns,
                seen_ns=now_ns,
                expires_at_ns=now_ns + int(LIFE_S * 1e9),
            )
        )

    async def begin_identity(self, identity: Identity) -> str:
        """A session of somebody for whom an issuer vouches."""
        now_ns = self._clock.now_ns()
        held = Held(
            subject=f"{identity.issuer}/{identity.subject}",
            kind="service" if identity.service else "user",
            issuer=identity.issuer,
            named=identity.subject,
            groups=identity.groups,
            claimed=identity.roles,
            team=identity.team,
            label=identity.label,
            created_ns=now_ns,
            seen_ns=now_ns,
            expires_at_ns=now_ns + int(LIFE_S * 1e9),
        )
        return await self._begin(held)

    async def _begin(self, held: Held) -> str:
        # Always a new token: what a browser brought to the sign-in is never taken over (session fixation).
        secret = base64.urlsafe_b64encode(self._random.secret_bytes(32)).decode().rstrip("=")
        token = PREFIX + secret + self._tag(secret)

        def work(unit: Unit) -> None:
            _make_room(unit, held)
            unit.put(
                Record(kind=SESSION, name=_name(token), spec=msgspec.to_builtins(held)), expect_version=0
            )
            unit.append(_event("session.begun", held, held.created_ns))

        await self._store.transact(work)
        return token

    async def find(self, token: str) -> Principal | None:
        """Who holds the session, if it is in force. A token that was never given out costs no look into the store."""
        if not self.is_ours(token):
            return None
        now_ns = self._clock.now_ns()

        def work(unit: Unit) -> Principal | None:
            record = unit.get(SESSION, _name(token))
            if record is None:
                return None
            held = msgspec.convert(record.spec, Held)
            principal = _principal(unit, held) if _is_live(held, now_ns) else None
            if principal is None:
                unit.delete(SESSION, record.name)
            elif now_ns - held.seen_ns >= TOUCH_S * 1e9:
                touched = msgspec.structs.replace(held, seen_ns=now_ns)
                unit.put(Record(kind=SESSION, name=record.name, spec=msgspec.to_builtins(touched)))
            return principal

        return await self._store.transact(work)

    async def end(self, token: str, *, everywhere: bool = False) -> int:
        """End a session, or all of its holder; how many ended. Ending none is no error."""
        if not self.is_ours(token):
            return 0
        now_ns = self._clock.now_ns()

        def work(unit: Unit) -> int:
            record = unit.get(SESSION, _name(token))
            if record is None:
                return 0
            held = msgspec.convert(record.spec, Held)
            gone = [record.name]
            if everywhere:
                gone = [one.name for one in unit.list(SESSION) if one.spec["subject"] == held.subject]
            for name in gone:
                unit.delete(SESSION, name)
            unit.append(_event("session.ended", held, now_ns, sessions=len(gone)))
            return len(gone)

        return await self._store.transact(work)

    def is_ours(self, token: str) -> bool:
        """Whether the factory gave this token out at any time."""
        match = _FORM.fullmatch(token)
        return match is not None and hmac.compare_digest(self._tag(match[1]), match[2])

    def _tag(self, secret: str) -> str:
        digest = hmac.digest(self._pepper, b"session " + secret.encode(), "sha256")
        return base64.urlsafe_b64encode(digest[:12]).decode()


def _name(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _is_live(held: Held, now_ns: int) -> bool:
    return now_ns < held.expires_at_ns and now_ns - held.seen_ns < IDLE_S * 1e9


def _principal(unit: Unit, held: Held) -> Principal | None:
    """Who it is now; None where the user, or the issuer that vouched, is gone."""
    bindings = Bindings(binding_entries(unit))
    if not held.issuer:
        spec = user_spec(unit, held.subject)
        if spec is None:
            return None
        roles = bindings.roles("", [f"user:{held.subject}"], spec.roles)
        return Principal(kind="user", id=held.subject, roles=roles, team=spec.team, label=spec.label)
    if unit.get(ISSUER, held.issuer) is None:
        return None
    subjects = [f"{held.kind}:{held.named}", *(f"group:{group}" for group in held.groups)]
    return Principal(
        kind=held.kind,
        id=held.subject,
        roles=bindings.roles(held.issuer, subjects, held.claimed),
        team=held.team,
        label=held.label,
        issuer=held.issuer,
    )


def _make_room(unit: Unit, held: Held) -> None:
    """Forget what has ended, and the oldest where there are too many."""
    kept: list[tuple[int, str]] = []
    own: list[tuple[int, str]] = []
    for record in unit.list(SESSION):
        other = msgspec.convert(record.spec, Held)
        if not _is_live(other, held.created_ns):
            unit.delete(SESSION, record.name)
            continue
        kept.append((other.created_ns, record.name))
        if other.subject == held.subject:
            own.append((other.created_ns, record.name))
    beyond = sorted(own)[: max(0, len(own) - OF_ONE_MAX + 1)]
    beyond += sorted(kept)[: max(0, len(kept) - len(beyond) - SESSIONS_MAX + 1)]
    for _, name in beyond:
        unit.delete(SESSION, name)


def _event(name: str, held: Held, now_ns: int, **data: Any) -> Event:
    who = f"{held.kind}:{held.subject}"
    subject = f"{ISSUER}/{held.issuer}" if held.issuer else f"User/{held.subject}"
    return Event(name=name, subject=subject, actor=who, data=dict(data), at_ns=now_ns)
