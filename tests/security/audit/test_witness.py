"""A witness vouches for growth only, remembers over a restart, and keeps what proves a fork."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from andon.kernel.clock import SystemClock
from andon.kernel.errors import AndonError, Conflict, Permanent, Refused
from andon.kernel.random import SystemRandom
from andon.ledger.disk import FileDisk
from andon.security.audit.keys import rotate
from andon.security.audit.notes import cosigned_at, read_note
from andon.security.audit.sources import FolderSource
from andon.security.audit.witness import SEEN, Witness, read_witness_state
from andon.security.audit.writer import LogWriter
from tests.security.audit.logs import open_writer, rows, signing_key


def witness(state: Path, log_key: str = "") -> Witness:
    return Witness(state, SystemClock(), SystemRandom(), log_key=log_key)


def test_it_cosigns_growth_and_remembers(tmp_path: Path) -> None:
    log, state = tmp_path / "log", tmp_path / "state"
    writer = open_writer(log)
    one = witness(state)
    with pytest.raises(Conflict):
        witness(state)
    assert one.look(FolderSource(log)) is None
    for first, count in ((1, 3), (4, 300), (304, 1)):
        writer.append(rows(first, count))
        writer.checkpoint()
        note = one.look(FolderSource(log))
        assert note is not None
        assert cosigned_at(note, one.vkey)
        assert one.look(FolderSource(log)) is None
    one.close()
    again = witness(state)
    assert again.vkey == one.vkey
    assert again.seen == one.seen
    assert read_witness_state(str(state)) == (
        304,
        cosigned_at(read_note((state / SEEN).read_text()), again.vkey),
    )
    writer.signing = rotate(writer.signing, log, FileDisk(log), SystemRandom(), writer.size)
    writer.append(rows(305, 2))
    writer.checkpoint()
    assert again.look(FolderSource(log)) is not None
    again.close()


@pytest.mark.parametrize("what", ["rolled back", "forked", "rewritten"])
def test_it_never_vouches_for_another_history(tmp_path: Path, what: str) -> None:
    log, state, other = tmp_path / "log", tmp_path / "state", tmp_path / "other"
    writer = open_writer(log)
    writer.append(rows(1, 20))
    writer.checkpoint()
    shutil.copytree(log, other)
    writer.append(rows(21, 20))
    writer.checkpoint()
    one = witness(state)
    one.look(FolderSource(log))
    before = (state / SEEN).read_bytes()
    if what != "rolled back":
        forged = LogWriter(FileDisk(other), signing_key(other))
        forged.append(rows(100, 20 if what == "forked" else 30))
        forged.checkpoint()
    with pytest.raises(Permanent) as refused:
        one.look(FolderSource(other))
    assert refused.value.code == ("audit_rolled_back" if what == "rolled back" else "audit_fork")
    assert (state / SEEN).read_bytes() == before
    assert [path for path in state.iterdir() if path.name.startswith("evidence-")]
    one.close()


def test_it_follows_one_log_only(tmp_path: Path) -> None:
    mine, theirs = (
        open_writer(tmp_path / "mine"),
        LogWriter(FileDisk(tmp_path / "theirs"), signing_key(tmp_path / "theirs", seed=9)),
    )
    for writer in (mine, theirs):
        writer.append(rows(1, 3))
        writer.checkpoint()
    one = witness(tmp_path / "state", str(mine.signing.vkey))
    with pytest.raises(AndonError):
        one.look(FolderSource(tmp_path / "theirs"))
    assert one.look(FolderSource(tmp_path / "mine")) is not None
    one.close()
    with pytest.raises(Refused):
        witness(tmp_path / "state", str(theirs.signing.vkey))


def test_a_memory_that_was_altered_is_not_believed(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "log")
    writer.append(rows(1, 3))
    writer.checkpoint()
    one = witness(tmp_path / "state")
    one.look(FolderSource(tmp_path / "log"))
    one.close()
    seen = tmp_path / "state" / SEEN
    seen.write_text(seen.read_text().replace("\n3\n", "\n2\n"))
    with pytest.raises(Permanent):
        witness(tmp_path / "state")
