"""Wrapping keys (KEKs): several versions in a file or a variable; several sources, the first of which wraps.

The file is `.andon/kek`, made on the first start, mode 0600. Other processes may rotate it at any time: before a key is
wrapped and when a version is unknown, a file that changed is read again. The content of a key is never in a message.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

from andon.kernel.errors import Conflict, Refused
from andon.kernel.random import Random
from andon.security.identity.secret_files import load, load_or_create
from andon.security.secrets.envelope import (
    KEY_BYTES,
    Context,
    Wrapped,
    Wrapper,
    refusal,
    unwrap_by,
    wrap_by,
)

VERSIONS_MAX: Final = 32


class Rotating(Wrapper, Protocol):
    """A source of wrapping keys whose versions Andon itself can make and remove."""

    def rotate(self) -> int:
        """Make a new version, which wraps from now on; its number."""
        ...

    def remove(self, version: int) -> None:
        """Forget a version that nothing refers to any more. Raises Conflict for the present one."""
        ...

    def versions(self) -> tuple[int, ...]:
        """The versions that are there, oldest first."""
        ...


class Versions:
    """Keys by version under one name: what a file or a variable holds."""

    def __init__(self, name: str, keys: Mapping[int, bytes], random: Random) -> None:
        self.name = name
        self.keys = dict(keys)
        self._random = random

    def present(self) -> tuple[str, int]:
        """Name and version of the key that wraps now."""
        return self.name, max(self.keys)

    def fresh(self, context: Context) -> tuple[bytes, Wrapped]:
        """A new data key, plain and wrapped."""
        key = self._random.secret_bytes(KEY_BYTES)
        return key, self.wrap(key, context)

    def wrap(self, key: bytes, context: Context) -> Wrapped:
        """A data key wrapped by the present version."""
        name, version = self.present()
        return wrap_by(self.keys[version], name, version, key, context, self._random)

    def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        """The data key. Raises Refused."""
        if wrapped.key != self.name or wrapped.version not in self.keys:
            raise unknown(wrapped)
        return unwrap_by(self.keys[wrapped.version], wrapped, context)


def unknown(wrapped: Wrapped) -> Refused:
    """The refusal where the wrapping key is not there."""
    return Refused(
        "kek_unknown",
        f"A sealed record was wrapped by version {wrapped.version} of a key that is not configured here.",
        hint="Restore that version of the key, or name its source in the setting kek.",
        status=500,
    )


def parse_keys(text: str, place: str, random: Random) -> Versions:
    """Keys as they are written: `id NAME`, then a `version hex` line for each; or 64 hex digits alone (version 1).

    Raises Refused naming the place, never the content.
    """
    lines = [line.split() for line in text.strip().splitlines() if line.strip()]
    try:
        if len(lines) == 1 and len(lines[0]) == 1:
            return Versions("given", {1: _key(lines[0][0])}, random)
        if lines[0][0] != "id" or not lines[0][1].isascii() or len(lines[0][1]) > 64:
            raise ValueError
        keys = {int(version): _key(digits) for version, digits in lines[1:]}
        if not keys or min(keys) < 1 or len(keys) != len(lines) - 1 or len(keys) > VERSIONS_MAX:
            raise ValueError
    except (ValueError, IndexError):
        # The original error would carry what stands in the file.
        raise Refused(
            "kek_damaged",
            f"{place} does not hold wrapping keys.",
            hint="Restore it from a backup; without it nothing that is sealed can be opened.",
        ) from None
    return Versions(lines[0][1], keys, random)


def _key(digits: str) -> bytes:
    key = bytes.fromhex(digits)
    if len(key) != KEY_BYTES:
        raise ValueError
    return key


class FileKeys:
    """Wrapping keys in a file of mode 0600, shared by the processes of one home."""

    def __init__(self, path: Path, random: Random) -> None:
        self._path = path
        self._random = random
        fresh = f"id file-{random.secret_bytes(8).hex()}\n1 {random.secret_bytes(KEY_BYTES).hex()}"
        self._held = parse_keys(load_or_create(path, fresh), str(path), random)
        self._seen = self._mark()

    def present(self) -> tuple[str, int]:
        """Name and version of the key that wraps now."""
        return self._current().present()

    def fresh(self, context: Context) -> tuple[bytes, Wrapped]:
        """A new data key, plain and wrapped."""
        return self._current().fresh(context)

    def wrap(self, key: bytes, context: Context) -> Wrapped:
        """A data key wrapped by the present version."""
        return self._current().wrap(key, context)

    def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        """The data key. Raises Refused."""
        held = self._held
        if wrapped.version not in held.keys:
            held = self._current()
        return held.unwrap(wrapped, context)

    def versions(self) -> tuple[int, ...]:
        """The versions that are there, oldest first."""
        return tuple(sorted(self._current().keys))

    def rotate(self) -> int:
        """A new version, which wraps from now on; its number. Raises Conflict at the limit."""
        with self._locked():
            held = self._read()
            if len(held.keys) >= VERSIONS_MAX:
                raise Conflict(
                    "kek_versions_full",
                    f"{self._path} holds {VERSIONS_MAX} versions already.",
                    hint="Remove those that nothing refers to: andon secrets rotate --remove-old",
                )
            version = max(held.keys) + 1
            self._write(held.name, {**held.keys, version: self._random.secret_bytes(KEY_BYTES)})
        return version

    def remove(self, version: int) -> None:
        """Forget a version. Raises Conflict for the present one."""
        with self._locked():
            held = self._read()
            if version == max(held.keys):
                raise Conflict("kek_in_use", f"Version {version} is the one that wraps now.")
            self._write(held.name, {number: key for number, key in held.keys.items() if number != version})

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._path.with_name(self._path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, name: str, keys: Mapping[int, bytes]) -> None:
        text = f"id {name}\n" + "".join(f"{number} {key.hex()}\n" for number, key in sorted(keys.items()))
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        draft.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        self._held, self._seen = self._read(), self._mark()

    def _current(self) -> Versions:
        mark = self._mark()
        if mark != self._seen:
            self._held, self._seen = self._read(), mark
        return self._held

    def _read(self) -> Versions:
        return parse_keys(load(self._path), str(self._path), self._random)

    def _mark(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return (0, 0, 0)  # it is read again, and that says what is wrong
        return found.st_ino, found.st_mtime_ns, found.st_size


class Distant(Protocol):
    """A key that is kept by somebody else, such as AWS KMS. Blocks; raises AndonError."""

    key: str

    def generate(self, context: Mapping[str, str]) -> tuple[bytes, bytes]: ...
    def encrypt(self, plain: bytes, context: Mapping[str, str]) -> bytes: ...
    def decrypt(self, wrapped: bytes, context: Mapping[str, str]) -> bytes: ...


class DistantKeys:
    """A distant key as a wrapper. It has one version here: its keeper rotates it by himself."""

    def __init__(self, distant: Distant) -> None:
        self._distant = distant
        # An ARN may be longer than a name in an envelope, and tells where the factory lives: only a digest is kept.
        self._name = "kms-" + sha256(distant.key.encode()).hexdigest()[:32]

    def present(self) -> tuple[str, int]:
        """Name and version of the key that wraps now."""
        return self._name, 1

    def fresh(self, context: Context) -> tuple[bytes, Wrapped]:
        """A new data key, plain and wrapped."""
        key, data = self._distant.generate(_words(context))
        return key, Wrapped(key=self._name, version=1, data=data)

    def wrap(self, key: bytes, context: Context) -> Wrapped:
        """A data key wrapped."""
        return Wrapped(key=self._name, version=1, data=self._distant.encrypt(key, _words(context)))

    def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        """The data key. Raises Refused."""
        if (wrapped.key, wrapped.version) != self.present():
            raise unknown(wrapped)
        return self._distant.decrypt(wrapped.data, _words(context))


def _words(context: Context) -> dict[str, str]:
    return {"andon:factory": context.factory, "andon:kind": context.kind, "andon:record": context.record}


class Keyring:
    """Several sources as one: the first wraps, each unwraps what it wrapped. For moving from one to another."""

    def __init__(self, sources: Sequence[Wrapper]) -> None:
        self.sources = tuple(sources)

    def present(self) -> tuple[str, int]:
        """Name and version of the key that wraps now."""
        return self.sources[0].present()

    def fresh(self, context: Context) -> tuple[bytes, Wrapped]:
        """A new data key, plain and wrapped by the first source."""
        return self.sources[0].fresh(context)

    def wrap(self, key: bytes, context: Context) -> Wrapped:
        """A data key wrapped by the first source."""
        return self.sources[0].wrap(key, context)

    def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        """The data key, by the source that knows the wrapping key. Raises Refused."""
        for source in self.sources:
            try:
                return source.unwrap(wrapped, context)
            except Refused as error:
                if error.code != "kek_unknown":
                    raise refusal() from error
        raise unknown(wrapped)
