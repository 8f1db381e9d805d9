"""Routes of secrets: values go in and never come out, except to gateways, as leases of what they serve.

Types, routes and the verbs behind them; what is decided is decided in `app/keeping` and `security/secrets`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

from msgspec import Meta

from andon.app.views import Input, Name, Text, View
from andon.kernel.errors import Transient
from andon.security.secrets.model import LeaseAnswer, SecretView
from andon.web.routes import Call, Named, Route

VALUE_LENGTH_MAX = 64 * 1024

Day = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="A day, in UTC.")]


class SecretPath(Input, frozen=True, kw_only=True):
    """Path parameter of one secret."""

    name: Name


class SecretInput(Input, frozen=True, kw_only=True):
    """A new value, and what is said of the secret; what is left out stays as it is."""

    value: Annotated[str, Meta(min_length=1, max_length=VALUE_LENGTH_MAX, description="The value, as text.")]
    owner: Text | None = None
    labels: Annotated[dict[str, Text], Meta(max_length=32)] | None = None
    users: (
        Annotated[list[Text], Meta(max_length=100, description="Who may refer to it: Kind/name or Kind/*.")]
        | None
    ) = None
    expires_in: (
        Annotated[str, Meta(max_length=20, description="How long values are given out, such as 90d.")] | None
    ) = None
    rotate_every: (
        Annotated[str, Meta(max_length=20, description="After how long a new value is due.")] | None
    ) = None


class RevokeInput(Input, frozen=True, kw_only=True):
    """Which version is given out no more."""

    version: Annotated[int, Meta(ge=0, le=2**31, description="0 = every version.")] = 0
    reason: Text = ""


class RemoveInput(Input, frozen=True, kw_only=True):
    """Why it goes."""

    reason: Text = ""


class RotateInput(Input, frozen=True, kw_only=True):
    """How the wrapping key is rotated."""

    new: Annotated[
        bool, Meta(description="Make a new version; false goes on with wrapping by the present one.")
    ] = True
    remove_old: Annotated[bool, Meta(description="Remove versions that nothing refers to any more.")] = False


class ShredInput(Input, frozen=True, kw_only=True):
    """Whose recorded bodies are to be erased."""

    subject: Annotated[str, Meta(max_length=512, description="As it was sent in x-andon-subject.")] = ""
    day: Day | None = None
    reason: Text = ""


class LeaseInput(Input, frozen=True, kw_only=True):
    """What a gateway asks for."""

    references: Annotated[list[Annotated[str, Meta(max_length=1024)]], Meta(max_length=1000)]


class VersionShown(View, frozen=True, kw_only=True):
    """One version, without its value."""

    number: int
    created_ns: int
    author: str
    revoked_ns: int
    size_bytes: int


class SecretShown(View, frozen=True, kw_only=True):
    """A secret, without its values."""

    name: str
    state: str  # active, expired, revoked, empty
    owner: str
    labels: dict[str, str]
    users: Sequence[str]
    version: int  # the latest that is given out; 0 = none
    versions: Sequence[VersionShown]
    created_ns: int  # of the latest version
    expires_ns: int  # 0 = never
    due_ns: int  # when a new value is due; 0 = never
    last_used_ns: int  # 0 = not yet


class SecretPage(View, frozen=True, kw_only=True):
    """Secrets by name."""

    items: Sequence[SecretShown]


class KekVersion(View, frozen=True, kw_only=True):
    """How much a version of a wrapping key holds."""

    key: str
    version: int
    present: bool  # wraps now
    secrets: int
    body_keys: int
    leases: int


class Rotated(View, frozen=True, kw_only=True):
    """What a rotation did."""

    key: str
    version: int  # that wraps now
    rewrapped: int
    removed: Sequence[int]
    versions: Sequence[KekVersion]


class Shredded(View, frozen=True, kw_only=True):
    """What was erased."""

    keys: Sequence[str]  # names of the keys destroyed: what they sealed can never be read again


class SecretVerbs(Protocol):
    """What stands behind the routes."""

    async def look_up(self, specs: Sequence[Any]) -> None:
        """Ask others' stores for what resources refer to there, so that `plan` can say what is not found."""
        ...

    async def list(self, call: Call) -> SecretPage: ...
    async def get(self, call: Call) -> SecretShown: ...
    async def put(self, call: Call) -> SecretShown: ...
    async def revoke(self, call: Call) -> SecretShown: ...
    async def remove(self, call: Call) -> SecretPage: ...
    async def keys(self, call: Call) -> Rotated: ...
    async def rotate(self, call: Call) -> Rotated: ...
    async def shred(self, call: Call) -> Shredded: ...
    async def lease(self, call: Call) -> LeaseAnswer: ...


