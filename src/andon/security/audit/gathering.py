"""What goes into the log, read where it happens: the journal, the access logs, the ledger's rows; each thing once.

Positions come from the log itself, so whoever dies goes on exactly where the entries end. Something that a source has
lost becomes an entry of its own. Blocking but for the journal, whose events are handed in; bounded by `limit`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from andon.kernel.access import Access
from andon.kernel.clock import Clock
from andon.ledger.disk import FileDisk
from andon.ledger.reader import Cursor, Decode, decode_rows
from andon.ledger.recovery import read_seal, segments_of
from andon.ledger.row import Outcome
from andon.ledger.scan import Damage
from andon.ledger.segment import SEAL_SUFFIX
from andon.security.audit.leaves import Leaf, own_leaf, row_leaf, sealed_leaf
from andon.security.audit.subjects import Subjects, bound_to
from andon.store.model import Journaled, Unit

EVENTS_MAX: Final = 500  # read from the journal at a time
OWN: Final = "audit"  # the source of what the log says about itself
KEPT_SEGMENTS: Final = 2  # of an access log, once all is in the Merkle log

decode_accesses: Final[Decode] = msgspec.msgpack.Decoder(list[Access]).decode
_json: Final = msgspec.json.Encoder(order="sorted").encode


class Missing(msgspec.Struct, frozen=True):
    """What a source has lost."""

    source: str
    rows: int
    reason: str


class JournalPage(msgspec.Struct, frozen=True, kw_only=True):
    """Events after a position, and whether the journal begins later than that or anew."""

    events: Sequence[Journaled]
    epoch: int
    missing: int = 0


def read_journal(positions: Mapping[str, int], limit: int = EVENTS_MAX) -> Callable[[Unit], JournalPage]:
    """The work that reads on in the journal; numbers that begin anew mean another database, and a new source."""
    epoch = max(
        (int(source.partition("/")[2]) for source in positions if source.startswith("journal/")), default=1
    )
    after = positions.get(f"journal/{epoch}", 0)

    def read(unit: Unit) -> JournalPage:
        newest = unit.events(limit=1, newest_first=True)
        if newest and newest[0].sequence < after:
            return JournalPage(events=unit.events(after=0, limit=limit), epoch=epoch + 1)
        oldest = unit.events(limit=1)
        lost = max(0, oldest[0].sequence - after - 1) if oldest and after else 0
        return JournalPage(events=unit.events(after=after, limit=limit), epoch=epoch, missing=lost)

    return read


class LogFollower:
    """One log of this machine on its way into the Merkle log."""

    def __init__(self, folder: Path, source: str, after: int, decode: Decode = decode_rows) -> None:
        self.folder = folder
        self.source = source
        self.missing: list[Missing] = []
        self._disk = FileDisk(folder)
        self._cursor = Cursor(self._disk, after=after, report=self._lost, decode=decode)

    def poll(self, limit: int) -> tuple[list[tuple[int, Any]], bool]:
        """What came since, each with its position; and whether that was all."""
        entries = self._cursor.poll(limit)
        return [(entry.position, entry.row) for entry in entries], len(entries) < limit

    def forget(self, up_to: int) -> None:
        """Remove closed segments whose rows are all in the Merkle log; for logs that nobody else keeps."""
        names = segments_of(self._disk, "")
        for name in names[:-KEPT_SEGMENTS]:
            seal = read_seal(self._disk, name)
            if seal is None or seal.last_row > up_to:
                return
            self._disk.remove(name)
            self._disk.remove(name + SEAL_SUFFIX)

    def _lost(self, damage: Damage) -> None:
        self.missing.append(Missing(self.source, damage.rows, damage.reason))


class Gatherer:
    """Makes leaves of everything that is new."""

    def __init__(
        self, rows: LogFollower, accesses: Sequence[LogFollower], subjects: Subjects, clock: Clock
    ) -> None:
        self._rows = rows
        self._accesses = accesses
        self._subjects = subjects
        self._clock = clock

    def gather(self, page: JournalPage, positions: Mapping[str, int], limit: int) -> tuple[list[Leaf], bool]:
        """Leaves of about `limit` new things, and whether that is everything for now. Raises OSError."""
        leaves = self._journal(page)
        complete = len(page.events) < EVENTS_MAX
        for follower in self._accesses:
            found, whole = follower.poll(limit)
            complete &= whole
            leaves += [self._access(access, follower.source, at) for at, access in found]
        found, whole = self._rows.poll(limit)
        asdict, source = msgspec.structs.asdict, self._rows.source
        leaves += [
            row_leaf(asdict(row), source, at) for at, row in found if isinstance(row, Outcome) and row.final
        ]
        return self._gaps(page, positions) + leaves, complete and whole

    def own(self, kind: Any, positions: Mapping[str, int], data: Mapping[str, str | int]) -> Leaf:
        """An entry about the log itself."""
        return own_leaf(kind, self._clock.now_ns(), OWN, positions.get(OWN, 0) + 1, data)

    def forget(self, positions: Mapping[str, int]) -> None:
        """Let go of access records that are in the log."""
        for follower in self._accesses:
            follower.forget(positions.get(follower.source, 0))

    def _gaps(self, page: JournalPage, positions: Mapping[str, int]) -> list[Leaf]:
        lost = [one for follower in (self._rows, *self._accesses) for one in follower.missing]
        if page.missing:
            lost.append(Missing(f"journal/{page.epoch}", page.missing, "trimmed before it could be read"))
        for follower in (self._rows, *self._accesses):
            follower.missing = []
        number, now_ns = positions.get(OWN, 0), self._clock.now_ns()
        return [
            own_leaf(
                "gap",
                now_ns,
                OWN,
                number + at,
                {"source": one.source, "rows": one.rows, "reason": one.reason},
            )
            for at, one in enumerate(lost, 1)
        ]

    def _journal(self, page: JournalPage) -> list[Leaf]:
        source, leaves = f"journal/{page.epoch}", []
        for line in page.events:
            event = line.event
            told = {
                "sequence": line.sequence,
                "name": event.name,
                "subject": event.subject,
                "actor": event.actor,
                "at": str(event.at_ns),
                "data": event.data,
            }
            header = {"kind": "journal", "source": source, "position": line.sequence, "name": event.name}
            leaves.append(self._sealed(header, event.at_ns, event.actor, told))
        return leaves

    def _access(self, access: Access, source: str, position: int) -> Leaf:
        told = msgspec.to_builtins(access)
        header = {
            "kind": "access",
            "source": source,
            "position": position,
            "name": access.action,
            "id": access.id,
        }
        return self._sealed(header, access.at_ns, access.principal, told)

    def _sealed(self, header: dict[str, Any], at_ns: int, subject: str, told: Any) -> Leaf:
        """A leaf whose content only the subject's key opens."""
        bound = bound_to(header["source"], header["position"])
        key, payload = self._subjects.seal(subject, _json(told), bound)
        return sealed_leaf({**header, "at": str(at_ns)}, payload, key)
