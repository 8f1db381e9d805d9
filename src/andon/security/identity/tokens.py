"""JSON Web Tokens: who signed this one, is it meant for us, and is it valid now (RFC 7519, RFC 8725, RFC 9068)?

Pure; used by the gateway's first stage, by the admin plane and by `andon issuers test`. The reason of a refusal is for
operators: callers are told only that the token was not accepted. Claims are judged after the signature holds.
"""

from __future__ import annotations

import math
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from andon.kernel.labels import RANKS, Label
from andon.kernel.snapshot import IssuerEntry
from andon.security.identity.signing import ALGORITHMS, ID_LENGTH_MAX, SigningKey, read_keys

TOKEN_BYTES_MAX: Final = 16 * 1024
LEEWAY_S_MAX: Final = 60.0
LIST_MAX: Final = 200  # roles or groups of one token; the rest is not read
TEXT_MAX: Final = 200  # characters of a subject, team, role or group
CANDIDATES_MAX: Final = 4  # keys that are tried for a token that names none

_FORM: Final = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
_PLAIN: Final = re.compile(r"[^\x00-\x20\x7f-\xa0\u2028\u2029\"\\]+")
_KEYCLOAK: Final = (
    "This is Keycloak's default: its access tokens are for 'account' unless the client says otherwise. In Keycloak, "
    "add an Audience mapper to the client (Client scopes, dedicated scope, Add mapper, Audience, add to access token). "
    "Do not take 'account' instead: every token of the realm carries it."
)


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a token is not taken. `detail` is for operators and quotes claims only once the signature has held."""

    reason: str  # malformed, issuer, algorithm, key, signature, expired, early, audience, account, party, claims, bound
    detail: str
    issuer: str = ""  # name of the Issuer; empty = none of ours
    signer: str = ""  # id of a key that is not known
    unlearnt: bool = False  # asking the issuer for its keys may help


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a valid token says of its holder. `roles` are as the claim has them; bindings add theirs."""

    issuer: str  # name of the Issuer
    subject: str
    service: bool
    expires_at_ns: int  # leeway included
    team: str = ""
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    label: Label = "internal"
    nonce: str = ""


class _Trusted:
    """One issuer and its usable keys."""

    __slots__ = ("by_id", "entry", "keys", "leeway_s", "name")

    def __init__(self, entry: IssuerEntry) -> None:
        self.entry = entry
        self.name = entry.name
        self.leeway_s = min(max(0.0, entry.leeway_s), LEEWAY_S_MAX)
        self.keys = read_keys(entry.keys)[0] if entry.keys else ()
        self.by_id: dict[str, list[SigningKey]] = {}
        for key in self.keys:
            self.by_id.setdefault(key.id, []).append(key)


class Tokens:
    """Verifies tokens of the issuers of one snapshot."""

    def __init__(self, entries: Iterable[IssuerEntry]) -> None:
        self._trusted = {entry.issuer: _Trusted(entry) for entry in entries}

    @property
    def entries(self) -> Mapping[str, IssuerEntry]:
        """The issuers by their names."""
        return MappingProxyType({one.name: one.entry for one in self._trusted.values()})

    def replacing(self, name: str, keys: str) -> Tokens:
        """The same with other keys of one issuer."""
        return Tokens(
            msgspec.structs.replace(one.entry, keys=keys) if one.name == name else one.entry
            for one in self._trusted.values()
        )

    def verify(self, token: bytes, now_ns: int) -> Identity | Failure:
        """Who holds the token, or why it is not taken. Costs one signature check at most, or a few without a key id."""
        if len(token) > TOKEN_BYTES_MAX:
            return Failure(reason="malformed", detail=f"The token has more than {TOKEN_BYTES_MAX} bytes.")
        match = _FORM.fullmatch(token)
        if match is None:
            return Failure(reason="malformed", detail="The token is not three parts of base64url.")
        header, claims, signature = _decode(match[1]), _decode(match[2]), _bytes(match[3])
        if header is None or claims is None or signature is None:
            return Failure(reason="malformed", detail="Header or claims of the token are no JSON objects.")
        named = claims.get("iss")
        trusted = self._trusted.get(named) if isinstance(named, str) else None
        if trusted is None:
            return Failure(reason="issuer", detail="The token's `iss` is that of no Issuer of this factory.")
        failure = _check_header(header, trusted)
        if failure is None:
            failure = _check_signature(header, token[: match.end(2)], signature, trusted)
        if failure is None:
            failure = _check_times(claims, trusted, now_ns) or _check_audience(claims, trusted)
        return failure or _identity(claims, trusted)