class NoSecrets:
    """Where none are kept."""

    async def _none(self, call: Call) -> SecretPage:
        raise Transient("secrets_missing", "This process keeps no secrets.", hint="andon status")

    async def look_up(self, specs: Sequence[Any]) -> None:
        """Nothing can be asked."""

    def __getattr__(self, name: str) -> object:
        return self._none


def shown(found: SecretView) -> SecretShown:
    """A secret as the API shows it."""
    entry = found.entry
    latest = entry.find(0)
    return SecretShown(
        name=found.name,
        state=found.state,
        owner=entry.owner,
        labels=entry.labels,
        users=entry.users,
        version=latest.number if latest else 0,
        versions=tuple(
            VersionShown(
                number=one.number,
                created_ns=one.created_ns,
                author=one.author,
                revoked_ns=one.revoked_ns,
                size_bytes=one.size_bytes,
            )
            for one in entry.versions
        ),
        created_ns=latest.created_ns if latest else 0,
        expires_ns=entry.expires_ns,
        due_ns=entry.due_ns(),
        last_used_ns=found.last_used_ns,
    )


def secret_routes(verbs: SecretVerbs) -> Sequence[Route]:
    """The routes."""
    return (*_reading(verbs), *_writing(verbs), *_keys(verbs))


def _reading(verbs: SecretVerbs) -> Sequence[Route]:
    return (
        Route(
            method="GET",
            path="/v1/secrets",
            name="listSecrets",
            action="secret.read",
            response=SecretPage,
            handler=verbs.list,
            summary="Secrets by name, never with their values",
        ),
        Route(
            method="GET",
            path="/v1/secrets/{name}",
            name="getSecret",
            action="secret.read",
            params=SecretPath,
            resource=Named("Secret"),
            response=SecretShown,
            handler=verbs.get,
            summary="One secret, without its values",
        ),
    )


def _writing(verbs: SecretVerbs) -> Sequence[Route]:
    return (
        Route(
            method="POST",
            path="/v1/secrets/{name}",
            name="setSecret",
            action="secret.write",
            params=SecretPath,
            resource=Named("Secret"),
            request=SecretInput,
            response=SecretShown,
            handler=verbs.put,
            summary="A new version of a secret",
        ),
        Route(
            method="POST",
            path="/v1/secrets/{name}/revoke",
            name="revokeSecret",
            action="secret.write",
            params=SecretPath,
            resource=Named("Secret"),
            request=RevokeInput,
            response=SecretShown,
            handler=verbs.revoke,
            summary="Values of a secret are given out no more, and forgotten",
        ),
        Route(
            method="POST",
            path="/v1/secrets/{name}/remove",
            name="removeSecret",
            action="secret.write",
            params=SecretPath,
            resource=Named("Secret"),
            request=RemoveInput,
            response=SecretPage,
            handler=verbs.remove,
            summary="Forget a secret with all its versions",
        ),
    )


def _keys(verbs: SecretVerbs) -> Sequence[Route]:
    return (
        Route(
            method="GET",
            path="/v1/wrapping-keys",
            name="getWrappingKeys",
            action="secret.read",
            response=Rotated,
            handler=verbs.keys,
            summary="Versions of the wrapping key, and how much each holds",
        ),
        Route(
            method="POST",
            path="/v1/wrapping-keys/rotate",
            name="rotateWrappingKey",
            action="secret.rotate",
            request=RotateInput,
            response=Rotated,
            handler=verbs.rotate,
            summary="Wrap everything sealed by a new version of the wrapping key",
        ),
        Route(
            method="POST",
            path="/v1/shred",
            name="shredBodies",
            action="secret.shred",
            request=ShredInput,
            response=Shredded,
            handler=verbs.shred,
            summary="Destroy the key of a subject's or a day's recorded bodies",
        ),
        Route(
            method="POST",
            path="/v1/leases",
            name="leaseSecrets",
            action="gateway.lease",
            request=LeaseInput,
            response=LeaseAnswer,
            handler=verbs.lease,
            summary="Secrets for a gateway, of the targets that it serves",
        ),
    )
