"""The factory's own secrets: the pepper and the keys of the administrator and the gateway, as files of mode 0600.

Called by `app` at the start of a process. A secret that others can read, or that anybody could guess, refuses to start.
The content of a file is never part of a message.
"""

from __future__ import annotations

import math
import os
import stat
from collections import Counter
from pathlib import Path

from andon.kernel.errors import Refused
from andon.kernel.random import Random
from andon.security.identity.token import make_token, public_id

PEPPER_BYTES = 32
SECRET_BYTES_MAX = 4096
ADMIN_KEY_LENGTH_MIN = 24
ADMIN_KEY_BITS_MIN = 80.0  # by its own letters; NIST SP 800-131A asks for 112 of a random key, ours have 192

# Values that documentation, images and tutorials of gateways ship with; any key that contains one is refused.
_WELL_KNOWN = (
    "sk-1234", "sk-12345", "changeme", "change-me", "change_me", "password", "passw0rd", "letmein", "secret-key",
    "your-key", "your_key", "your-api-key", "yourapikey", "my-secret", "mysecret", "admin123", "adminadmin", "default",
    "example", "placeholder", "qwerty", "123456", "abcdef", "test-key", "testkey", "anything", "sk-proj-xxx", "xxxx",
)  # fmt: skip


def check_admin_key(text: str) -> None:
    """Refuse an administrator's key that is short, monotonous or known to everybody; raises Refused."""
    hint = "Remove the file and start again: a strong key is made for you."
    if public_id(text.encode()) is not None:
        return
    if len(text) < ADMIN_KEY_LENGTH_MIN:
        why = f"it has {len(text)} characters, and at least {ADMIN_KEY_LENGTH_MIN} are needed"
    elif any(character.isspace() or not character.isprintable() for character in text):
        why = "it holds blanks or control characters"
    elif any(known in text.lower() for known in _WELL_KNOWN):
        why = "it contains a value that everybody knows"
    elif _letter_bits(text) < ADMIN_KEY_BITS_MIN:
        why = "it repeats itself too much"
    else:
        return
    raise Refused("weak_key", f"The administrator's key is too weak: {why}.", hint=hint)


def _letter_bits(text: str) -> float:
    """Shannon entropy of the letters' own frequencies, in bits: an upper bound that monotonous keys fail."""
    counts = Counter(text).values()
    return -sum(count * math.log2(count / len(text)) for count in counts)


def load_or_create_pepper(path: Path, random: Random) -> bytes:
    """The 32 bytes that key every stored hash, from a file of hex digits; made on the first start.

    Losing this file makes every key unknown. Raises Refused if others can read it or it is not what was written.
    """
    text = load_or_create(path, random.secret_bytes(PEPPER_BYTES).hex())
    try:
        pepper = bytes.fromhex(text)
    except ValueError:
        pepper = b""
    if len(pepper) != PEPPER_BYTES:
        raise Refused(
            "secret_file_damaged",
            f"{path} does not hold {2 * PEPPER_BYTES} hex digits.",
            hint="Restore it from a backup; without it, every API key must be made anew.",
        )
    return pepper


def load_or_create_key(path: Path, random: Random) -> str:
    """A key of the factory itself (administrator, gateway), checked; made on the first start. Raises Refused."""
    text = load_or_create(path, make_token(random).text)
    check_admin_key(text)
    return text


def load_or_create(path: Path, fresh: str) -> str:
    """The text of a secret file, or `fresh` written to a new one of mode 0600. Raises Refused if others can read it."""
    if path.exists():
        return load(path)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, 0o600)
            file.write(fresh + "\n")
            file.flush()
            os.fsync(descriptor)
        # A link appears whole and only once: of two processes that start together, both read the same secret.
        os.link(draft, path)
    except FileExistsError:
        return load(path)
    finally:
        draft.unlink()
    return fresh


def load(path: Path) -> str:
    """The text of a secret file without surrounding blanks. Raises Refused if missing, empty or open to others."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise Refused(
            "secret_file_unreadable",
            f"{path} cannot be opened: {error.strerror}.",
            hint="A secret is a plain file, no link, readable by the user that runs Andon.",
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise Refused(
                "secret_file_open",
                f"{path} can be read by other users of this machine.",
                hint=f"Run: chmod 600 {path}; and if somebody may have read it, remove it to make a new one.",
            )
        text = file.read(SECRET_BYTES_MAX + 1).decode("utf-8", "replace").strip()
    if not text or len(text) > SECRET_BYTES_MAX:
        raise Refused(
            "secret_file_damaged",
            f"{path} is {'empty' if not text else 'too long'}.",
            hint="Restore it from a backup, or remove it to make a new one.",
        )
    return text
