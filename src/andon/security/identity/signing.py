"""Signing keys of an issuer: a JSON Web Key Set (RFC 7517), read with suspicion, as the few keys that may verify.

Pure. A key is usable for the algorithms of its own type only, so that a token can never choose how it is checked;
symmetric keys are never taken, whatever a set says. What is not usable is left out and named.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from typing import Any, Final

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

SET_BYTES_MAX: Final = 256 * 1024
KEYS_MAX: Final = 100  # of one set; the rest is left out
ID_LENGTH_MAX: Final = 256
RSA_BITS_MIN, RSA_BITS_MAX = (
    2048,
    8192,
)  # NIST SP 800-131A; beyond the upper bound one check costs milliseconds

_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: Final = {
    "P-256": frozenset({"ES256"}),
    "P-384": frozenset({"ES384"}),
    "P-521": frozenset({"ES512"}),
    "Ed25519": frozenset({"EdDSA", "Ed25519"}),  # RFC 9864 gives the same algorithm a second name
}
ALGORITHMS: Final = _RSA.union(*_CURVES.values())


class SigningKey:
    """One public key and the algorithms that it may be used with."""

    __slots__ = ("_key", "algorithms", "id")

    def __init__(self, id_: str, key: RSAKey | ECKey | OKPKey, algorithms: frozenset[str]) -> None:
        self.id = id_  # empty where the set gives none
        self.algorithms = algorithms
        self._key = key

    def verifies(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's over `message` (RFC 7515 §5.2). False for every other algorithm."""
        if algorithm not in self.algorithms:
            return False
        try:
            return bool(JWSRegistry.algorithms[algorithm].verify(message, signature, self._key))
        # A signature is hostile input and the primitives below raise many kinds of errors for bad lengths and
        # encodings: whatever they say, it is not a valid signature.
        except Exception:
            return False


def read_keys(text: str | bytes) -> tuple[tuple[SigningKey, ...], tuple[str, ...]]:
    """The usable keys of a set, and why others are not. A text that is no key set has no keys and one reason."""
    if len(text) > SET_BYTES_MAX:
        return (), (f"The key set has more than {SET_BYTES_MAX} bytes.",)
    try:
        document = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        return (), ("The key set is no JSON object.",)
    listed = document.get("keys")
    if not isinstance(listed, list):
        return (), ("The key set has no list of keys.",)
    found, problems = [], []
    for number, item in enumerate(listed[:KEYS_MAX]):
        key = _read_key(item)
        if isinstance(key, str):
            problems.append(f"Key {number + 1}: {key}.")
        else:
            found.append(key)
    if len(listed) > KEYS_MAX:
        problems.append(f"Only the first {KEYS_MAX} keys are looked at.")
    return tuple(found), tuple(problems)


def _read_key(item: Any) -> SigningKey | str:
    """A key, or why it cannot be used here."""
    if not isinstance(item, dict):
        return "it is no object"
    if item.get("use", "sig") != "sig":
        return "it is not for signatures"
    operations = item.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return "it may not verify"
    id_ = item.get("kid", "")
    if not isinstance(id_, str) or len(id_) > ID_LENGTH_MAX:
        return "its id is no short text"
    kind = item.get("kty")
    fitting = _RSA if kind == "RSA" else _CURVES.get(str(item.get("crv")), frozenset())
    if kind not in ("RSA", "EC", "OKP") or not fitting:
        return "its type is none that is taken"
    stated = item.get("alg")
    if stated is not None:
        fitting = fitting & {stated} if isinstance(stated, str) else frozenset()
        if stated in ("EdDSA", "Ed25519"):
            fitting = _CURVES["Ed25519"] if kind == "OKP" else frozenset()
    if not fitting:
        return "its algorithm does not fit its type"
    return _import(item, str(kind), id_, fitting)


def _import(item: dict[str, Any], kind: str, id_: str, fitting: frozenset[str]) -> SigningKey | str:
    # Private members are not read: a set that publishes them is broken, and we need none of it.
    names = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y"), "OKP": ("kty", "crv", "x")}[kind]
    bare: Any = {name: item[name] for name in names if name in item}
    try:
        key: RSAKey | ECKey | OKPKey
        if kind == "RSA":
            modulus = urlsafe_b64decode(str(bare["n"]) + "==")
            if not RSA_BITS_MIN <= int.from_bytes(modulus, "big").bit_length() <= RSA_BITS_MAX:
                return f"an RSA key has {RSA_BITS_MIN} to {RSA_BITS_MAX} bits"
            key = RSAKey.import_key(bare)
            _ = key.public_key
        elif kind == "EC":
            key = ECKey.import_key(bare)
            _ = key.public_key
        else:
            key = OKPKey.import_key(bare)
            _ = key.public_key
    except (JoseError, ValueError, TypeError, KeyError, OverflowError):
        return "it is damaged"
    return SigningKey(id_, key, fitting)
