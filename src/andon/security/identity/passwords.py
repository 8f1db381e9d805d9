"""Passwords of the factory's own users: scrypt (RFC 7914), and how many may be tried.

Hashing takes 32 MiB and about a tenth of a second on purpose, so it runs away from the event loop and few at a time.
A user who does not exist costs as much as one who does. Nothing here is ever logged.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections import OrderedDict
from typing import Final

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.errors import Refused, Transient
from andon.kernel.random import Random

# OWASP Password Storage Cheat Sheet, the scrypt setting with 32 MiB.
COST, BLOCK, PARALLEL = 2**15, 8, 3
SALT_BYTES, DIGEST_BYTES = 16, 32
MEMORY_BYTES_MAX: Final = 64 * 2**20
LENGTH_MIN, LENGTH_MAX = 12, 256  # characters; NIST SP 800-63B asks for no composition rules
TRIES: Final = 5  # at once; then one in `REFILL_S`
REFILL_S: Final = 30.0
ADDRESS_TRIES: Final = 30
ADDRESS_REFILL_S: Final = 2.0
BUCKETS_MAX: Final = 10_000  # users or addresses that are counted; the one unused for longest is forgotten

_COMMON = (
    "password",
    "passw0rd",
    "123456",
    "qwerty",
    "letmein",
    "changeme",
    "andon",
    "admin",
    "welcome",
    "iloveyou",
)


class Hash(msgspec.Struct, frozen=True, kw_only=True):
    """All that is kept of a password. The parameters stand beside it, so that they can be raised."""

    salt: str
    digest: str
    cost: int = COST
    block: int = BLOCK
    parallel: int = PARALLEL


# What a user who does not exist is compared with.
NOBODY: Final = Hash(salt="00" * SALT_BYTES, digest="00" * DIGEST_BYTES)


def check_password(password: str, user: str) -> None:
    """Refuse what is guessed first; raises Refused, never repeating it."""
    text = normal(password)
    if not LENGTH_MIN <= len(text) <= LENGTH_MAX:
        why = f"a password has {LENGTH_MIN} to {LENGTH_MAX} characters"
    elif len(set(text)) < 5:
        why = "it repeats itself too much"
    elif any(word in text.lower() for word in (*_COMMON, *([user.lower()] if len(user) > 3 else []))):
        why = "it contains what is guessed first: a well-known word, or the name of the user"
    else:
        return
    raise Refused(
        "weak_password",
        f"This password will not do: {why}.",
        hint="Choose a few random words.",
        param="password",
    )


def normal(password: str) -> str:
    """The same password however a keyboard spells it (Unicode NFKC)."""
    return unicodedata.normalize("NFKC", password)


def make_hash(password: str, random: Random) -> Hash:
    """The hash of a new password. Takes a while: not for the event loop."""
    bare = Hash(salt=random.secret_bytes(SALT_BYTES).hex(), digest="")
    return msgspec.structs.replace(bare, digest=_scrypt(password, bare).hex())


def matches(password: str, kept: Hash) -> bool:
    """Whether it is the password of the hash. Takes as long whether it is or not."""
    return hmac.compare_digest(_scrypt(password, kept).hex(), kept.digest)


def _scrypt(password: str, kept: Hash) -> bytes:
    return hashlib.scrypt(
        normal(password)[:LENGTH_MAX].encode("utf-8", "surrogatepass"),
        salt=bytes.fromhex(kept.salt),
        n=kept.cost,
        r=kept.block,
        p=kept.parallel,
        maxmem=MEMORY_BYTES_MAX,
        dklen=DIGEST_BYTES,
    )


class Attempts:
    """How many more passwords may be tried, by user and by address. Memory only: a restart forgets."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._users: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._addresses: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, user: str | None, address: str) -> None:
        """Count one attempt, whether the user exists or not; raises Transient 429 when there were too many.

        Without a user, as for codes that nobody can guess, only the address counts.
        """
        now = self._clock.monotonic()
        waits = [_take(self._addresses, address, now, ADDRESS_TRIES, ADDRESS_REFILL_S)]
        if user is not None:
            waits.append(_take(self._users, user, now, TRIES, REFILL_S))
        if any(waits):
            raise Transient(
                "sign_in_busy",
                "Too many attempts to sign in.",
                hint="Wait, then try again.",
                status=429,
                retry_after_s=max(waits),
            )

    def succeeded(self, user: str) -> None:
        """Forget the failures of a user who has signed in."""
        self._users.pop(user, None)


def _take(
    buckets: OrderedDict[str, tuple[float, float]], name: str, now: float, most: float, refill_s: float
) -> float:
    """Seconds to wait; 0 = one was taken."""
    left, at = buckets.get(name, (most, now))
    left = min(most, left + (now - at) / refill_s)
    taken = left >= 1.0
    buckets[name] = (left - 1.0 if taken else left, now)
    buckets.move_to_end(name)
    if len(buckets) > BUCKETS_MAX:
        buckets.popitem(last=False)
    return 0.0 if taken else (1.0 - left) * refill_s
