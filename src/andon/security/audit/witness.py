"""The witness: follows a log from elsewhere and vouches for what it has seen, never for two histories.

It checks the log's signature and that each checkpoint grew out of the last one it vouched for, remembers durably, and
only then shows its cosignature (C2SP tlog-cosignature/v1, Ed25519). A rollback or a fork is kept as evidence and never
signed. It needs the log's public key; the first checkpoint is taken on trust, as any witness must.
"""

from __future__ import annotations

import base64
import fcntl
import os
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Conflict, Permanent, Refused
from andon.kernel.random import Random
from andon.ledger.disk import FileDisk
from andon.security.audit import tiles
from andon.security.audit.keys import present_key, read_keys
from andon.security.audit.notes import (
    COSIGNATURE,
    Checkpoint,
    Note,
    Vkey,
    cosign,
    cosigned_at,
    public_vkey,
    read_checkpoint,
    read_note,
    read_vkey,
    signed_by,
)
from andon.security.audit.proving import prove_consistency
from andon.security.audit.sources import LogSource, Nodes
from andon.security.audit.verifying import is_consistent
from andon.security.identity.secret_files import load_or_create

SEEN: Final = "cosigned"  # the last checkpoint vouched for, with the cosignature
LOG_KEY: Final = "log.key"  # public key of the log that is followed
OWN_KEY: Final = "witness.key"
PUBLIC: Final = "witness.pub"
EVIDENCE_MAX: Final = 100
SECONDS_NS: Final = 1_000_000_000


class Witness:
    """One witness of one log, with its state in a folder. Blocking; one process at a time."""

    def __init__(
        self, state: Path, clock: Clock, random: Random, *, key: Path | None = None, log_key: str = ""
    ) -> None:
        """`key` is a private key kept elsewhere; `log_key` pins the log. Raises `Refused`, `Conflict`, OSError."""
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._handle = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._handle)
            raise Conflict(
                "audit_witness_running",
                f"Another witness works in {state}.",
                hint="Give each its own folder.",
            ) from None
        self._state = state
        self._disk = FileDisk(state)
        self._clock = clock
        fresh = f"andon-witness/{random.secret_bytes(4).hex()} {base64.b64encode(random.secret_bytes(32)).decode()}"
        text = load_or_create(key or state / OWN_KEY, fresh)
        self._name, _, seed = text.strip().partition(" ")
        try:
            self._key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(seed, validate=True))
        except ValueError:
            raise Refused(
                "secret_file_damaged", f"{key or state / OWN_KEY} holds no key.", hint="Restore it."
            ) from None
        self._disk.replace(PUBLIC, f"{self.vkey}\n".encode())
        self._log_key = self._pinned(log_key)
        self.seen = self._read_seen()

    @property
    def vkey(self) -> Vkey:
        """Its public key, for auditors."""
        return public_vkey(self._name, COSIGNATURE, self._key)

    def close(self) -> None:
        """Let another one work in the folder."""
        os.close(self._handle)

    def look(self, source: LogSource) -> Note | None:
        """Vouch for the log's checkpoint if it has grown; None where there is nothing new.

        Raises `Permanent` (`audit_fork`, `audit_rolled_back`), `Refused` for what is no log of that key, `Transient`.
        """
        raw = source.read(tiles.CHECKPOINT)
        if raw is None:
            return None
        try:
            note = read_note(raw.decode())
        except UnicodeDecodeError:
            raise Refused("audit_form", "The checkpoint is not text.", hint="Is this a log?") from None
        log_key = self._trusted(source)
        checkpoint = read_checkpoint(note.text)
        if not signed_by(note, log_key) or checkpoint.origin != log_key.name:
            raise self._refuse("audit_key_unknown", "is not signed by the key of this log", note)
        last = self.seen
        if last is not None:
            if checkpoint == last:
                return None
            self._compare(source, last, checkpoint, note)
        at_s = self._clock.now_ns() // SECONDS_NS
        vouched = Note(note.text, (*note.signatures, cosign(note.text, self._name, self._key, at_s)))
        self._disk.replace(SEEN, str(vouched).encode())
        self.seen = checkpoint
        return vouched

    def _compare(self, source: LogSource, last: Checkpoint, now: Checkpoint, note: Note) -> None:
        if now.size < last.size:
            raise self._refuse(
                "audit_rolled_back", f"has {now.size} entries after {last.size} were seen", note
            )
        if now.size == last.size:
            if now.root != last.root:
                raise self._refuse("audit_fork", f"is another one than was seen at {last.size} entries", note)
            return
        proof = prove_consistency(Nodes(source, now.size), last.size, now.size)
        if not is_consistent(last.size, now.size, proof, last.root, now.root):
            raise self._refuse(
                "audit_fork", f"did not grow out of what was seen at {last.size} entries", note
            )

    def _refuse(self, code: str, what: str, note: Note) -> Permanent:
        """Keep the other note as evidence: with the log's own signature it proves what the log has done."""
        kept = [name for name in self._disk.list("") if name.startswith("evidence-")]
        if len(kept) < EVIDENCE_MAX:
            name = f"evidence-{read_checkpoint(note.text).root.hex()[:16]}"
            if name not in kept:
                self._disk.replace(name, str(note).encode())
        return Permanent(
            code,
            f"The log's checkpoint {what}.",
            hint=f"It was not cosigned; the evidence is in {self._state}. Ask whoever runs the log.",
        )

    def _pinned(self, given: str) -> Vkey | None:
        path = self._state / LOG_KEY
        kept = path.read_text().strip() if path.exists() else ""
        if given and kept and given.strip() != kept:
            raise Refused(
                "audit_key_unknown",
                "This folder belongs to a witness of another log.",
                hint="Give it one of its own.",
            )
        if not (given or kept):
            return None
        vkey = read_vkey(given or kept)
        if not kept:
            self._disk.replace(LOG_KEY, f"{vkey}\n".encode())
        return vkey

    def _trusted(self, source: LogSource) -> Vkey:
        """The key that signs now. Without a pinned one the log's first key is taken on trust, this once."""
        keys = read_keys(source.read(tiles.KEYS) or b"")
        if self._log_key is None:
            if not keys:
                raise Refused("audit_key_unknown", "The log shows no public key.", hint="Give --public-key.")
            self._log_key = read_vkey(keys[0].vkey)
            self._disk.replace(LOG_KEY, f"{self._log_key}\n".encode())
        return present_key(self._log_key, keys)

    def _read_seen(self) -> Checkpoint | None:
        try:
            raw = self._disk.read(SEEN)
        except FileNotFoundError:
            return None
        note = read_note(raw.decode())
        if not signed_by(note, self.vkey):
            raise Permanent(
                "audit_witness_damaged",
                f"{self._state / SEEN} is not what this witness has signed.",
                hint="It will vouch for nothing before the file is restored.",
            )
        return read_checkpoint(note.text)


def read_witness_state(folder: str) -> tuple[int, int] | None:
    """(entries, time in seconds) that a witness on this machine has vouched for; None where there is none."""
    if not folder:
        return None
    try:
        note = read_note((Path(folder) / SEEN).read_text())
        vkey = read_vkey((Path(folder) / PUBLIC).read_text())
        at_s = cosigned_at(note, vkey)
        return None if at_s is None else (read_checkpoint(note.text).size, at_s)
    except (OSError, UnicodeDecodeError, AndonError):
        return None
