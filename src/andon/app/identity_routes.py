"""Routes of identity: signing in and out, who somebody is, users and their invitations, a look at a token.

Those that nobody needs permission for are open by name; they answer in the same words whoever is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from andon.app.identity import Identities
from andon.kernel.access import OPEN
from andon.kernel.errors import Refused
from andon.kernel.principals import Principal
from andon.security.identity.people import UserSpec
from andon.security.identity.sessions import LIFE_S
from andon.security.identity.signing_in import ATTEMPT_S, Loopback
from andon.security.identity.tokens import Failure
from andon.web.authentication import ATTEMPT_COOKIE, SESSION_COOKIE, Visit, set_cookie
from andon.web.routes import Call, Named, Raw, Route


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What callers send."""


Short = Annotated[str, Meta(max_length=200)]
Secret = Annotated[str, Meta(max_length=1000)]


class PasswordSignIn(Input, frozen=True, kw_only=True):
    """User and password."""

    user: Annotated[Short, Meta(description="Name of the user.")]
    password: Annotated[Secret, Meta(description="Their password.")]
    cookie: Annotated[bool, Meta(description="For browsers: the session comes as a cookie only.")] = False


class Acceptance(Input, frozen=True, kw_only=True):
    """A code that was given out, and the password that is to be."""

    code: Annotated[Secret, Meta(description="From the invitation, or from .andon/setup.code.")]
    user: Annotated[Short, Meta(description="Name of the first administrator; else as invited.")] = ""
    password: Annotated[Secret, Meta(description="12 characters or more.")]


class LoginQuery(Input, frozen=True, kw_only=True):
    """With whom to sign in, and where to go on."""

    issuer: Annotated[Short, Meta(description="Name of an Issuer; empty = the only one.")] = ""
    next: Annotated[Secret, Meta(description="Path of this host to go on to.")] = "/"
    port: Annotated[int, Meta(ge=0, le=65535, description="Where a program waits on loopback; 0 = none.")] = 0
    challenge: Annotated[Short, Meta(description="S256 of the program's verifier (RFC 7636).")] = ""
    state: Annotated[Short, Meta(description="Handed back to the program.")] = ""


class CallbackQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What an issuer sends back; it may add more."""

    code: Annotated[str, Meta(max_length=4000, description="To be redeemed once.")] = ""
    state: Annotated[Short, Meta(description="As sent.")] = ""
    error: Annotated[str, Meta(max_length=4000, description="Why there is no code.")] = ""


class Collection(Input, frozen=True, kw_only=True):
    """A program collects the session that was made for it."""

    code: Annotated[Short, Meta(description="From the loopback address.")]
    verifier: Annotated[Short, Meta(description="Whose challenge was sent.")]


class Leaving(Input, frozen=True, kw_only=True):
    """How to sign out."""

    everywhere: Annotated[bool, Meta(description="End every session of this person.")] = False


class NewUser(Input, frozen=True, kw_only=True):
    """Somebody to invite, or to give a new password."""

    name: Annotated[Short, Meta(description="Small letters, digits and . _ @ + -.")]
    roles: Annotated[
        tuple[Annotated[str, Meta(max_length=63)], ...],
        Meta(max_length=50, description="What they are granted."),
    ] = ()
    team: Annotated[str, Meta(max_length=63, description="Whose they are.")] = ""


class Removal(Input, frozen=True, kw_only=True):
    """Why somebody is removed."""

    reason: Annotated[str, Meta(max_length=500, description="Kept in the journal.")] = ""


class UserPath(Input, frozen=True, kw_only=True):
    """Path parameter of one user."""

    name: Short


class TokenCheck(Input, frozen=True, kw_only=True):
    """A token to look at."""

    token: Annotated[str, Meta(max_length=20_000, description="As it would be sent; it is not kept.")]


class WhoAmI(msgspec.Struct, frozen=True, kw_only=True):
    """Who the caller is here."""

    principal: str
    kind: str
    roles: tuple[str, ...]
    team: str
    label: str
    issuer: str


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """A session that has begun. The token is empty where it came as a cookie."""

    user: str
    token: str
    life_s: int


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How many sessions ended."""

    sessions: int


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    """One user."""

    name: str
    roles: tuple[str, ...]
    team: str
    label: str
    created_ns: int


class UserPage(msgspec.Struct, frozen=True, kw_only=True):
    """Every user."""

    items: tuple[UserView, ...]


class InvitationView(msgspec.Struct, frozen=True, kw_only=True):
    """A code for somebody; it is told this once."""

    user: str
    code: str
    expires_ns: int


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """What would be made of a token, and why it would not be taken."""

    taken: bool
    reason: str
    detail: str
    issuer: str
    principal: str = ""
    roles: tuple[str, ...] = ()
    team: str = ""
    label: str = ""


