"""Signatures of models in the shape of OpenSSF Model Signing v1.0, by Ed25519 keys that the factory declares.

A Sigstore bundle holds a DSSE envelope (payload type application/vnd.in-toto+json) around an in-toto Statement v1: its
one subject is the model, its predicate lists every file with its SHA-256. No key is ever read from what it verifies.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from andon.kernel.errors import Refused
from andon.security.admission.model import FileEntry

SIGNATURE_FILE = "model.sig"
SIGNATURE_BYTES_MAX = 16 << 20
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_SIGNATURES_MAX = 16


class _Digest(msgspec.Struct, frozen=True):
    sha256: str


class _Subject(msgspec.Struct, frozen=True):
    name: str
    digest: _Digest


class _Resource(msgspec.Struct, frozen=True):
    name: str
    digest: str
    algorithm: str = "sha256"


class _Serialization(msgspec.Struct, frozen=True):
    method: str = "files"
    hash_type: str = "sha256"
    allow_symlinks: bool = False
    ignore_paths: tuple[str, ...] = ()


class _Predicate(msgspec.Struct, frozen=True):
    resources: tuple[_Resource, ...]
    serialization: _Serialization = _Serialization()


class Statement(
    msgspec.Struct, frozen=True, kw_only=True, rename={"type_": "_type", "predicate_type": "predicateType"}
):
    """What is signed."""

    type_: str = STATEMENT_TYPE
    subject: tuple[_Subject, ...]
    predicate_type: str = PREDICATE_TYPE
    predicate: _Predicate


class _Signature(msgspec.Struct, frozen=True):
    sig: str
    keyid: str = ""


class _Envelope(msgspec.Struct, frozen=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: tuple[_Signature, ...]


class _Bundle(msgspec.Struct, frozen=True, rename="camel"):
    dsse_envelope: _Envelope


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """A signature that holds."""

    signer: str
    digest: str  # of the subject, hex


def statement_of(name: str, files: Sequence[FileEntry]) -> Statement:
    """The statement about these files; the subject's digest is SHA-256 over the files' digests in order of names."""
    ordered = sorted(files, key=lambda file: file.name)
    whole = hashlib.sha256(b"".join(bytes.fromhex(file.sha256) for file in ordered)).hexdigest()
    return Statement(
        subject=(_Subject(name, _Digest(whole)),),
        predicate=_Predicate(
            tuple(_Resource(file.name, file.sha256) for file in ordered),
            _Serialization(ignore_paths=(SIGNATURE_FILE, ".git", "__pycache__", ".DS_Store")),
        ),
    )


def sign(statement: Statement, key: Ed25519PrivateKey) -> bytes:
    """The bundle as JSON."""
    payload = msgspec.json.encode(statement)
    public = key.public_key()
    bundle = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": key_id(public)}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(key.sign(_encoded(payload))).decode(), "keyid": ""}],
        },
    }
    return msgspec.json.encode(bundle) + b"\n"


def verify(bundle: bytes, files: Sequence[FileEntry], signers: Mapping[str, Ed25519PublicKey]) -> Verified:
    """Who of `signers` signed exactly these files; raises `Refused` with what is wrong otherwise."""
    envelope = _envelope(bundle)
    try:
        payload = base64.b64decode(envelope.payload, validate=True)
        signatures = [
            base64.b64decode(one.sig, validate=True) for one in envelope.signatures[:_SIGNATURES_MAX]
        ]
    except (binascii.Error, ValueError) as error:
        raise _refused("signature_unreadable", "The signature is not base64.") from error
    signer = _signer(_encoded(payload), signatures, signers)
    if signer is None:
        raise _refused("signature_wrong", "No signer that this factory declares signed it.")
    try:
        statement = msgspec.json.decode(payload, type=Statement)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _refused("signature_unreadable", "What was signed is no statement about a model.") from error
    _check(statement, files)
    return Verified(signer=signer, digest=statement.subject[0].digest.sha256)


def _envelope(bundle: bytes) -> _Envelope:
    if len(bundle) > SIGNATURE_BYTES_MAX:
        raise _refused("signature_unreadable", "The signature is too large to be one.")
    try:
        document = msgspec.json.decode(bundle)
        is_bundle = isinstance(document, dict) and "dsseEnvelope" in document
        envelope = (
            msgspec.convert(document, _Bundle).dsse_envelope
            if is_bundle
            else msgspec.convert(document, _Envelope)
        )
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _refused(
            "signature_unreadable", "The signature is no DSSE envelope and no Sigstore bundle."
        ) from error
    if envelope.payload_type != PAYLOAD_TYPE:
        raise _refused(
            "signature_unreadable", "The signature is about something other than an in-toto statement."
        )
    return envelope


def _signer(
    signed: bytes, signatures: Sequence[bytes], signers: Mapping[str, Ed25519PublicKey]
) -> str | None:
    for name, key in signers.items():
        for signature in signatures:
            try:
                key.verify(signature, signed)
            except InvalidSignature:  # by another signer perhaps; who is found by none is refused
                continue
            return name
    return None


def _check(statement: Statement, files: Sequence[FileEntry]) -> None:
    """Every file and no other, by name and content."""
    if statement.type_ != STATEMENT_TYPE or statement.predicate_type != PREDICATE_TYPE:
        raise _refused("signature_unreadable", "What was signed is no signature of a model.")
    resources = statement.predicate.resources
    signed = {resource.name: resource for resource in resources}
    if len(statement.subject) != 1 or len(signed) != len(resources):
        raise _refused("signature_unreadable", "What was signed names a model or a file twice.")
    have = {file.name: file for file in files}
    for name in sorted(signed.keys() | have.keys()):
        if name not in have:
            raise _refused("signature_mismatch", f"{_shown(name)} was signed and is missing.")
        if name not in signed:
            raise _refused("signature_mismatch", f"{_shown(name)} was not signed.")
        if signed[name].algorithm != "sha256" or signed[name].digest != have[name].sha256:
            raise _refused("signature_mismatch", f"{_shown(name)} is not what was signed.")
    expected = statement_of(statement.subject[0].name, files).subject[0].digest.sha256
    if statement.subject[0].digest.sha256 != expected:
        raise _refused("signature_mismatch", "The digest of the whole is not that of its files.")


def _encoded(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding (secure-systems-lab/dsse, protocol.md)."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def key_id(key: Ed25519PublicKey) -> str:
    """SHA-256, in hex, of the key's DER form."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def read_public_key(text: str) -> Ed25519PublicKey:
    """A PEM public key, or the 32 bytes in base64; raises ValueError."""
    given = text.strip()
    try:
        if given.startswith("-----"):
            key: Any = load_pem_public_key(given.encode())
        else:
            key = Ed25519PublicKey.from_public_bytes(base64.b64decode(given, validate=True))
    except (binascii.Error, UnsupportedAlgorithm, UnicodeEncodeError) as error:
        raise ValueError("it is no public key") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("it is no Ed25519 key")
    return key


def read_private_key(pem: bytes) -> Ed25519PrivateKey:
    """The key of a PEM file (PKCS #8, not encrypted); raises `Refused`."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _refused(
            "signing_key_unreadable", "The signing key is no PEM private key without a password."
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _refused("signing_key_unreadable", "The signing key is no Ed25519 key.")
    return key


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """PKCS #8."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_text(key: Ed25519PublicKey) -> str:
    """The 32 bytes in base64: what a Signer declares."""
    return base64.b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def _shown(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name[:120])


def _refused(code: str, message: str) -> Refused:
    return Refused(
        code,
        message,
        hint="Sign the very files that are served: andon models sign FOLDER --key KEY, by a declared Signer.",
        status=422,
    )
