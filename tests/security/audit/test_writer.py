"""The writer: what is durable stays, what was signed is never forked, wherever it is killed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from andon.kernel.errors import Permanent
from andon.ledger.disk import FileDisk
from andon.security.audit.checking import check_log
from andon.security.audit.hashing import leaf_hash
from andon.security.audit.notes import read_checkpoint, read_note
from andon.security.audit.proving import prove_consistency, prove_inclusion
from andon.security.audit.sources import FolderSource, Nodes, read_entries
from andon.security.audit.verifying import is_consistent, is_included
from andon.security.audit.writer import LogWriter
from tests.security.audit.logs import make_log, open_writer, rows, signing_key


def test_a_log_is_sound_and_every_entry_can_be_proved(tmp_path: Path) -> None:
    vkey = make_log(tmp_path, (1, 255, 1, 600, 70_000 % 1000))
    source = FolderSource(tmp_path)
    findings = check_log(source, vkey)
    assert findings.faults == []
    assert findings.size == 857
    nodes = Nodes(source, findings.size)
    for index in (0, 255, 256, 600, 856):
        entry = read_entries(source, index // 256, findings.size)[index % 256]
        proof = prove_inclusion(nodes, index, findings.size)
        assert is_included(index, findings.size, leaf_hash(entry), proof, bytes.fromhex(findings.root))


def test_more_than_a_tile_of_tiles(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    writer.append(rows(1, 66_000))
    first = read_checkpoint(str(writer.checkpoint()).rpartition("\n\n")[0] + "\n")
    writer.append(rows(66_001, 500))
    writer.checkpoint()
    assert check_log(FolderSource(tmp_path), writer.signing.vkey).faults == []
    proof = prove_consistency(Nodes(FolderSource(tmp_path), 66_500), 66_000, 66_500)
    assert is_consistent(66_000, 66_500, proof, first.root, writer.signed.root)
    again = LogWriter(FileDisk(tmp_path), writer.signing)
    assert (again.size, again.positions, again.signed.root) == (
        66_500,
        {"rows/a": 66_500},
        writer.signed.root,
    )


class Dying(FileDisk):
    """A disk whose process is killed after so many operations that change something."""

    def __init__(self, root: Path, left: int) -> None:
        super().__init__(root)
        self.left = left

    def replace(self, path: str, data: bytes) -> None:
        self._spend()
        super().replace(path, data)

    def remove(self, path: str) -> None:
        self._spend()
        super().remove(path)

    def _spend(self) -> None:
        if not self.left:
            raise OSError(5, "killed here")
        self.left -= 1


@pytest.mark.parametrize("before", [0, 250, 256])
def test_killed_at_any_step_nothing_is_lost_doubled_or_forked(tmp_path: Path, before: int) -> None:
    base = tmp_path / "base"
    signing = signing_key(base)
    writer = LogWriter(FileDisk(base), signing)
    if before:
        writer.append(rows(1, before))
        writer.checkpoint()
    step, ended = 0, False
    while not ended:
        folder = tmp_path / f"at-{step}"
        shutil.copytree(base, folder)
        signed = []
        try:
            dying = LogWriter(FileDisk(folder), signing)
            dying._disk = Dying(folder, step)
            for first, count in ((before + 1, 4), (before + 5, 300), (before + 305, 3)):
                dying.append(rows(first, count))
                signed.append(str(dying.checkpoint()))
            ended = True
        except OSError:
            pass  # the crash that is tried
        on_disk = FileDisk(folder)
        seen = [read_checkpoint(read_note(text).text) for text in signed]
        again = LogWriter(on_disk, signing)
        assert again.size == again.positions.get("rows/a", 0)
        assert again.size >= max((one.size for one in seen), default=before)
        again.append(rows(again.size + 1, 5))
        again.checkpoint()
        assert check_log(FolderSource(folder), signing.vkey).faults == []
        nodes = Nodes(FolderSource(folder), again.size)
        for one in seen:
            proof = prove_consistency(nodes, one.size, again.size)
            assert is_consistent(one.size, again.size, proof, one.root, again.signed.root)
        shutil.rmtree(folder)
        step += 1
    assert step > 15


def test_a_disk_that_failed_is_tried_again_byte_for_byte(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    writer._disk = Dying(tmp_path, 1)
    with pytest.raises(OSError):
        writer.append(rows(1, 300))
    with pytest.raises(RuntimeError):
        writer.append(rows(301, 1))
    writer._disk = FileDisk(tmp_path)
    writer.finish()
    writer.append(rows(301, 1))
    writer.checkpoint()
    findings = check_log(FolderSource(tmp_path), writer.signing.vkey)
    assert (findings.faults, findings.size) == ([], 301)


def test_a_log_whose_signed_entries_were_altered_is_not_continued(tmp_path: Path) -> None:
    make_log(tmp_path, (40,))
    bundle = tmp_path / "tile" / "entries" / "000.p" / "40"
    bundle.write_bytes(bundle.read_bytes().replace(b'"r-5"', b'"r-6"'))
    with pytest.raises(Permanent, match="cannot be continued"):
        open_writer(tmp_path)


def test_a_lost_state_is_found_again_from_the_entries(tmp_path: Path) -> None:
    make_log(tmp_path)
    before = open_writer(tmp_path).positions
    (tmp_path / "state.json").unlink()
    assert open_writer(tmp_path).positions == before
    (tmp_path / "state.json").write_bytes(b"{}")
    assert open_writer(tmp_path).positions == before
