"""The kind `Issuer`: whose tokens are taken, for whom they must be meant, and what their claims mean here.

Written by people, kept up to date by `issuer_controller`, compiled into the snapshot with the signing keys as last
fetched. A client secret is a reference, never the secret itself.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from andon.control.kinds import Kind, Problem, World
from andon.kernel.labels import Label
from andon.kernel.loopback import is_loopback
from andon.kernel.snapshot import IssuerEntry
from andon.store.model import Record, Unit

ISSUER = "Issuer"
_REFERENCE = re.compile(r"(env:[A-Za-z_][A-Za-z0-9_]*|file:\S.*)?")
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"
]
ClaimPath = Annotated[str, Meta(max_length=200)]


class ClaimsSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Which claims say what; a dot leads into a nested claim."""

    subject: Annotated[
        ClaimPath, Meta(min_length=1, description="Who it is; it must never be given to anybody else.")
    ] = "sub"
    team: Annotated[ClaimPath, Meta(description="Whose limits and costs they are; empty = nobody's.")] = ""
    roles: Annotated[
        ClaimPath,
        Meta(
            description="Names taken as roles as they stand: the issuer then says who administers. Empty = none."
        ),
    ] = ""
    groups: Annotated[ClaimPath, Meta(description="Names that a RoleBinding's group: is compared with.")] = ""
    label: Annotated[
        ClaimPath, Meta(description="Highest data class, where it is lower than the issuer's own.")
    ] = ""
    service: Annotated[
        ClaimPath, Meta(description="True, or equal to sub, for programs; empty = everybody is a person.")
    ] = ""


class SignInSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """How people sign in with this issuer (OpenID Connect, authorization code with PKCE)."""

    client_id: Annotated[
        str, Meta(min_length=1, max_length=200, description="The client registered for Andon.")
    ]
    client_secret: Annotated[
        str,
        Meta(description="Where control finds its secret: env:NAME or file:PATH; empty = a public client."),
    ] = ""
    scopes: Annotated[
        tuple[str, ...], Meta(min_length=1, max_length=20, description="What is asked for.")
    ] = ("openid", "profile", "email")


class IssuerSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One OpenID Connect issuer."""

    issuer: Annotated[
        str, Meta(min_length=1, max_length=500, description="Its URL, exactly as `iss` in its tokens.")
    ]
    audiences: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=200)], ...],
        Meta(min_length=1, max_length=20, description="One of them must be in `aud`."),
    ]
    authorised_parties: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=200)], ...],
        Meta(
            max_length=100,
            description="One of them must be `azp`: the client a token was given to; empty = any.",
        ),
    ] = ()
    algorithms: Annotated[
        tuple[Algorithm, ...], Meta(min_length=1, max_length=11, description="Signatures that are taken.")
    ] = ("RS256", "ES256", "EdDSA")
    claims: Annotated[ClaimsSpec, Meta(description="Which claims say what.")] = ClaimsSpec()
    label: Annotated[Label, Meta(description="Highest data class that its principals may handle.")] = (
        "internal"
    )
    leeway_s: Annotated[float, Meta(ge=0, le=60, description="Seconds that clocks may differ.")] = 30.0
    keys_url: Annotated[
        str, Meta(max_length=500, description="Where its key set is; empty = as its discovery document says.")
    ] = ""
    ca_file: Annotated[
        str,
        Meta(
            max_length=500,
            description="Certificates (PEM) to trust for it, beside the factory file; empty = the system's.",
        ),
    ] = ""
    refresh_s: Annotated[
        float, Meta(ge=10, le=86_400, description="Seconds between two looks at its keys.")
    ] = 300.0
    allow_insecure: Annotated[
        bool, Meta(description="Accept http to other machines: whoever is in between can make tokens.")
    ] = False
    sign_in: Annotated[SignInSpec | None, Meta(description="How people sign in; left out = they cannot.")] = (
        None
    )


class IssuerStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was found at the issuer. Keys stay as they were while it is away."""

    keys: str = ""  # the key set as fetched
    key_ids: tuple[str, ...] = ()
    keys_ns: int = 0  # since when they are these
    keys_url: str = ""
    authorization_url: str = ""
    token_url: str = ""
    ca: str = ""
    checked_ns: int = 0
    failures: int = 0  # in a row
    problem: str = ""
    looked_with: str = ""  # digest of the spec that was looked with: a changed one is looked at at once