def _bytes(part: bytes) -> bytes | None:
    if len(part) % 4 == 1:
        return None
    return urlsafe_b64decode(part + b"=" * (-len(part) % 4))


def _decode(part: bytes) -> dict[str, Any] | None:
    raw = _bytes(part)
    if raw is None:
        return None
    try:
        decoded = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return decoded


def _check_header(header: Mapping[str, Any], trusted: _Trusted) -> Failure | None:
    """Only what is understood may be there to be obeyed; keys that a token brings itself are not looked at."""

    def failed(reason: str, detail: str) -> Failure:
        return Failure(reason=reason, detail=detail, issuer=trusted.name)

    if "crit" in header or "b64" in header:
        return failed(
            "malformed", "The token demands an extension (`crit`) that is not understood (RFC 7515)."
        )
    type_ = header.get("typ", "JWT")
    if not isinstance(type_, str) or type_.lower() not in _TYPES:
        return failed(
            "malformed", "The token's `typ` is neither JWT nor at+jwt: it is something else signed."
        )
    algorithm = header.get("alg")
    if (
        not isinstance(algorithm, str)
        or algorithm not in ALGORITHMS
        or algorithm not in trusted.entry.algorithms
    ):
        allowed = ", ".join(trusted.entry.algorithms)
        return failed("algorithm", f"The token's `alg` is not one that this Issuer may use ({allowed}).")
    id_ = header.get("kid", "")
    if not isinstance(id_, str) or len(id_) > ID_LENGTH_MAX:
        return failed("malformed", "The token's `kid` is no short text.")
    return None


def _check_signature(
    header: Mapping[str, Any], message: bytes, signature: bytes, trusted: _Trusted
) -> Failure | None:
    algorithm, id_ = header["alg"], header.get("kid", "")
    candidates: Sequence[SigningKey] = trusted.by_id.get(id_, ()) if id_ else trusted.keys
    if not candidates:
        detail = (
            "No signing key of this issuer is known yet."
            if not trusted.keys
            else "The token's `kid` names a key that this issuer has not published."
        )
        return Failure(reason="key", detail=detail, issuer=trusted.name, signer=id_, unlearnt=True)
    fitting = [key for key in candidates if algorithm in key.algorithms]
    if not fitting:
        return Failure(
            reason="algorithm",
            detail="The token's `alg` does not belong to the type of the key that it names.",
            issuer=trusted.name,
        )
    if any(key.verifies(algorithm, message, signature) for key in fitting[:CANDIDATES_MAX]):
        return None
    return Failure(
        reason="signature",
        detail="The signature is not that of the issuer's key.",
        issuer=trusted.name,
        unlearnt=not id_,  # Without a key id a rotation looks like a wrong signature.
    )


def _check_times(claims: Mapping[str, Any], trusted: _Trusted, now_ns: int) -> Failure | None:
    now_s, leeway_s = now_ns / 1e9, trusted.leeway_s
    times = {}
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name)
        if value is None and name != "exp":
            continue
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
            or value < 0
        ):
            return Failure(
                reason="claims", detail=f"The token's `{name}` is missing or no time.", issuer=trusted.name
            )
        times[name] = min(float(value), 1e11)  # Beyond the year 5000 it is as good as never.
    if now_s >= times["exp"] + leeway_s:
        ago = now_s - times["exp"]
        return Failure(reason="expired", detail=f"The token expired {ago:.0f} s ago.", issuer=trusted.name)
    begins = max(times.get("nbf", 0.0), times.get("iat", 0.0))
    if begins > now_s + leeway_s:
        detail = f"The token begins in {begins - now_s:.0f} s: the clocks of the issuer and of this machine differ."
        return Failure(reason="early", detail=detail, issuer=trusted.name)
    return None


