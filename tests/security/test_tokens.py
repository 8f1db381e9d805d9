"""What a token must be to be taken, piece by piece, and that nothing hostile gets further than a refusal."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from andon.kernel.snapshot import IssuerEntry
from andon.security.identity.signing import KEYS_MAX, SET_BYTES_MAX, read_keys
from andon.security.identity.tokens import TOKEN_BYTES_MAX, Failure, Identity, Tokens
from andon.testing.issuer import make_key

NOW_S = 1_800_000_000
NOW_NS = NOW_S * 10**9
RSA, OTHER, CURVE, EDWARDS = (
    make_key("rsa"),
    make_key("other"),
    make_key("curve", "ES256"),
    make_key("edwards", "Ed25519"),
)
SET = json.dumps(KeySet([RSA, CURVE, EDWARDS]).as_dict(private=False))
ENTRY = IssuerEntry(
    name="corp",
    issuer="https://sso.example.com",
    audiences=("andon", "andon-2"),
    keys=SET,
    subject_claim="sub",
    roles_claim="realm_access.roles",
    groups_claim="https://example.com/groups",
    team_claim="team",
    label_claim="label",
    service_claim="is_service",
    label="confidential",
)
CLAIMS = {"iss": ENTRY.issuer, "aud": "andon", "sub": "ann", "exp": NOW_S + 60}


def sign(key: Any = RSA, header: dict[str, Any] | None = None, **claims: Any) -> bytes:
    algorithm = str(key.as_dict(private=False)["alg"])
    head = {"alg": algorithm, "kid": key.kid, **(header or {})}
    wanted = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    part = ".".join(
        base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=").decode()
        for one in ({name: value for name, value in head.items() if value is not None}, wanted)
    )
    signature = JWSRegistry.algorithms[algorithm].sign(part.encode(), key)
    return part.encode() + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")


def verify(token: bytes, entry: IssuerEntry = ENTRY, now_ns: int = NOW_NS) -> Identity | Failure:
    return Tokens([entry]).verify(token, now_ns)


def reason(token: bytes, entry: IssuerEntry = ENTRY, now_ns: int = NOW_NS) -> str:
    found = verify(token, entry, now_ns)
    assert isinstance(found, Failure), found
    return found.reason


@pytest.mark.parametrize("key", [RSA, CURVE, EDWARDS], ids=["RS256", "ES256", "Ed25519"])
def test_a_token_of_each_kind_of_key_is_taken(key: Any) -> None:
    entry = msgspec.structs.replace(ENTRY, algorithms=("RS256", "ES256", "Ed25519", "EdDSA"))
    if key is EDWARDS:  # the same under the name that RFC 8037 gave it
        assert isinstance(verify(sign(key, {"alg": "EdDSA"}), entry), Identity)
    found = verify(sign(key), entry)
    assert isinstance(found, Identity), found
    assert (found.issuer, found.subject, found.service, found.label) == ("corp", "ann", False, "confidential")
    assert found.expires_at_ns == (NOW_S + 90) * 10**9


def test_claims_are_found_by_name_and_by_path() -> None:
    found = verify(
        sign(
            realm_access={"roles": ["operator", "a b", 7, "x" * 500]},
            team="crew",
            label="internal",
            is_service=True,
            **{"https://example.com/groups": ["ml", "\x00"]},
        )
    )
    assert isinstance(found, Identity)
    assert (found.roles, found.groups, found.team) == (("operator",), ("ml",), "crew")
    assert (found.label, found.service) == ("internal", True)


@pytest.mark.parametrize(
    ("said", "label"),
    [("restricted", "confidential"), ("public", "public"), ("secret", "public"), (7, "public")],
)
def test_a_label_is_only_ever_lowered(said: Any, label: str) -> None:
    found = verify(sign(label=said))
    assert isinstance(found, Identity)
    assert found.label == label


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"aud": None}, "audience"),
        ({"aud": []}, "audience"),
        ({"aud": {"andon": 1}}, "audience"),
        ({"aud": ["andon", 7]}, "audience"),
        ({"aud": "ANDON"}, "audience"),
        ({"aud": "account"}, "account"),
        ({"exp": NOW_S - 30}, "expired"),
        ({"exp": "never"}, "claims"),
        ({"exp": True}, "claims"),
        ({"exp": None}, "claims"),
        ({"exp": -1}, "claims"),
        ({"nbf": NOW_S + 31}, "early"),
        ({"nbf": "now"}, "claims"),
        ({"iat": NOW_S + 3600}, "early"),
        ({"iss": ENTRY.issuer + "/"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"iss": [ENTRY.issuer]}, "issuer"),
        ({"sub": None}, "claims"),
        ({"sub": ""}, "claims"),
        ({"sub": "a b"}, "claims"),
        ({"sub": "x" * 201}, "claims"),
        ({"sub": 'a"b'}, "claims"),
        ({"cnf": {"jkt": "x"}}, "bound"),
    ],
)
def test_claims_that_do_not_do(claims: dict[str, Any], expected: str) -> None:
    assert reason(sign(**claims)) == expected


def test_the_leeway_is_granted_at_both_ends_and_never_more_than_a_minute() -> None:
    assert isinstance(verify(sign(exp=NOW_S - 29, nbf=NOW_S + 29)), Identity)
    wide = msgspec.structs.replace(ENTRY, leeway_s=1e9)
    assert reason(sign(exp=NOW_S - 61), wide) == "expired"
    assert isinstance(verify(sign(exp=1e300)), Identity)


def test_the_operator_is_told_of_keycloak_only_where_it_is_keycloak() -> None:
    told = verify(sign(aud=["account"]))
    other = verify(sign(aud="billing\x1b[31m"))
    assert isinstance(told, Failure)
    assert isinstance(other, Failure)
    assert "Audience mapper" in told.detail
    assert "Keycloak" not in other.detail
    assert "\x1b" not in other.detail


def test_the_client_that_a_token_was_given_to() -> None:
    entry = msgspec.structs.replace(ENTRY, authorised_parties=("web",))
    assert isinstance(verify(sign(azp="web"), entry), Identity)
    assert isinstance(verify(sign(client_id="web"), entry), Identity)
    assert reason(sign(azp="other", client_id="web"), entry) == "party"
    assert reason(sign(), entry) == "party"
    assert reason(sign(aud="account", azp="web"), entry) == "account"  # one is no excuse for the other


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"typ": "logout+jwt"}, "malformed"),
        ({"typ": 7}, "malformed"),
        ({"kid": "x" * 257}, "malformed"),
        ({"kid": "unknown"}, "key"),
        ({"kid": "../../etc/passwd"}, "key"),
        ({"kid": "curve"}, "algorithm"),
        ({"alg": "PS256"}, "algorithm"),
        ({"alg": "none"}, "algorithm"),
        ({"alg": "HS256"}, "algorithm"),
        ({"alg": ["RS256"]}, "algorithm"),
        ({"alg": None}, "algorithm"),
        ({"crit": []}, "malformed"),
        ({"b64": False}, "malformed"),
    ],
)
def test_headers_that_do_not_do(header: dict[str, Any], expected: str) -> None:
    assert reason(sign(header=header)) == expected


def test_only_a_key_that_is_missing_is_worth_asking_for() -> None:
    missing = verify(sign(OTHER))
    assert isinstance(missing, Failure)
    assert (missing.unlearnt, missing.signer) == (True, "other")
    forged = verify(sign(OTHER, {"kid": "rsa"}))
    assert isinstance(forged, Failure)
    assert (forged.reason, forged.unlearnt) == ("signature", False)
    nameless = verify(sign(OTHER, {"kid": None}))
    assert isinstance(nameless, Failure)
    assert (nameless.reason, nameless.unlearnt) == ("signature", True)
    assert isinstance(verify(sign(header={"kid": None})), Identity)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_change_of_a_single_character_is_taken(data: st.DataObject) -> None:
    token = bytearray(sign(CURVE))
    place = data.draw(st.integers(0, len(token) - 1))
    before = token[place]
    token[place] = data.draw(st.integers(0, 255).filter(lambda one: one != before))
    found = verify(bytes(token))
    if isinstance(found, Identity):
        # The last character of a part may carry bits that base64url does not use; what was signed is the same.
        assert all(
            base64.urlsafe_b64decode(a + b"==") == base64.urlsafe_b64decode(b + b"==")
            for a, b in zip(bytes(token).split(b"."), sign_parts(bytes(token), place, before), strict=True)
        )


def sign_parts(token: bytes, place: int, before: int) -> list[bytes]:
    original = bytearray(token)
    original[place] = before
    return bytes(original).split(b".")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.binary(max_size=400), st.binary(max_size=100))
def test_whatever_stands_in_the_parts_is_refused(header: bytes, claims: bytes, signature: bytes) -> None:
    parts = [base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, claims, signature)]
    assert isinstance(verify(b".".join(parts)), Failure)
    assert isinstance(verify(header), Failure)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "azp", "team"]), JSON))
def test_signed_claims_of_any_shape_never_raise(claims: dict[str, Any]) -> None:
    head = {"alg": "ES256", "kid": "curve"}
    token = jwt.encode(head, {"iss": ENTRY.issuer, **claims}, CURVE, algorithms=["ES256"]).encode()
    verify(token)


def test_sizes_have_bounds() -> None:
    assert reason(b"eyJ" + b"a" * TOKEN_BYTES_MAX + b".b.c") == "malformed"
    assert read_keys(b" " * (SET_BYTES_MAX + 1))[0] == ()
    many = json.dumps({"keys": [CURVE.as_dict(private=False)] * (KEYS_MAX + 5)})
    keys, problems = read_keys(many)
    assert len(keys) == KEYS_MAX
    assert problems
    deep = b'{"a":' * 5000 + b"1" + b"}" * 5000
    part = base64.urlsafe_b64encode(deep).rstrip(b"=")
    assert reason(part[:5000] + b"." + part[:5000] + b".AA") == "malformed"


def test_keys_that_may_not_verify_are_left_out() -> None:
    bare = RSA.as_dict(private=False)
    small = {**bare, "n": base64.urlsafe_b64encode(b"\xff" * 128).decode().rstrip("=")}
    wrong: list[Any] = [
        {**bare, "use": "enc"},
        {**bare, "key_ops": ["encrypt"]},
        {**bare, "alg": "HS256"},
        {**bare, "alg": "ES256"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "rsa"},
        {**bare, "n": "!"},
        {**bare, "kid": 7},
        {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
        {"kty": "EC", "crv": "secp256k1"},
        small,
        None,
        7,
        "key",
    ]
    keys, problems = read_keys(json.dumps({"keys": wrong}))
    assert keys == ()
    assert len(problems) == len(wrong)
    for text in ("", "[]", "{", '{"keys":{}}', '{"keys":null}', "\x00"):
        assert read_keys(text)[0] == ()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["kty", "crv", "x", "y", "n", "e", "use", "alg", "kid", "key_ops"]), JSON
        )
    )
)
def test_key_sets_of_any_shape_never_raise(keys: list[dict[str, Any]]) -> None:
    read_keys(json.dumps({"keys": keys}))