class Whoever(Protocol):
    """Where the handlers find identity."""

    @property
    def identities(self) -> Identities | None: ...


class IdentityApi:
    """The handlers."""

    def __init__(self, services: Whoever) -> None:
        self._services = services

    @property
    def _known(self) -> Identities:
        found = self._services.identities
        if found is None:
            raise Refused(
                "identity_missing", "Nobody can sign in to this process.", hint="Ask control.", status=404
            )
        return found

    async def who(self, call: Call) -> WhoAmI:
        """Who the caller is."""
        principal = await self._caller(call)
        return WhoAmI(
            principal=principal.name,
            kind=principal.kind,
            roles=principal.roles,
            team=principal.team,
            label=principal.label,
            issuer=principal.issuer,
        )

    async def sign_in(self, call: Call) -> SessionView | Raw:
        """A session for a password."""
        asked: PasswordSignIn = call.body
        if asked.cookie:
            call.visit.check_own_page()  # nobody is signed in as somebody else by another site
        name = await self._known.people.sign_in(asked.user, asked.password, call.address)
        return await self._begun(name, call.visit, as_cookie=asked.cookie)

    async def accept(self, call: Call) -> SessionView | Raw:
        """A password for whom a code was made, and a first session."""
        asked: Acceptance = call.body
        name = await self._known.people.accept(asked.code, asked.user, asked.password, call.address)
        if self._known.code_file is not None:
            self._known.code_file.unlink(missing_ok=True)
        return await self._begun(name, call.visit, as_cookie=False)

    async def _begun(self, name: str, visit: Visit, *, as_cookie: bool) -> SessionView | Raw:
        token = await self._known.sessions.begin_user(name)
        view = SessionView(user=name, token="" if as_cookie else token, life_s=int(LIFE_S))
        if not as_cookie:
            return view
        line = set_cookie(SESSION_COOKIE, token, secure=visit.secure, life_s=int(LIFE_S))
        return Raw(body=msgspec.json.encode(view), headers={"set-cookie": line})

    async def login(self, call: Call) -> Raw:
        """On to the issuer."""
        asked: LoginQuery = call.query
        loopback = None
        if asked.port:
            loopback = Loopback(port=asked.port, challenge=asked.challenge, state=asked.state)
        begun = await self._known.sign_ins.begin(asked.issuer, _callback(call.visit), asked.next, loopback)
        line = set_cookie(ATTEMPT_COOKIE, begun.cookie, secure=call.visit.secure, life_s=int(ATTEMPT_S))
        return Raw(status=303, headers={"location": begun.url, "set-cookie": line})

    async def callback(self, call: Call) -> Raw:
        """Back from the issuer."""
        asked: CallbackQuery = call.query
        finished = await self._known.sign_ins.finish(asked.state, asked.code, call.visit.attempt)
        headers = {"location": finished.onward}
        if finished.identity is not None:
            token = await self._known.sessions.begin_identity(finished.identity)
            headers["set-cookie"] = set_cookie(
                SESSION_COOKIE, token, secure=call.visit.secure, life_s=int(LIFE_S)
            )
        return Raw(status=303, headers=headers)

    async def collect(self, call: Call) -> SessionView:
        """The session of a program."""
        asked: Collection = call.body
        identity = self._known.sign_ins.collect(asked.code, asked.verifier)
        token = await self._known.sessions.begin_identity(identity)
        return SessionView(user=f"{identity.issuer}/{identity.subject}", token=token, life_s=int(LIFE_S))

    async def leave(self, call: Call) -> Raw:
        """The end of a session, or of all of them."""
        token = call.authorization.partition(" ")[2].strip()
        if not call.authorization:
            call.visit.check_own_page()
            token = call.visit.session
        count = await self._known.sessions.end(token, everywhere=call.body.everywhere)
        line = set_cookie(SESSION_COOKIE, "", secure=call.visit.secure, life_s=0)
        return Raw(body=msgspec.json.encode(Ended(sessions=count)), headers={"set-cookie": line})

    async def users(self, call: Call) -> UserPage:
        """Every user."""
        items = []
        for record in await self._known.people.users():
            spec = msgspec.convert(record.spec, UserSpec)
            items.append(
                UserView(
                    name=record.name,
                    roles=spec.roles,
                    team=spec.team,
                    label=spec.label,
                    created_ns=record.created_ns,
                )
            )
        return UserPage(items=tuple(items))

    async def invite(self, call: Call) -> InvitationView:
        """A code for somebody."""
        asked: NewUser = call.body
        try:
            spec = msgspec.convert({"roles": asked.roles, "team": asked.team}, UserSpec)
        except msgspec.ValidationError as error:
            raise Refused(
                "invalid_field",
                f"Somebody like that cannot be invited: {error}.",
                hint="Roles are small letters, digits and hyphens.",
                param="roles",
            ) from error
        code, expires_ns = await self._known.people.invite(asked.name, spec, call.principal)
        return InvitationView(user=asked.name, code=code, expires_ns=expires_ns)

    async def remove(self, call: Call) -> UserPage:
        """The end of a user."""
        await self._known.people.remove(call.path.name, call.principal, call.body.reason)
        return await self.users(call)

    async def check(self, call: Call) -> TokenView:
        """Why a token is taken or not. This is where operators, not callers, are told."""
        found = await self._known.directory.check(call.body.token.strip())
        if isinstance(found, Failure):
            return TokenView(taken=False, reason=found.reason, detail=found.detail, issuer=found.issuer)
        principal = self._known.directory.principal(found)
        return TokenView(
            taken=True,
            reason="",
            detail="",
            issuer=found.issuer,
            principal=principal.name,
            roles=principal.roles,
            team=principal.team,
            label=principal.label,
        )

    async def _caller(self, call: Call) -> Principal:
        return await self._known.authenticator.identify(call.authorization or None, call.visit)