def _check_audience(claims: Mapping[str, Any], trusted: _Trusted) -> Failure | None:
    entry = trusted.entry
    named = claims.get("aud")
    audiences = [named] if isinstance(named, str) else named
    if not isinstance(audiences, list) or not all(isinstance(one, str) for one in audiences):
        audiences = []
    if not set(audiences) & set(entry.audiences):
        said = ", ".join(f"'{_shown(one)}'" for one in audiences[:5]) or "nobody"
        wanted = ", ".join(f"'{one}'" for one in entry.audiences)
        detail = f"The token is for {said}; this Issuer takes tokens for {wanted}."
        if (
            "account" in audiences
        ):  # a reason of its own, so that it is told even where others were told before
            return Failure(reason="account", detail=f"{detail} {_KEYCLOAK}", issuer=trusted.name)
        return Failure(reason="audience", detail=detail, issuer=trusted.name)
    if entry.authorised_parties:
        # RFC 9068 has the client in `client_id`; OpenID Connect Core §2 in `azp`.
        party = claims.get("azp", claims.get("client_id"))
        if not isinstance(party, str) or party not in entry.authorised_parties:
            said = f"'{_shown(party)}'" if isinstance(party, str) else "nobody that it names"
            wanted = ", ".join(f"'{one}'" for one in entry.authorised_parties)
            detail = f"The token was given to {said}; this Issuer takes those given to {wanted}."
            return Failure(reason="party", detail=detail, issuer=trusted.name)
    if "cnf" in claims:
        detail = "The token is bound to a key of its holder (`cnf`), which cannot be checked here."
        return Failure(reason="bound", detail=detail, issuer=trusted.name)
    return None


def _identity(claims: Mapping[str, Any], trusted: _Trusted) -> Identity | Failure:
    entry = trusted.entry
    subject = _claim(claims, entry.subject_claim)
    if not isinstance(subject, str) or not _is_plain(subject):
        return Failure(
            reason="claims",
            detail=f"The token's `{entry.subject_claim}` is missing or cannot name anybody.",
            issuer=trusted.name,
        )
    team = _claim(claims, entry.team_claim)
    nonce = claims.get("nonce")
    return Identity(
        issuer=trusted.name,
        subject=subject,
        service=_is_service(claims, entry.service_claim),
        expires_at_ns=int((min(float(claims["exp"]), 1e11) + trusted.leeway_s) * 1e9),
        team=team if isinstance(team, str) and _is_plain(team) else "",
        roles=_texts(_claim(claims, entry.roles_claim)),
        groups=_texts(_claim(claims, entry.groups_claim)),
        label=_label(claims, entry),
        nonce=nonce if isinstance(nonce, str) else "",
    )


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """A claim by its name, or by the path to it: names such as https://x/roles hold dots themselves."""
    if not path:
        return None
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def _texts(value: Any) -> tuple[str, ...]:
    listed = value.split() if isinstance(value, str) else value
    if not isinstance(listed, list):
        return ()
    return tuple(one for one in listed[:LIST_MAX] if isinstance(one, str) and _is_plain(one))


def _is_plain(text: str) -> bool:
    return len(text) <= TEXT_MAX and _PLAIN.fullmatch(text) is not None


def _is_service(claims: Mapping[str, Any], path: str) -> bool:
    value = _claim(claims, path)
    return value is True or (isinstance(value, str) and bool(value) and value == claims.get("sub"))


def _label(claims: Mapping[str, Any], entry: IssuerEntry) -> Label:
    """The class of the issuer, or what the claim lowers it to; a claim that is no class lowers it to the least."""
    if not entry.label_claim:
        return entry.label
    value = _claim(claims, entry.label_claim)
    if value is None:
        return entry.label
    if value not in RANKS:
        return "public"
    return value if RANKS[value] < RANKS[entry.label] else entry.label


def _shown(text: str) -> str:
    """A claim as it may stand in a log line."""
    return "".join(character if character.isprintable() else "?" for character in text[:80])
