"""Users of the factory itself, for machines without an issuer: invited, set up by a code that works once, removed.

The first administrator is set up by a code that control leaves in a file that only the owner of the machine can read.
Passwords and codes are kept as hashes only, in records of their own that no resource verb shows.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from andon.control.kinds import Kind
from andon.kernel.clock import Clock
from andon.kernel.errors import Conflict, Refused, Transient
from andon.kernel.events import Event
from andon.kernel.labels import Label
from andon.kernel.ports import Runner
from andon.kernel.principals import RESERVED_ROLES, Principal
from andon.kernel.random import Random
from andon.security.identity.bindings import ROLE
from andon.security.identity.passwords import NOBODY, Attempts, Hash, check_password, make_hash, matches
from andon.store.model import Record, Store, Unit

USER = "User"
PASSWORD, INVITATION, SESSION = "Password", "Invitation", "Session"  # records that are no resources
SECOND_NS: Final = 10**9
INVITATION_S: Final = 7 * 24 * 3600.0
SET_UP_S: Final = 24 * 3600.0
USERS_MAX: Final = 10_000
INVITATIONS_MAX: Final = 1_000  # open ones; expired ones make room
HASHING_MAX: Final = 2  # at one time
HASHING_WAITING_MAX: Final = 16  # callers that wait for their turn; the rest are told to come back

_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,99}")
_TAKEN = frozenset({"admin", "root", "andon", "gateway", "anonymous"})  # who acts already, or seems to
CODE: Final = re.compile(r"andon-invite-[A-Za-z0-9_-]{32}")


class UserSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One person, as the factory keeps them: never the password."""

    roles: Annotated[
        tuple[Annotated[str, Meta(pattern=ROLE)], ...],
        Meta(max_length=50, description="What they are granted; RoleBindings add to it."),
    ] = ()
    team: Annotated[str, Meta(max_length=63, description="Whose they are.")] = ""
    label: Annotated[Label, Meta(description="Highest data class that they may handle.")] = "restricted"


USER_KIND = Kind(
    name=USER,
    plural="users",
    spec=UserSpec,
    summary="A person who signs in with a password, invited by `andon users invite`.",
    generated=True,
    columns=(("ROLES", "spec.roles"), ("TEAM", "spec.team"), ("LABEL", "spec.label")),
)


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """What a code is good for, kept under the hash of the code."""

    user: str  # empty = a name of the person's own choice: the first administrator
    spec: UserSpec
    expires_at_ns: int
    actor: str


def code_hash(code: str) -> str:
    """What is kept of a code of 192 random bits: nobody can guess it back."""
    return hashlib.sha256(code.encode()).hexdigest()


def check_grant(actor: Principal, roles: Sequence[str]) -> None:
    """Nobody gives what they do not have, and nobody gives what belongs to the factory's processes. Raises Refused."""
    beyond = set(roles) & RESERVED_ROLES
    if not beyond and "administrator" not in actor.roles:
        beyond = set(roles) - set(actor.roles)
    if beyond:
        raise Refused(
            "role_not_yours",
            f"{actor.name} cannot grant {', '.join(sorted(beyond))}.",
            hint="Ask an administrator.",
            status=403,
            param="roles",
        )


