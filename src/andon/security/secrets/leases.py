"""The gateway's side of secrets: values lent by control for a while, in memory, and sealed on disk for a restart.

What a snapshot says of a reference holds at once, before any target is built: version 0 means "use it no more", and the
value is forgotten in memory and on disk. Control that is away revokes nothing: a lease goes on being used until
`stale_s` after it should have been renewed, so that the last good snapshot serves; then its targets are broken, and say
so. Reading is memory only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Refused
from andon.kernel.ports import Runner
from andon.kernel.random import Random
from andon.kernel.redaction import KnownSecrets
from andon.kernel.references import is_leased
from andon.kernel.snapshot import LeaseEntry, Snapshot
from andon.security.secrets.envelope import Context, Wrapper, rewrap, seal, take_apart, unseal
from andon.security.secrets.model import Lease, LeaseAnswer
from andon.security.secrets.places import replace_privately

_logger = structlog.get_logger("andon.gateway.leases")

RENEW_SHARE: Final = 1 / 3  # of a lease's length after which it is renewed
LOOK_S: Final = 1.0  # between two looks at what is due
AGAIN_S: Final = 5.0  # after control was away
SUFFIX: Final = ".sealed"

Ask = Callable[[Sequence[str]], Awaitable[LeaseAnswer]]  # raises AndonError or OSError when control is away

_decode = msgspec.json.Decoder(tuple[Lease, ...]).decode


class _Wanted(msgspec.Struct, frozen=True):
    """The part of a snapshot that says what is lent."""

    leases: tuple[LeaseEntry, ...] = ()


class LeaseFile:
    """Leases on disk, sealed under the home's own wrapping key and bound to this gateway."""

    def __init__(self, path: Path, wrapper: Wrapper, random: Random, context: Context) -> None:
        self._path = path
        self._wrapper = wrapper
        self._random = random
        self._context = context

    def save(self, leases: Sequence[Lease]) -> None:
        """Replace what is kept; nothing is kept of no leases. Blocks. Raises OSError, AndonError."""
        if not leases:
            self._path.unlink(missing_ok=True)
            return
        sealed = seal(msgspec.json.encode(tuple(leases)), self._context, self._wrapper, self._random)
        replace_privately(self._path, sealed)

    def load(self) -> tuple[Lease, ...]:
        """What was kept; nothing if there is no file. Blocks. Raises OSError, AndonError, MsgspecError."""
        if not self._path.exists():
            return ()
        return _decode(unseal(self._path.read_bytes(), self._context, self._wrapper))


def lease_context(factory: str, gateway: str) -> Context:
    """What a gateway's file of leases is about."""
    return Context(factory=factory, kind="Leases", record=gateway)


def rewrap_file(path: Path, context: Context, wrapper: Wrapper) -> bool:
    """Wrap a file of leases by the present version; False if it is already. Raises AndonError, OSError."""
    sealed = path.read_bytes()
    wrapped = take_apart(sealed).wrapped
    if (wrapped.key, wrapped.version) == wrapper.present():
        return False
    replace_privately(path, rewrap(sealed, context, wrapper))
    return True