def _callback(visit: Visit) -> str:
    return f"{visit.base}/v1/session/callback"


def identity_routes(services: Whoever) -> Sequence[Route]:
    """Every route of identity."""
    api = IdentityApi(services)
    return (*_session_routes(api), *_issuer_routes(api), *_user_routes(api))


def _session_routes(api: IdentityApi) -> Sequence[Route]:
    return (
        Route(
            method="GET",
            path="/v1/session",
            name="getSession",
            action=OPEN,
            response=WhoAmI,
            handler=api.who,
            summary="Who the caller is, and with which roles",
        ),
        Route(
            method="POST",
            path="/v1/session",
            name="signIn",
            action=OPEN,
            request=PasswordSignIn,
            response=SessionView,
            handler=api.sign_in,
            summary="A session for user and password",
        ),
        Route(
            method="POST",
            path="/v1/session/acceptance",
            name="acceptInvitation",
            action=OPEN,
            request=Acceptance,
            response=SessionView,
            handler=api.accept,
            summary="Set a password with a code that works once, and sign in",
        ),
        Route(
            method="POST",
            path="/v1/session/logout",
            name="signOut",
            action=OPEN,
            request=Leaving,
            response=Ended,
            handler=api.leave,
            summary="End this session, or all of the same person",
        ),
    )


def _issuer_routes(api: IdentityApi) -> Sequence[Route]:
    return (
        Route(
            method="GET",
            path="/v1/session/login",
            name="beginSignIn",
            action=OPEN,
            query=LoginQuery,
            response=None,
            onward=True,
            handler=api.login,
            summary="On to an issuer's own page (OpenID Connect with PKCE)",
        ),
        Route(
            method="GET",
            path="/v1/session/callback",
            name="finishSignIn",
            action=OPEN,
            query=CallbackQuery,
            response=None,
            onward=True,
            handler=api.callback,
            summary="Back from the issuer; a session begins",
        ),
        Route(
            method="POST",
            path="/v1/session/collection",
            name="collectSession",
            action=OPEN,
            request=Collection,
            response=SessionView,
            handler=api.collect,
            summary="The session of a program that waited on loopback (RFC 8252)",
        ),
    )


def _user_routes(api: IdentityApi) -> Sequence[Route]:
    return (
        Route(
            method="GET",
            path="/v1/users",
            name="listUsers",
            action="user.read",
            response=UserPage,
            handler=api.users,
            summary="Every user of the factory itself",
        ),
        Route(
            method="POST",
            path="/v1/users",
            name="inviteUser",
            action="user.write",
            request=NewUser,
            response=InvitationView,
            handler=api.invite,
            summary="A code with which somebody sets a password",
        ),
        Route(
            method="POST",
            path="/v1/users/{name}/remove",
            name="removeUser",
            action="user.write",
            params=UserPath,
            resource=Named("User"),
            request=Removal,
            response=UserPage,
            handler=api.remove,
            summary="End a user and their sessions",
        ),
        Route(
            method="POST",
            path="/v1/issuers/test",
            name="testToken",
            action="issuer.test",
            request=TokenCheck,
            response=TokenView,
            handler=api.check,
            summary="What would be made of a token, and why it would not be taken",
        ),
    )
