"""Keys of recorded bodies: one for each subject or day, wrapped, a file each. Destroying one erases what it sealed.

A body's data key is wrapped by one of these, and these by the home's wrapping key. Made by the gateway, read by the
observer, destroyed by control: they share a folder and a lock, so that a key that is being wrapped anew is not brought
back from the dead. Names hold no subject: a subject stands there as a keyed hash. Blocks.
"""

from __future__ import annotations

import fcntl
import hmac
import os
import re
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from andon.kernel.errors import Refused
from andon.kernel.random import Random
from andon.security.secrets.envelope import (
    KEY_BYTES,
    Context,
    Wrapped,
    Wrapper,
    refusal,
    rewrap,
    seal,
    take_apart,
    unseal,
    unwrap_by,
    wrap_by,
)
from andon.security.secrets.places import replace_privately

SUFFIX: Final = ".key"
HELD_MAX: Final = 10_000  # keys in memory; the one unused for longest is read again
LOOK_NS: Final = 10**9  # how long a key that is held is believed to be there still
_NAME: Final = re.compile(r"(day-[0-9]{4}-[0-9]{2}-[0-9]{2}|subject-[0-9a-f]{32})")


class _Held(msgspec.Struct):
    key: bytes
    looked_ns: int


def subject_name(subject: str, pepper: bytes) -> str:
    """The name of a subject's key: a keyed hash (HMAC-SHA256, 128 bits)."""
    return "subject-" + hmac.new(pepper, b"body subject\0" + subject.encode(), sha256).hexdigest()[:32]


def day_name(day: str) -> str:
    """The name of a day's key; the day as 2026-11-22."""
    return f"day-{day}"


class BodyKeys:
    """The keys of one home. Not shared between threads."""

    def __init__(self, folder: Path, wrapper: Wrapper, random: Random, home: str) -> None:
        self._folder = folder
        self._wrapper = wrapper
        self._random = random
        self._home = home
        self._held: OrderedDict[str, _Held] = OrderedDict()

    def held(self, name: str, now_ns: int) -> bytes | None:
        """A key that is in memory and known to be there still; None where the disk must be asked. Never blocks."""
        found = self._held.get(name)
        return found.key if found is not None and now_ns - found.looked_ns < LOOK_NS else None

    def find(self, name: str, now_ns: int) -> bytes:
        """A key that exists. Raises Refused `body_erased` where it does not, OSError."""
        found = self._held.get(name)
        path = self._path(name)
        if found is not None and path.exists():
            found.looked_ns = now_ns
            return found.key
        self._held.pop(name, None)
        try:
            sealed = path.read_bytes()
        except FileNotFoundError as error:
            raise Refused(
                "body_erased", "The key of this body was destroyed: it can never be read again.", status=410
            ) from error
        return self._hold(name, unseal(sealed, self._context(name), self._wrapper), now_ns)

    def find_or_make(self, name: str, now_ns: int) -> bytes:
        """A key, made where there is none. Raises AndonError, OSError."""
        try:
            return self.find(name, now_ns)
        except Refused as error:
            if error.code != "body_erased":
                raise
        key = self._random.secret_bytes(KEY_BYTES)
        with self.locked():
            if not self._path(name).exists():
                replace_privately(
                    self._path(name), seal(key, self._context(name), self._wrapper, self._random)
                )
                return self._hold(name, key, now_ns)
        return self.find(name, now_ns)

    def destroy(self, name: str) -> bool:
        """Destroy a key for ever; False if there was none. Raises OSError.

        The file is overwritten before it is unlinked; a file system or disk that keeps old blocks keeps the wrapped
        key only, which rotating and removing the wrapping key makes useless too.
        """
        path = self._path(name)
        with self.locked():
            self._held.pop(name, None)
            try:
                with path.open("r+b", buffering=0) as file:
                    file.write(self._random.secret_bytes(os.fstat(file.fileno()).st_size))
                    os.fsync(file.fileno())
            except FileNotFoundError:
                return False
            path.unlink()
            folder = os.open(self._folder, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        return True

    def names(self) -> list[str]:
        """Every key's name, sorted."""
        return sorted(path.stem for path in self._folder.glob(f"*{SUFFIX}") if _NAME.fullmatch(path.stem))

    def rewrap(self, name: str) -> bool:
        """Wrap one key by the present version; False if it is already, or gone. Raises AndonError, OSError."""
        with self.locked():
            try:
                sealed = self._path(name).read_bytes()
            except FileNotFoundError:
                return False
            wrapped = take_apart(sealed).wrapped
            if (wrapped.key, wrapped.version) == self._wrapper.present():
                return False
            replace_privately(self._path(name), rewrap(sealed, self._context(name), self._wrapper))
        return True

    def wrapped_by(self) -> dict[tuple[str, int], int]:
        """How many keys each version of a wrapping key holds. Raises AndonError, OSError."""
        counts: dict[tuple[str, int], int] = {}
        for name in self.names():
            try:
                wrapped = take_apart(self._path(name).read_bytes()).wrapped
            except FileNotFoundError:
                continue  # destroyed meanwhile
            counts[wrapped.key, wrapped.version] = counts.get((wrapped.key, wrapped.version), 0) + 1
        return counts

    def _hold(self, name: str, key: bytes, now_ns: int) -> bytes:
        self._held[name] = _Held(key, now_ns)
        self._held.move_to_end(name)
        if len(self._held) > HELD_MAX:
            self._held.popitem(last=False)
        return key

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise refusal()  # it came from a stored record, and goes into a path
        return self._folder / f"{name}{SUFFIX}"

    def _context(self, name: str) -> Context:
        return Context(factory=self._home, kind="BodyKey", record=name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time changes files here."""
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class BodyWrapper:
    """A body's key as an envelope's wrapper: its name stands in the envelope's head."""

    def __init__(self, name: str, key: bytes, random: Random) -> None:
        self._name = name
        self._key = key
        self._random = random

    def present(self) -> tuple[str, int]:
        """Its name; there is one version."""
        return self._name, 1

    def fresh(self, context: Context) -> tuple[bytes, Wrapped]:
        """A new data key, plain and wrapped."""
        key = self._random.secret_bytes(KEY_BYTES)
        return key, self.wrap(key, context)

    def wrap(self, key: bytes, context: Context) -> Wrapped:
        """A data key wrapped by this key."""
        return wrap_by(self._key, self._name, 1, key, context, self._random)

    def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        """The data key. Raises Refused."""
        if (wrapped.key, wrapped.version) != self.present():
            raise refusal()
        return unwrap_by(self._key, wrapped, context)