class Leases:
    """The leases of one gateway. `read` is what resolves credentials; the rest runs beside the requests."""

    def __init__(
        self,
        file: LeaseFile,
        ask: Ask,
        local: Callable[[str], str],
        *,
        clock: Clock,
        runner: Runner,
        known: KnownSecrets,
        stale_s: float,
    ) -> None:
        self._file = file
        self._ask = ask
        self._local = local
        self._clock = clock
        self._runner = runner
        self._known = known
        self._stale_ns = int(stale_s * 1e9)
        self._held: dict[str, Lease] = {}
        self._entries: dict[str, int] = {}
        self._renew_ns: dict[str, int] = {}
        self._saved: tuple[Lease, ...] = ()
        self.changed: Callable[[], None] = lambda: None  # values changed: targets must be built anew
        self.problem = ""  # why leases could not be renewed last; shown by the gateway's admin

    def read(self, reference: str) -> str:
        """The value behind any reference. Raises Refused, never naming the value."""
        if not is_leased(reference):
            value = self._local(reference)
            self._known.learn(value)
            return value
        if self._entries.get(reference, 0) == 0:
            raise Refused("secret_revoked", f"{reference} may not be used.", hint="andon secrets list")
        lease = self._held.get(reference)
        if lease is None:
            raise Refused("secret_missing", f"{reference} has not been lent yet.", hint="andon secrets list")
        if self._clock.now_ns() >= lease.expires_ns + self._stale_ns:
            raise Refused(
                "secret_stale",
                f"The lease of {reference} ended, and control was away for too long to renew it.",
                hint="Start control; secret_stale_s says how long gateways go on without it.",
            )
        return lease.value

    def adopt(self, snapshot: Snapshot) -> Callable[[], None]:
        """What a snapshot says of secrets holds at once, whatever becomes of the rest of it (port `Adopter`)."""
        self._learn(snapshot.leases)
        return lambda: None

    def _learn(self, entries: Sequence[LeaseEntry]) -> None:
        self._entries = {entry.reference: entry.version for entry in entries}
        for reference in [one for one in self._held if not self._entries.get(one)]:
            del self._held[reference]
            self._renew_ns.pop(reference, None)

    async def load(self) -> None:
        """Take up what an earlier process kept; a file that cannot be opened costs leases, never the gateway."""
        try:
            found = await self._runner.run(self._file.load)
        except (AndonError, OSError, msgspec.MsgspecError) as error:
            _logger.error("kept leases cannot be opened", reason=type(error).__name__)
            return
        for lease in found:
            self._take(lease)
        self._saved = found

    async def prepare(self, raw: bytes) -> None:
        """Ask for what a snapshot lends before it is adopted, so that its targets can serve at once.

        Never raises: a snapshot is not held up by a secret; the loop asks again.
        """
        try:
            entries = msgspec.json.decode(raw, type=_Wanted).leases
        except msgspec.MsgspecError:
            return  # the holder refuses it, and says why
        wanted = [one.reference for one in entries if one.version and self._older(one)]
        if wanted:
            await self._renew(wanted)

    def _older(self, entry: LeaseEntry) -> bool:
        held = self._held.get(entry.reference)
        return held is None or held.version != entry.version

    async def run(self) -> None:
        """Renew what is due, and keep on disk what changed; until cancelled."""
        while True:
            await self._clock.sleep(LOOK_S)
            await self._save()
            now_ns = self._clock.now_ns()
            due = [
                reference
                for reference, version in self._entries.items()
                if version
                and (
                    (held := self._held.get(reference)) is None
                    or held.version != version
                    or now_ns >= self._renew_ns.get(reference, 0)
                )
            ]
            if due and not await self._renew(due):
                await self._clock.sleep(AGAIN_S)

    async def _renew(self, references: Sequence[str]) -> bool:
        before = {reference: lease.value for reference, lease in self._held.items()}
        try:
            answer = await self._ask(references)
        except (AndonError, OSError, msgspec.MsgspecError) as error:
            self.problem = f"leases cannot be renewed: {type(error).__name__}"
            if any(self._expired(lease) for lease in self._held.values()):
                self.changed()  # targets whose lease has ended for good must say so
            return False
        for reference in answer.refused:
            self._held.pop(reference, None)
            self._entries[reference] = 0
        for lease in answer.leases:
            self._take(lease)
        self.problem = (
            f"not to be found at the moment: {', '.join(answer.troubled)}" if answer.troubled else ""
        )
        if before != {reference: lease.value for reference, lease in self._held.items()}:
            self.changed()
        await self._save()
        return not answer.troubled

    def _expired(self, lease: Lease) -> bool:
        return self._clock.now_ns() >= lease.expires_ns + self._stale_ns

    def _take(self, lease: Lease) -> None:
        now_ns = self._clock.now_ns()
        self._known.learn(lease.value)
        self._held[lease.reference] = lease
        self._renew_ns[lease.reference] = now_ns + int((lease.expires_ns - now_ns) * RENEW_SHARE)

    async def _save(self) -> None:
        current = tuple(self._held[reference] for reference in sorted(self._held))
        if current == self._saved:
            return
        try:
            await self._runner.run(lambda: self._file.save(current))
        except (AndonError, OSError) as error:
            _logger.error("leases not kept on disk", reason=type(error).__name__)
            return
        self._saved = current