class People:
    """Verbs over the store. Hashing runs on `runner`."""

    def __init__(self, store: Store, clock: Clock, random: Random, runner: Runner) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._runner = runner
        self._attempts = Attempts(clock)
        self._hashing = asyncio.Semaphore(HASHING_MAX)
        self._waiting = 0

    async def any(self) -> bool:
        """Whether there is a user."""
        return bool(await self._store.transact(lambda unit: unit.list(USER)))

    async def users(self) -> Sequence[Record]:
        """Every user, by name."""
        return await self._store.transact(
            lambda unit: tuple(sorted(unit.list(USER), key=lambda one: one.name))
        )

    async def invite(self, user: str, spec: UserSpec, actor: Principal) -> tuple[str, int]:
        """A code with which `user` sets a first or a new password, and until when. Raises Refused."""
        _check_name(user)
        check_grant(actor, spec.roles)
        return await self._issue(user, spec, actor, INVITATION_S)

    async def first(self) -> str:
        """A code for the first administrator of a factory without users."""
        actor = Principal(kind="service", id="control", roles=("administrator",))
        code, _ = await self._issue("", UserSpec(roles=("administrator",)), actor, SET_UP_S)
        return code

    async def _issue(self, user: str, spec: UserSpec, actor: Principal, seconds: float) -> tuple[str, int]:
        secret = base64.urlsafe_b64encode(self._random.secret_bytes(24)).decode()
        code = f"andon-invite-{secret}"
        now_ns = self._clock.now_ns()
        invitation = Invitation(
            user=user, spec=spec, expires_at_ns=now_ns + int(seconds * SECOND_NS), actor=actor.name
        )

        def work(unit: Unit) -> None:
            known = unit.get(USER, user) if user else None
            if known is not None:
                # A new password for somebody is as good as being them.
                check_grant(actor, msgspec.convert(known.spec, UserSpec).roles)
            _sweep(unit, now_ns, user)
            record = Record(kind=INVITATION, name=code_hash(code), spec=msgspec.to_builtins(invitation))
            unit.put(record, expect_version=0)
            if user:
                unit.append(_event("user.invited", user, actor.name, now_ns, roles=list(spec.roles)))

        await self._store.transact(work)
        return code, invitation.expires_at_ns

    async def accept(self, code: str, user: str, password: str, address: str) -> str:
        """Set the password of whom a code was made for; their name. Raises Refused, in the same words for every
        code that is not good."""
        self._attempts.take(None, address)
        if user:
            _check_name(user)
        place = code_hash(code) if CODE.fullmatch(code) else ""
        now_ns = self._clock.now_ns()

        def look(unit: Unit) -> Invitation | None:
            record = unit.get(INVITATION, place) if place else None
            found = None if record is None else msgspec.convert(record.spec, Invitation)
            return found if found is not None and found.expires_at_ns > now_ns else None

        invitation = await self._store.transact(look)
        if invitation is None or (invitation.user and user not in ("", invitation.user)):
            raise _bad_code()
        name = invitation.user or user
        if not name:
            raise Refused(
                "user_missing", "The first administrator needs a name.", hint="Give one.", param="user"
            )
        check_password(password, name)
        kept = await self._hashed(lambda: make_hash(password, self._random))

        def work(unit: Unit) -> None:
            # Whoever comes second with the same code finds it gone.
            if not unit.delete(INVITATION, place):
                raise _bad_code()
            if not invitation.user and unit.list(USER):
                raise Conflict(
                    "user_first_exists", "There is a first user already.", hint="Ask to be invited."
                )
            if len(unit.list(USER)) >= USERS_MAX:
                raise Refused("too_many_users", f"There are {USERS_MAX} users.", hint="Remove some first.")
            # Whoever knew the password before may hold a session; a new password is the end of those.
            _end_sessions(unit, name)
            unit.put(Record(kind=USER, name=name, spec=msgspec.to_builtins(invitation.spec)))
            unit.put(Record(kind=PASSWORD, name=name, owner=f"{USER}/{name}", spec=msgspec.to_builtins(kept)))
            unit.append(_event("user.set_up", name, f"user:{name}", now_ns, invited_by=invitation.actor))

        await self._store.transact(work)
        return name

    async def sign_in(self, user: str, password: str, address: str) -> str:
        """The name of the user whose password this is. Raises Refused 401, in the same words and after the same
        work whether the user exists or not, or Transient 429."""
        name = user if _NAME.fullmatch(user) else ""
        self._attempts.take(name, address)

        def look(unit: Unit) -> Hash:
            known, record = unit.get(USER, name), unit.get(PASSWORD, name)
            return NOBODY if known is None or record is None else msgspec.convert(record.spec, Hash)

        kept = await self._store.transact(look)
        is_right = await self._hashed(lambda: matches(password, kept))
        if not is_right or kept is NOBODY:
            now_ns = self._clock.now_ns()
            event = Event(
                name="user.refused",
                subject=f"{USER}/{name}" if kept is not NOBODY else "Factory",
                actor="anonymous",
                data={"address": address},
                at_ns=now_ns,
                unique=f"user.refused/{name}/{address}/{now_ns // (60 * SECOND_NS)}",
            )
            await self._store.transact(lambda unit: unit.append(event))
            raise Refused(
                "sign_in_refused",
                "User or password is wrong.",
                hint="Try again, or ask for a new invitation.",
                status=401,
            )
        self._attempts.succeeded(name)
        return name

    async def remove(self, user: str, actor: Principal, reason: str = "") -> None:
        """End a user for good; their sessions end with them. Raises Refused where there is none."""
        now_ns = self._clock.now_ns()

        def work(unit: Unit) -> None:
            known = unit.get(USER, user)
            if known is None:
                raise Refused(
                    "user_not_found", "There is no such user.", hint="See: andon users list", status=404
                )
            check_grant(actor, msgspec.convert(known.spec, UserSpec).roles)
            unit.delete(USER, user)
            unit.delete(PASSWORD, user)
            # A code or a session that is still about must not outlive them, nor be worth anything to a namesake.
            _end_sessions(unit, user)
            for record in unit.list(INVITATION):
                if record.spec["user"] == user:
                    unit.delete(INVITATION, record.name)
            unit.append(_event("user.removed", user, actor.name, now_ns, reason=reason))

        await self._store.transact(work)

    async def _hashed(self, work: Callable[[], Any]) -> Any:
        if self._waiting >= HASHING_WAITING_MAX:
            raise Transient("sign_in_busy", "Too many people are signing in.", hint="Try again.", status=429)
        self._waiting += 1
        try:
            async with self._hashing:
                return await self._runner.run(work)
        finally:
            self._waiting -= 1