def check_issuer(spec: Any, record: Record, world: World) -> list[Problem]:
    """Its addresses may be used, nobody else has its name, and no secret stands in the file."""
    assert isinstance(spec, IssuerSpec)
    problems = _check_url("spec.issuer", spec.issuer, spec.allow_insecure)
    if spec.keys_url:
        problems += _check_url("spec.keysUrl", spec.keys_url, spec.allow_insecure, query=True)
    problems += [
        Problem(
            path="spec.issuer",
            message=f"Issuer '{name}' has the same URL: nobody could say whose claims count.",
        )
        for (kind, name), other in world.items()
        if kind == ISSUER and name != record.name and other.spec.get("issuer") == spec.issuer
    ]
    if "account" in spec.audiences and not spec.authorised_parties:
        problems.append(
            Problem(
                path="spec.audiences",
                message="'account' is Keycloak's default audience, which every token of a realm carries.",
                hint="Add an Audience mapper to the client and name that audience, or name the client in "
                "authorisedParties.",
            )
        )
    if spec.sign_in is not None and not _REFERENCE.fullmatch(spec.sign_in.client_secret):
        # The value is not repeated: it may be the secret itself.
        problems.append(
            Problem(
                path="spec.signIn.clientSecret",
                message="A secret is a reference, never the secret itself.",
                hint="Write env:NAME or file:PATH.",
            )
        )
    return problems


def _check_url(path: str, url: str, allow_insecure: bool, *, query: bool = False) -> list[Problem]:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return [Problem(path=path, message="This is no URL.")]
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii() or " " in url:
        return [Problem(path=path, message="This is no http(s) URL.", hint="Write https://host/path.")]
    problems = []
    if parts.username is not None or parts.fragment or (parts.query and not query):
        problems.append(Problem(path=path, message="This URL has no user, no query and no fragment."))
    if parts.scheme == "http" and not allow_insecure and not is_loopback(parts.hostname):
        problems.append(
            Problem(
                path=path,
                message=f"Over http to {parts.hostname}, whoever is in between can make tokens.",
                hint="Use https.",
            )
        )
    return problems


def may_be_asked(url: str, spec: IssuerSpec) -> bool:
    """Whether an address that an issuer's document gives may be used: as its own was checked."""
    return not _check_url("", url, spec.allow_insecure, query=True)


ISSUER_KIND = Kind(
    name=ISSUER,
    plural="issuers",
    short=("iss",),
    spec=IssuerSpec,
    summary="An OpenID Connect issuer whose tokens are taken, and with which people sign in.",
    check=check_issuer,
    columns=(
        ("URL", "spec.issuer"),
        ("AUDIENCES", "spec.audiences"),
        ("KEYS", "status.keyIds"),
        ("PROBLEM", "status.problem"),
    ),
)


def issuer_entry(record: Record) -> IssuerEntry:
    """What a snapshot says of an issuer."""
    spec = msgspec.convert(record.spec, IssuerSpec)
    status = status_of(record)
    return IssuerEntry(
        name=record.name,
        issuer=spec.issuer,
        audiences=spec.audiences,
        authorised_parties=spec.authorised_parties,
        algorithms=tuple(spec.algorithms),
        keys=status.keys,
        keys_url=status.keys_url,
        leeway_s=spec.leeway_s,
        subject_claim=spec.claims.subject,
        team_claim=spec.claims.team,
        roles_claim=spec.claims.roles,
        label=spec.label,
        service_claim=spec.claims.service,
        groups_claim=spec.claims.groups,
        label_claim=spec.claims.label,
        keys_at_ns=status.keys_ns,
        ca=status.ca,
    )


def issuer_entries(unit: Unit) -> tuple[IssuerEntry, ...]:
    """What a snapshot says of every issuer."""
    return tuple(issuer_entry(record) for record in unit.list(ISSUER))


def status_of(record: Record) -> IssuerStatus:
    """The status as it stands; an empty one before the first look."""
    return msgspec.convert(record.status, IssuerStatus) if record.status else IssuerStatus()
