"""The part that audits: follows the journal, access records and rows into the Merkle log, signs it, tells how it goes.

All blocking work goes through the runner, one piece at a time. Whatever fails is tried again; nothing is passed over,
because the positions are those of the entries themselves. Gateways read `sealed.json` to know that it keeps up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec
import structlog

from andon.app.keeping import open_wrapper
from andon.app.observer.auditing_routes import AuditStatus, ShredReceipt, auditing_routes
from andon.app.observer.part import ObserverGround, Part
from andon.kernel.errors import AndonError, Permanent, Refused, Transient
from andon.kernel.events import Event
from andon.ledger.disk import FileDisk
from andon.ledger.folder import FolderLock
from andon.ledger.tables.sources import segment_key, settle_source
from andon.observability.families import Family, Sample
from andon.security.audit import tiles
from andon.security.audit.gathering import Gatherer, JournalPage, LogFollower, decode_accesses, read_journal
from andon.security.audit.keys import load_signing_key, rotate
from andon.security.audit.sealed import Sealed, write_sealed
from andon.security.audit.sources import FolderSource
from andon.security.audit.subjects import Subjects
from andon.security.audit.witness import read_witness_state
from andon.security.audit.writer import LogWriter
from andon.store.model import Unit
from andon.web.routes import Call, Raw

PERIOD_S: Final = 0.5
CHECKPOINT_S: Final = 1.0
BATCH: Final = 4096  # of each source at a time
FORGET_S: Final = 60.0
RETRY_S: Final = 2.0
PROCESSES: Final = ("control", "observer")  # that keep access records
ACTOR: Final = "observer:auditing"

_logger = structlog.get_logger("andon.auditing")

T = TypeVar("T")


class _Open(msgspec.Struct):
    """What is open while the log can be written."""

    lock: FolderLock
    disk: FileDisk
    writer: LogWriter
    subjects: Subjects
    gatherer: Gatherer


class Auditing:
    """The loop, the verbs and the metrics."""

    def __init__(self, ground: ObserverGround) -> None:
        self._ground = ground
        self._folder = ground.home.audit
        self._open: _Open | None = None
        self._one_at_a_time = asyncio.Lock()
        self._through: float | None = None  # monotonic: everything before it is under a checkpoint
        self._complete: float | None = None  # monotonic: everything before it is durable in the log
        self._signed_at = 0.0
        self._forgot_at = 0.0
        self._beats = 0
        self._problem = ""
        self.failures = 0
        self.leaves = 0

    async def run(self) -> None:
        """Audit for ever."""
        clock = self._ground.clock
        while True:
            try:
                async with self._one_at_a_time:
                    busy = await self._turn()
                await self._tell("")
            # A disk that is full, a store that is away, a bug: told and counted, and tried again, for nothing may be
            # passed over. In the closed mode gateways stop serving meanwhile, by what they read or do not read.
            except Exception as error:
                self.close()  # what was read and not written is read again, from where the entries end
                self.failures += 1
                if not isinstance(error, AndonError | OSError):
                    _logger.exception("auditing_failed")
                await self._tell(str(error) or type(error).__name__)
                await clock.sleep(RETRY_S if isinstance(error, AndonError) else CHECKPOINT_S)
                continue
            if not busy:
                await clock.sleep(PERIOD_S)

    async def status(self, call: Call) -> AuditStatus:
        """How everything stands."""
        settings, open_ = self._ground.settings, self._open
        witnessed = await self._do(lambda: read_witness_state(settings.audit_witness))
        return AuditStatus(
            mode=settings.audit_mode,
            origin=open_.writer.signing.name if open_ else "",
            public_key=str(open_.writer.signing.vkey) if open_ else "",
            size=open_.writer.size if open_ else 0,
            signed_size=open_.writer.signed.size if open_ else 0,
            behind_s=self.behind_s(),
            positions=dict(open_.writer.positions) if open_ else {},
            problem=self._problem,
            witness_size=None if witnessed is None else witnessed[0],
            witness_at_s=None if witnessed is None else witnessed[1],
        )

    async def shred(self, call: Call) -> ShredReceipt:
        """Destroy a person's keys. Raises `Refused` where there is none."""
        async with self._one_at_a_time:
            open_ = self._opened()
            ids = await self._do(lambda: self._shred(open_, call.body.principal))
        if not ids:
            raise Refused(
                "audit_subject_unknown",
                "The audit log holds no payload of that principal, or none any more.",
                hint="Name it as records do, such as user:ann@example.com.",
                status=404,
            )
        return ShredReceipt(keys=tuple(ids))

    async def rotate(self, call: Call) -> AuditStatus:
        """Change the signing key."""
        async with self._one_at_a_time:
            open_ = self._opened()
            await self._do(lambda: self._rotate(open_))
        return await self.status(call)

    async def checkpoint(self, call: Call) -> Raw:
        """The signed head."""
        return await self._file(tiles.CHECKPOINT, "text/plain; charset=utf-8")

    async def keys(self, call: Call) -> Raw:
        """The public keys."""
        return await self._file(tiles.KEYS, "text/plain; charset=utf-8")

    async def tile(self, call: Call) -> Raw:
        """A file of the layout."""
        path = "/".join(("tile", *msgspec.structs.astuple(call.path)))
        return await self._file(path, "application/octet-stream")

    def behind_s(self) -> float | None:
        """How old the oldest thing may be that is under no checkpoint."""
        return None if self._through is None else self._ground.clock.monotonic() - self._through

    def families(self) -> tuple[Family, ...]:
        """From memory."""
        open_ = self._open
        behind = self.behind_s()
        told: list[tuple[str, Literal["counter", "gauge"], str, float]] = [
            ("andon_audit_leaves_total", "counter", "Entries added since the observer's start.", self.leaves),
            ("andon_audit_failures_total", "counter", "Turns of the auditor that failed.", self.failures),
            ("andon_audit_size", "gauge", "Entries in the audit log.", open_.writer.size if open_ else 0),
        ]
        if behind is not None:
            told.append(
                ("andon_audit_behind_seconds", "gauge", "Age of what is under no checkpoint yet.", behind)
            )
        return tuple(
            Family(name=name, kind=kind, meaning=meaning, samples=(Sample((), float(value)),))
            for name, kind, meaning, value in told
        )

    def close(self) -> None:
        """Let another writer in."""
        open_, self._open = self._open, None
        if open_ is not None:
            open_.lock.release()

    async def _turn(self) -> bool:
        """Read, append, perhaps sign; whether there is more to do at once."""
        clock = self._ground.clock
        if self._open is None:
            self._open = await self._do(self._begin)
        open_ = self._open
        started = clock.monotonic()
        page = await self._ground.store.transact(read_journal(open_.writer.positions))
        complete = await self._do(lambda: self._gather(open_, page))
        if complete:
            self._complete = started
        if clock.monotonic() - self._signed_at >= CHECKPOINT_S:
            await self._do(lambda: self._sign(open_))
        return not complete

    def _begin(self) -> _Open:
        home, random = self._ground.home, self._ground.random
        lock = FolderLock(self._folder)
        try:
            disk = FileDisk(self._folder)
            signing = load_signing_key(self._folder, disk, random, home.root.name)
            writer = LogWriter(disk, signing, self._clear)
            self._refuse_rollback(writer)
            wrapper = open_wrapper(home, self._ground.settings, self._ground.environment, random)
            subjects = Subjects(disk, random, wrapper)
            positions = writer.positions
            gatherer = Gatherer(
                self._follower(home.ledger, "rows", positions),
                [self._follower(home.access / name, f"access-{name}", positions) for name in PROCESSES],
                subjects,
                self._ground.clock,
            )
            for id_ in subjects.shredding():
                writer.append([gatherer.own("shred", writer.positions, {"key": id_})])
                subjects.end_shred(id_)
        except BaseException:
            lock.release()
            raise
        return _Open(lock, disk, writer, subjects, gatherer)

    def _refuse_rollback(self, writer: LogWriter) -> None:
        """A home restored from an old copy must not sign another history than its witness has seen."""
        seen = read_witness_state(self._ground.settings.audit_witness)
        if seen is not None and seen[0] > writer.size:
            raise Permanent(
                "audit_log_damaged",
                f"The Merkle log cannot be continued: its witness saw {seen[0]} entries, and it has {writer.size}.",
                hint="Restore the folder from a newer copy, or begin a new log and a new witness's folder.",
            )

    def _follower(self, folder: Path, log: str, positions: dict[str, int]) -> LogFollower:
        folder.mkdir(parents=True, exist_ok=True)
        source = segment_key(log, settle_source(folder, self._ground.random))
        if log == "rows":
            return LogFollower(folder, source, positions.get(source, 0))
        return LogFollower(folder, source, positions.get(source, 0), decode_accesses)

    def _gather(self, open_: _Open, page: JournalPage) -> bool:
        open_.writer.finish()
        leaves, complete = open_.gatherer.gather(page, open_.writer.positions, BATCH)
        if leaves:
            open_.writer.append(leaves)
            self.leaves += len(leaves)
        return complete

    def _sign(self, open_: _Open) -> None:
        """A checkpoint, and the word for gateways that everything up to a moment is under it."""
        clock = self._ground.clock
        open_.writer.checkpoint()
        self._signed_at = clock.monotonic()
        self._through = self._complete
        if self._signed_at - self._forgot_at >= FORGET_S:
            open_.gatherer.forget(open_.writer.positions)
            self._forgot_at = self._signed_at
        if self._through is None:
            return
        self._beats += 1
        sealed = Sealed(
            beat=f"{self._ground.owner}-{self._beats}",
            behind_s=clock.monotonic() - self._through,
            size=open_.writer.signed.size,
        )
        write_sealed(self._folder, sealed)

    def _shred(self, open_: _Open, principal: str) -> list[str]:
        open_.writer.finish()
        ids = open_.subjects.begin_shred(principal)
        for id_ in ids:
            open_.writer.append([open_.gatherer.own("shred", open_.writer.positions, {"key": id_})])
            open_.subjects.end_shred(id_)
        open_.writer.checkpoint()
        return ids

    def _rotate(self, open_: _Open) -> None:
        writer = open_.writer
        writer.checkpoint()
        writer.signing = rotate(writer.signing, self._folder, open_.disk, self._ground.random, writer.size)
        writer.append([open_.gatherer.own("key", writer.positions, {"vkey": str(writer.signing.vkey)})])
        writer.checkpoint()

    def _clear(self, folder: str) -> None:
        path = self._folder / folder
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()

    def _opened(self) -> _Open:
        if self._open is None:
            raise Transient(
                "audit_unavailable",
                "The audit log is not open.",
                hint=self._problem or "It is opened in a moment; try again.",
            )
        return self._open

    async def _file(self, path: str, media_type: str) -> Raw:
        if not tiles.is_public(path):
            raise _absent()
        data = await self._do(lambda: FolderSource(self._folder).read(path))
        if data is None:
            raise _absent()
        return Raw(body=data, headers={"content-type": media_type})

    async def _do(self, work: Callable[[], T]) -> T:
        return await self._ground.runner.run(work)

    async def _tell(self, problem: str) -> None:
        """Journal that auditing stopped or goes on, once each time."""
        if bool(problem) == bool(self._problem):
            self._problem = problem
            return
        self._problem = problem
        name = "audit.interrupted" if problem else "audit.resumed"
        _logger.log(40 if problem else 20, name, reason=problem)
        event = Event(
            name=name,
            subject="Factory/audit",
            actor=ACTOR,
            data={"reason": problem[:500]} if problem else {},
            at_ns=self._ground.clock.now_ns(),
        )

        def append(unit: Unit) -> Any:
            return unit.append(event)

        try:
            await self._ground.store.transact(append)
        except AndonError as error:
            _logger.error("audit_event_not_journaled", reason=str(error))


def _absent() -> Refused:
    return Refused(
        "audit_file_missing", "The log has no such file.", hint="Begin with its checkpoint.", status=404
    )


def build_auditing(ground: ObserverGround) -> Part:
    """The part on its ground."""
    auditing = Auditing(ground)
    return Part(
        name="auditing",
        routes=auditing_routes(auditing),
        loops=(auditing.run,),
        metrics=(auditing,),
        closing=(auditing.close,),
    )
