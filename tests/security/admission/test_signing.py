"""Signatures: only a declared signer, only these bytes, only this shape; any flip of any byte is refused."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.kernel.errors import Refused
from andon.security.admission.controller import check_signature
from andon.security.admission.model import FileEntry
from andon.security.admission.signing import (
    SIGNATURE_FILE,
    private_pem,
    public_text,
    read_private_key,
    read_public_key,
    sign,
    statement_of,
    verify,
)

KEY = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"\x08" * 32)
SIGNERS = {"builder": KEY.public_key()}
FILES = (
    FileEntry(name="MLmodel", size=3, sha256="ab" * 32),
    FileEntry(name="data/model.pkl", size=9, sha256="cd" * 32),
)
BUNDLE = sign(statement_of("credit", FILES), KEY)


def test_what_was_signed_verifies_and_names_its_signer() -> None:
    assert verify(BUNDLE, FILES, SIGNERS).signer == "builder"
    assert verify(BUNDLE, FILES[::-1], {"other": OTHER.public_key(), **SIGNERS}).signer == "builder"


def test_it_has_the_shape_of_openssf_model_signing() -> None:
    bundle = json.loads(BUNDLE)
    assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert bundle["dsseEnvelope"]["payloadType"] == "application/vnd.in-toto+json"
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://model_signing/signature/v1.0"
    assert [one["name"] for one in statement["predicate"]["resources"]] == ["MLmodel", "data/model.pkl"]
    assert [one["name"] for one in statement["subject"]] == ["credit"]


def test_a_bare_envelope_verifies_as_well() -> None:
    assert verify(json.dumps(json.loads(BUNDLE)["dsseEnvelope"]).encode(), FILES, SIGNERS).signer == "builder"


@pytest.mark.parametrize(
    "files",
    [
        FILES[:1],
        (*FILES, FileEntry(name="added.py", size=1, sha256="ee" * 32)),
        (FILES[0], FileEntry(name="data/model.pkl", size=9, sha256="ce" * 32)),
        (FILES[0], FileEntry(name="data/renamed.pkl", size=9, sha256="cd" * 32)),
        (),
    ],
)
def test_other_files_are_refused(files: tuple[FileEntry, ...]) -> None:
    with pytest.raises(Refused) as refused:
        verify(BUNDLE, files, SIGNERS)
    assert refused.value.code == "signature_mismatch"


def test_another_signer_is_refused() -> None:
    for signers in ({"other": OTHER.public_key()}, {}):
        with pytest.raises(Refused) as refused:
            verify(BUNDLE, FILES, signers)
        assert refused.value.code == "signature_wrong"


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(BUNDLE) - 1), st.integers(0, 255))
def test_a_changed_bundle_is_refused_or_says_the_same(at: int, value: int) -> None:
    changed = bytearray(BUNDLE)
    changed[at] = value
    try:
        assert verify(bytes(changed), FILES, SIGNERS).signer == "builder"
    except Refused:
        return
    before, after = (json.loads(text)["dsseEnvelope"] for text in (BUNDLE, bytes(changed)))
    assert base64.b64decode(after["payload"]) == base64.b64decode(before["payload"])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        verify(data, FILES, SIGNERS)


def test_keys_are_read_as_they_are_written(tmp_path: Path) -> None:
    assert read_private_key(private_pem(KEY)).private_bytes_raw() == KEY.private_bytes_raw()
    assert (
        read_public_key(public_text(KEY.public_key())).public_bytes_raw()
        == KEY.public_key().public_bytes_raw()
    )
    for wrong in ("", "AAAA", "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----", "ключ"):
        with pytest.raises(ValueError, match=r"\w"):
            read_public_key(wrong)
    with pytest.raises(Refused):
        read_private_key(b"nothing")


def test_a_pipe_in_the_place_of_a_signature_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / SIGNATURE_FILE)
    assert "no plain file" in check_signature(tmp_path, [], dict(SIGNERS)).problem
