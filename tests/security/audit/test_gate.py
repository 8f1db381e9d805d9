"""Closed means closed: late, unreadable, or a ledger that fails; a wall clock that jumps changes nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from andon.kernel.access import Access
from andon.kernel.clock import SystemClock
from andon.kernel.errors import Refused, Transient
from andon.kernel.exchange import Exchange
from andon.kernel.snapshot import EndpointEntry, Snapshot
from andon.ledger.disk import FileDisk
from andon.ledger.reader import Cursor
from andon.security.audit.gathering import decode_accesses
from andon.security.audit.records import AccessRecords
from andon.security.audit.sealed import Sealed, SealedWatch, read_sealed, write_sealed
from andon.security.audit.stage import AuditStage, AuditTerms


class Time:
    """A clock that is moved by hand; its wall time may be anything."""

    def __init__(self) -> None:
        self.now = 100.0
        self.wall_ns = 0

    def monotonic(self) -> float:
        return self.now

    def now_ns(self) -> int:
        return self.wall_ns

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class Log:
    problem: Transient | None = None


def refusal(stage: AuditStage) -> str:
    error = stage.admit(Exchange())
    return "" if error is None else error.code


def terms(closed: bool = True) -> AuditTerms:
    return AuditTerms(closed=closed, lag_s=30.0, read=lambda: None)


def test_a_watch_grows_late_when_nothing_new_is_said() -> None:
    watch = SealedWatch(30.0, 0.0)
    assert not watch.is_late(29.0)  # the grace of the start
    assert watch.is_late(31.0)
    watch.look(Sealed(beat="a", behind_s=2.0, size=1), 40.0)
    assert watch.lag_s(41.0) == 3.0
    watch.look(Sealed(beat="a", behind_s=2.0, size=1), 60.0)  # the same again is no news
    assert watch.lag_s(60.0) == 22.0
    watch.look(None, 61.0)
    assert watch.is_late(69.0)
    watch.look(Sealed(beat="b", behind_s=50.0, size=2), 70.0)  # alive, and far behind
    assert watch.is_late(70.0)
    watch.look(Sealed(beat="c", behind_s=-5.0, size=2), 71.0)  # nonsense
    assert watch.is_late(71.0)


def test_closed_refuses_while_late_or_without_a_ledger() -> None:
    time, log = Time(), Log()
    stage = AuditStage(time)
    assert refusal(stage) == ""
    stage.engage(terms(), log)
    assert refusal(stage) == ""
    time.wall_ns = 10**20  # a wall clock that jumps says nothing
    assert refusal(stage) == ""
    log.problem = Transient("ledger_unavailable", "The disk is full.")
    assert refusal(stage) == "audit_unavailable"
    log.problem = None
    time.now += 31
    assert refusal(stage) == "audit_unavailable"


def test_open_goes_on_and_counts() -> None:
    time, log = Time(), Log()
    stage = AuditStage(time)
    stage.engage(terms(closed=False), log)
    time.now += 1000
    asyncio.run(_look_once(stage))
    assert refusal(stage) == ""
    assert stage.gauges()["andon_audit_unaudited_requests"] == 1
    assert stage.gauges()["andon_audit_lag_seconds"] >= 1000


async def _look_once(stage: AuditStage) -> None:
    class Once:
        def __init__(self) -> None:
            self.left = 1

        def run(self, work):  # type: ignore[no-untyped-def]
            if not self.left:
                raise asyncio.CancelledError
            self.left -= 1
            future = asyncio.get_running_loop().create_future()
            future.set_result(work())
            return future

    with pytest.raises(asyncio.CancelledError):
        await stage.run(Once())


def test_closed_takes_no_endpoint_that_may_lose_rows() -> None:
    stage = AuditStage(Time())
    entry = EndpointEntry(name="a", protocol="openai", durability="relaxed")
    snapshot = Snapshot(version=1, factory="f", revision=1, compiled_at_ns=0, endpoints=(entry,))
    stage.adopt(snapshot)()
    stage.engage(terms(), Log())
    with pytest.raises(Refused, match="may lose rows"):
        stage.adopt(snapshot)
    kept = msgspec.structs.replace(entry, durability="acknowledged")
    stage.adopt(msgspec.structs.replace(snapshot, endpoints=(kept,)))()


def test_what_cannot_be_read_is_nothing(tmp_path: Path) -> None:
    assert read_sealed(tmp_path) is None
    write_sealed(tmp_path, Sealed(beat="a", behind_s=1.0, size=3))
    assert read_sealed(tmp_path) == Sealed(beat="a", behind_s=1.0, size=3)
    (tmp_path / "sealed.json").write_bytes(b"\x00" * 100)
    assert read_sealed(tmp_path) is None


def access(action: str, *, allowed: bool = True, principal: str = "user:ann") -> Access:
    return Access(id="1", at_ns=1, principal=principal, action=action, resource="Factory", allowed=allowed)


def test_decisions_are_durable_before_they_take_effect(tmp_path: Path) -> None:
    async def main() -> None:
        records = AccessRecords(tmp_path, "control", SystemClock(), closed=True)
        await records.record(access("key.create"))
        await records.record(access("key.create", allowed=False))
        await records.record(access("gateway.report", principal="gateway:0"))
        await records.record(access("gateway.report", principal="gateway:0", allowed=False))
        kept = [entry.row for entry in Cursor(FileDisk(tmp_path / "control"), decode=decode_accesses).poll()]
        assert [(one.action, one.allowed) for one in kept] == [
            ("key.create", True),
            ("key.create", False),
            ("gateway.report", False),
        ]
        await records.close()

    asyncio.run(main())


def test_a_folder_that_cannot_be_written_stops_changes_where_closed(tmp_path: Path) -> None:
    (tmp_path / "control").touch()

    async def main() -> None:
        closed = AccessRecords(tmp_path, "control", SystemClock(), closed=True)
        await closed.record(access("factory.read"))
        await closed.record(access("key.create", allowed=False))  # it is refused anyway
        with pytest.raises(Transient) as refused:
            await closed.record(access("key.create"))
        assert refused.value.code == "audit_unavailable"
        opened = AccessRecords(tmp_path, "control", SystemClock(), closed=False)
        await opened.record(access("key.create"))
        assert (closed.lost, opened.lost) == (3, 1)

    asyncio.run(main())
