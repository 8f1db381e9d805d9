"""The sealer: puts closed segments of the logs into the tables, each exactly once whatever crashes when.

Every commit carries the number of the last segment and the last position in it as application transactions, so what
has landed is asked from the table itself after any failure. It blocks (a runner calls it), holds one lock for all that
writes tables, and never touches a segment that may still grow. A table that fails keeps only itself behind.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from andon.kernel.clock import Clock
from andon.kernel.errors import Refused, Transient
from andon.ledger.recovery import read_seal, segments_of
from andon.ledger.segment import parse_name
from andon.ledger.tables.compaction import is_due, tidy, trim
from andon.ledger.tables.delta import Tables
from andon.ledger.tables.quarantine import Quarantine, Quarantined
from andon.ledger.tables.rebuild import rebuild_table
from andon.ledger.tables.schema import BODIES, Table, find_table, tables_of
from andon.ledger.tables.segments import (
    Closed,
    Content,
    LogFolder,
    closed_segments,
    read_segment,
    remove_segment,
)
from andon.ledger.tables.settings import SealSettings

RETIRE_S = 60.0  # how often old segments are looked for


class Mark(msgspec.Struct, frozen=True):
    """How far one table is: what its transactions say."""

    segment: int
    position: int


class Counters(msgspec.Struct, kw_only=True):
    """Totals since the start; only ever grow."""

    rows: int = 0  # written to tables
    segments: dict[str, int] = {}  # by log, once each
    commits: int = 0
    compactions: int = 0
    failures: int = 0
    retired: int = 0  # segments removed from logs


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What one turn did."""

    segments: int  # commits of segments to tables
    failures: tuple[Transient, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()


class _Bunch(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive segments read together."""

    closed: Sequence[Closed]
    contents: Sequence[Content]

    @property
    def mark(self) -> Mark:
        return Mark(self.closed[-1].number, self.contents[-1].last)


class _Written(msgspec.Struct, frozen=True):
    """One commit to one table: its rows, the table's version before and after."""

    rows: int
    before: int
    after: int


class _Failing(msgspec.Struct, frozen=True):
    """A table that could not be written: why, how long to wait, when to try again (monotonic)."""

    error: Transient
    pause_s: float
    retry_at: float


class _LogSealer:
    """One log's way into its tables."""

    def __init__(self, log: LogFolder, tables: Tables, settings: SealSettings) -> None:
        self.log = log
        self.specs = tables_of(log.log)
        self.marks: dict[str, Mark] = {}  # by table; one that is missing is asked for
        self.failing: dict[str, _Failing] = {}  # tables that go alone until they work again
        self._tables = tables
        self._settings = settings

    @property
    def sealed(self) -> int:
        """Number of the last segment that is in every table; 0 while that is not known."""
        return min((self.mark(spec).segment for spec in self.specs), default=0)

    def mark(self, spec: Table) -> Mark:
        """How far a table is, as far as is known."""
        return self.marks.get(spec.name, Mark(0, 0))

    def learn(self, spec: Table) -> None:
        """Ask a table how far it is, making it first if there is none. Raises `Transient`."""
        if spec.name in self.marks:
            return
        self._tables.create(spec)
        keys = (self.log.segment_key, self.log.position_key)
        snapshot = self._tables.snapshot(spec.name, keys)
        found = snapshot.transactions if snapshot else {}
        self.marks[spec.name] = Mark(found.get(keys[0], 0), found.get(keys[1], 0))

    def read(self, start: Mark) -> _Bunch | None:
        """The next segments after `start`, bounded together; None if none is closed."""
        waiting = closed_segments(self.log.disk, start.segment, self._settings.bunch_segments)
        taken, size = 0, 0
        for closed in waiting:
            size += closed.size_bytes
            if taken and size > self._settings.bunch_bytes:
                break
            taken += 1
        contents: list[Content] = []
        position = start.position
        for closed in waiting[:taken]:
            contents.append(read_segment(self.log, closed, position))
            position = contents[-1].last
        return _Bunch(closed=waiting[:taken], contents=contents) if taken else None

    def write(self, spec: Table, bunch: _Bunch) -> _Written | None:
        """Put into one table what it does not have yet; None if it has all. Raises `Transient`."""
        mark = self.mark(spec)
        if mark.segment >= bunch.mark.segment:
            return None
        batches = [
            batch
            for closed, content in zip(bunch.closed, bunch.contents, strict=True)
            if closed.number > mark.segment
            for batch in content.batches.get(spec.name, ())
        ]
        data = in_time_order(pa.Table.from_batches(batches, spec.schema))
        transactions = {self.log.segment_key: bunch.mark.segment, self.log.position_key: bunch.mark.position}
        self.marks.pop(spec.name)  # whether a commit that fails has landed only the table can say
        before, after = self._tables.append(spec.name, data, transactions)
        self.marks[spec.name] = bunch.mark
        return _Written(int(data.num_rows), before, after)


class Sealer:
    """Seals all logs of one home. Thread-safe; every call blocks."""

    def __init__(
        self,
        tables: Tables,
        logs: Sequence[LogFolder],
        quarantine: Quarantine,
        clock: Clock,
        settings: SealSettings | None = None,
    ) -> None:
        self._tables = tables
        self._logs = [_LogSealer(log, tables, settings or SealSettings()) for log in logs]
        self._quarantine = quarantine
        self._clock = clock
        self._settings = settings or SealSettings()
        self._lock = threading.Lock()
        self._retire_at = 0.0
        self.counters = Counters()

    def turn(self) -> Turn:
        """Seal at most one bunch of every log, tidy what is due, retire what is old. Never raises `Transient`."""
        with self._lock:
            sealed, failures, quarantined = 0, list[Transient](), list[Quarantined]()
            now = self._clock.monotonic()
            for log in self._logs:
                healthy = [spec for spec in log.specs if spec.name not in log.failing]
                # Those that failed go alone, so that the others need not read what they have already.
                ill = [[spec] for spec in log.specs if spec.name in log.failing]
                due = [one for one in ill if log.failing[one[0].name].retry_at <= now]
                for group in (healthy, *due):
                    sealed += self._seal(log, group, failures, quarantined)
            if now >= self._retire_at:
                self._retire_at = now + RETIRE_S
                for log in self._logs:
                    self._retire(log)
                self._trim(failures)
            self.counters.failures += len(failures)
            return Turn(segments=sealed, failures=tuple(failures), quarantined=tuple(quarantined))

    def lag_s(self) -> Mapping[str, float]:
        """By log: how long the oldest closed segment has been waiting; 0 if none is."""
        lags = {}
        for log in self._logs:
            waiting = closed_segments(log.log.disk, log.sealed, 1)
            seal = waiting[0].seal if waiting else None
            lags[log.log.log] = max(0.0, (self._clock.now_ns() - seal.sealed_ns) / 1e9) if seal else 0.0
        return lags

    def marks(self) -> Mapping[str, Mark]:
        """By log: the last segment and position that are in every table of it."""
        return {
            log.log.log: min((log.mark(spec) for spec in log.specs), key=lambda mark: mark.segment)
            for log in self._logs
        }

    def failing(self) -> Mapping[str, str]:
        """Tables that cannot be written now, and why."""
        return {name: failing.error.message for log in self._logs for name, failing in log.failing.items()}

    def rebuild(self, name: str) -> int:
        """Make a table again from the segments that are still there; how many rows they gave.

        Rows of segments that were retired stay as they are. Raises `Refused`, `Transient`.
        """
        spec = find_table(name)
        if spec is None:
            raise Refused("table_unknown", f"There is no table {name}.", hint="See andon ledger status.")
        with self._lock:
            log = next(log for log in self._logs if log.log.log == spec.log)
            log.learn(spec)
            return rebuild_table(self._tables, spec, log.log, log.mark(spec).segment)

    def _seal(
        self,
        log: _LogSealer,
        specs: Sequence[Table],
        failures: list[Transient],
        quarantined: list[Quarantined],
    ) -> int:
        known = []
        for spec in specs:
            try:
                log.learn(spec)
            except Transient as error:
                self._failed(log, [spec], error, failures)
            else:
                known.append(spec)
        if not known:
            return 0
        start = min((log.mark(spec) for spec in known), key=lambda mark: mark.segment)
        try:
            bunch = log.read(start)
            if bunch is not None:
                self._set_aside(log, bunch, quarantined)
        except OSError as error:
            self._failed(log, known, _unreadable(log.log, error), failures)
            return 0
        if bunch is None:
            for spec in known:
                log.failing.pop(spec.name, None)
            return 0
        before = log.sealed
        for spec in known:
            try:
                self._write(log, spec, bunch)
            except Transient as error:
                self._failed(log, [spec], error, failures)
            else:
                log.failing.pop(spec.name, None)
        name = log.log.log
        done = sum(1 for closed in bunch.closed if before < closed.number <= log.sealed)
        self.counters.segments[name] = self.counters.segments.get(name, 0) + done
        return len(bunch.closed)

    def _trim(self, failures: list[Transient]) -> None:
        """Keep bodies within their limit: they alone may be forgotten while there is no room."""
        try:
            if self._tables.measure(BODIES.name).size_bytes > self._settings.bodies_bytes:
                trim(self._tables, BODIES.name, self._settings.bodies_bytes, self._settings)
        except Transient as error:
            failures.append(error)

    def _failed(
        self, log: _LogSealer, specs: Sequence[Table], error: Transient, failures: list[Transient]
    ) -> None:
        """Let these tables wait, longer each time. Nothing is lost: the segments stay in the log."""
        failures.append(error)
        for spec in specs:
            known = log.failing.get(spec.name)
            pause = min(self._settings.retry_s_max, known.pause_s * 2) if known else self._settings.retry_s
            log.failing[spec.name] = _Failing(error, pause, self._clock.monotonic() + pause)

    def _write(self, log: _LogSealer, spec: Table, bunch: _Bunch) -> None:
        written = log.write(spec, bunch)
        if written is None:
            return
        self.counters.rows += written.rows
        self.counters.commits += 1
        if is_due(written.before, written.after, self._settings.tidy_commits):
            tidy(self._tables, spec.name, self._settings)
            self.counters.compactions += 1

    def _set_aside(self, log: _LogSealer, bunch: _Bunch, quarantined: list[Quarantined]) -> None:
        for closed, content in zip(bunch.closed, bunch.contents, strict=True):
            if content.damages:
                now = self._clock.now_ns()
                record = self._quarantine.put(log.log.log, closed.name, content.damages, now)
                if record is not None:
                    quarantined.append(record)

    def _retire(self, log: _LogSealer) -> None:
        """Remove segments that are old, in every table, and whole."""
        disk, oldest = log.log.disk, self._clock.now_ns() - int(self._settings.keep_s * 1e9)
        candidates = []
        for name in segments_of(disk, "")[: -self._settings.keep_segments]:
            number = (parse_name(name) or (0, 0))[0]
            seal = read_seal(disk, name)
            if number > log.sealed or (seal is not None and seal.sealed_ns >= oldest):
                break
            if seal is not None and not self._quarantine.holds(log.log.log, name):
                candidates.append(name)
        if candidates and self._tables.is_local:
            os.sync()  # what a local table holds may still be in memory only, and the segment is its only copy
        for name in candidates:
            remove_segment(disk, name)
            self.counters.retired += 1


def in_time_order(data: pa.Table) -> pa.Table:
    """Rows by `at_ns`, so that a file covers a short span; already so nearly always."""
    at_ns = data["at_ns"].combine_chunks()
    if len(at_ns) < 2 or pc.all(pc.greater_equal(at_ns[1:], at_ns[:-1])).as_py():
        return data
    return data.sort_by([("at_ns", "ascending"), ("position", "ascending")])


def _unreadable(log: LogFolder, error: OSError) -> Transient:
    return Transient(
        "log_unreadable",
        f"The log in {log.folder} cannot be read, or its damage not written down: {error.strerror}.",
        hint="Look at the disk; sealing goes on by itself.",
        internal=repr(error),
    )
