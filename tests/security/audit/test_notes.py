"""Notes and checkpoints as C2SP states them; anything that is not exactly of the form is refused."""

from __future__ import annotations

import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.kernel.errors import Refused
from andon.security.audit.notes import (
    COSIGNATURE,
    ED25519,
    Checkpoint,
    Note,
    cosign,
    cosigned_at,
    public_vkey,
    read_checkpoint,
    read_note,
    read_vkey,
    sign,
    signed_by,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
# The example of golang.org/x/mod/sumdb/note, whose format C2SP signed-note is.
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
SOFA = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "\u2014 example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "\u2014 witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)


def test_a_published_note_is_read_and_its_signature_holds() -> None:
    vkey = read_vkey(NEUMANN)
    assert str(vkey) == NEUMANN
    note = read_note(NOTE)
    assert signed_by(note, vkey)
    assert str(note) == NOTE
    assert not signed_by(Note(note.text.replace("your", "my"), note.signatures), vkey)


def test_the_published_checkpoint_is_read() -> None:
    note = read_note(SOFA)
    checkpoint = read_checkpoint(note.text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.text == note.text
    assert str(note) == SOFA
    assert [len(one.raw) for one in note.signatures] == [64, 72]
    assert int.from_bytes(note.signatures[1].raw[:8], "big") == 1679315147


def test_a_log_signs_and_a_witness_cosigns() -> None:
    text = Checkpoint("log", 7, bytes(32)).text
    note = Note(text, (sign(text, "log", KEY), cosign(text, "witness", KEY, 1_700_000_000)))
    again = read_note(str(note))
    assert signed_by(again, public_vkey("log", ED25519, KEY))
    assert cosigned_at(again, public_vkey("witness", COSIGNATURE, KEY)) == 1_700_000_000
    assert cosigned_at(again, public_vkey("log", ED25519, KEY)) is None  # a log is no witness
    assert not signed_by(again, public_vkey("other", ED25519, KEY))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no signature\n\n",
        NOTE[:-1],
        NOTE.replace("\u2014 ", "- "),
        NOTE.replace("x08go", "x08g"),
        NOTE + "\n",
        NOTE.replace("PeterNeumann ", "Peter Neumann "),
        NOTE.replace("\n\n", "\n"),
        "x" * 70_000 + NOTE,
    ],
)
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        read_note(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "log\n",
        "log\n7\n",
        "log\n07\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "log\n-1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "log\n7\nAAAA\n",
        "log\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\n",
        "\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "log\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\nmore\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        read_checkpoint(text)


@pytest.mark.parametrize(
    "change", [("c74f20a3", "c74f20a4"), ("ARpc", "BRpc"), ("+", "-"), ("10TW", "10T"), ("ARpc", "AR+c")]
)
def test_a_key_with_a_slip_is_refused(change: tuple[str, str]) -> None:
    with pytest.raises(Refused):
        read_vkey(NEUMANN.replace(*change))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_nothing_else_comes_out_of_any_text(text: str) -> None:
    for read in (read_note, read_checkpoint, read_vkey):
        with contextlib.suppress(Refused):
            read(text)  # type: ignore[operator]