def user_spec(unit: Unit, name: str) -> UserSpec | None:
    """A user as they are now."""
    record = unit.get(USER, name)
    return None if record is None else msgspec.convert(record.spec, UserSpec)


def _end_sessions(unit: Unit, user: str) -> None:
    """End the sessions of one of the factory's own users."""
    for record in unit.list(SESSION):
        if record.spec["subject"] == user and not record.spec["issuer"]:
            unit.delete(SESSION, record.name)


def _check_name(user: str) -> None:
    if not _NAME.fullmatch(user) or user in _TAKEN:
        raise Refused(
            "user_invalid",
            "This cannot be the name of a user.",
            hint="Use small letters, digits and . _ @ + -; admin and root are taken.",
            param="user",
        )


def _sweep(unit: Unit, now_ns: int, user: str) -> None:
    """Forget codes that have expired and earlier ones for the same user. Raises Refused when too many are open."""
    open_ = 0
    for record in unit.list(INVITATION):
        found = msgspec.convert(record.spec, Invitation)
        if found.expires_at_ns <= now_ns or found.user == user:
            unit.delete(INVITATION, record.name)
        else:
            open_ += 1
    if open_ >= INVITATIONS_MAX:
        raise Refused(
            "too_many_invitations", f"{INVITATIONS_MAX} invitations are open.", hint="Wait for some to end."
        )


def _bad_code() -> Refused:
    return Refused(
        "code_refused",
        "This code is not good: it was used, has expired, or never was.",
        hint="Ask for a new one.",
        status=401,
    )


def _event(name: str, user: str, actor: str, now_ns: int, **data: Any) -> Event:
    shown: Mapping[str, Any] = data
    return Event(name=name, subject=f"{USER}/{user}", actor=actor, data=dict(shown), at_ns=now_ns)
