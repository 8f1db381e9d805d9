"""Wrapping keys: a file that others rotate, variables, several sources; and keys of bodies that are destroyed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from andon.kernel.errors import Conflict, Refused
from andon.kernel.random import SystemRandom
from andon.security.secrets.body_keys import BodyKeys, day_name, subject_name
from andon.security.secrets.envelope import Context, seal, unseal
from andon.security.secrets.keyring import VERSIONS_MAX, FileKeys, Keyring, parse_keys

RANDOM = SystemRandom()
ABOUT = Context(factory="f", kind="Secret", record="a@1")


def test_a_file_is_made_once_for_its_owner_only_and_processes_that_start_together_agree(tmp_path: Path):
    path = tmp_path / "kek"
    code = (
        "import sys; from pathlib import Path; from andon.kernel.random import SystemRandom;"
        "from andon.security.secrets.keyring import FileKeys; FileKeys(Path(sys.argv[1]), SystemRandom())"
    )
    command = [sys.executable, "-c", code, str(path)]
    started = [
        subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
        for _ in range(3)
    ]
    assert [process.wait(30) for process in started] == [0, 0, 0]
    opened = [FileKeys(path, RANDOM) for _ in range(2)]
    assert path.stat().st_mode & 0o777 == 0o600
    assert len({one.present() for one in opened}) == 1
    assert unseal(seal(b"x", ABOUT, opened[0], RANDOM), ABOUT, opened[-1]) == b"x"


def test_another_process_sees_a_rotation_and_a_removal(tmp_path: Path):
    here, there = FileKeys(tmp_path / "kek", RANDOM), FileKeys(tmp_path / "kek", RANDOM)
    old = seal(b"x", ABOUT, there, RANDOM)
    assert here.rotate() == 2
    assert there.present()[1] == 2
    assert unseal(old, ABOUT, there) == b"x"
    assert unseal(seal(b"y", ABOUT, there, RANDOM), ABOUT, here) == b"y"
    with pytest.raises(Conflict):
        here.remove(2)
    here.remove(1)
    assert there.versions() == (2,)
    with pytest.raises(Refused) as found:
        unseal(old, ABOUT, there)
    assert found.value.code == "kek_unknown"


def test_versions_have_a_limit(tmp_path: Path):
    keys = FileKeys(tmp_path / "kek", RANDOM)
    for _ in range(VERSIONS_MAX - 1):
        keys.rotate()
    with pytest.raises(Conflict) as found:
        keys.rotate()
    assert found.value.code == "kek_versions_full"


def test_a_file_that_others_can_read_or_that_is_damaged_is_refused_without_its_content(tmp_path: Path):
    path = tmp_path / "kek"
    FileKeys(path, RANDOM)
    path.chmod(0o644)
    with pytest.raises(Refused) as found:
        FileKeys(path, RANDOM)
    assert found.value.code == "secret_file_open"
    path.chmod(0o600)
    for text in (
        "nonsense",
        "id a\n1 zz",
        "id a",
        "id a\n1 " + "0" * 62,
        "id a\n0 " + "0" * 64,
        "id\n1 " + "0" * 64,
    ):
        path.write_text(text)
        with pytest.raises(Refused) as found:
            FileKeys(path, RANDOM)
        assert found.value.code == "kek_damaged"
        assert found.value.__cause__ is None
        assert text not in str(found.value)


def test_sixty_four_digits_alone_are_a_key():
    keys = parse_keys("ab" * 32, "X", RANDOM)
    assert unseal(seal(b"x", ABOUT, keys, RANDOM), ABOUT, keys) == b"x"


def test_the_first_source_wraps_and_each_opens_its_own():
    old, new = (
        parse_keys("id old\n1 " + "ab" * 32, "X", RANDOM),
        parse_keys("id new\n1 " + "cd" * 32, "X", RANDOM),
    )
    before = seal(b"x", ABOUT, old, RANDOM)
    ring = Keyring([new, old])
    assert ring.present() == ("new", 1)
    assert unseal(before, ABOUT, ring) == b"x"
    assert unseal(seal(b"y", ABOUT, ring, RANDOM), ABOUT, new) == b"y"


def test_a_destroyed_key_of_bodies_is_gone_in_every_process_and_a_rewrap_does_not_bring_it_back(
    tmp_path: Path,
):
    kek = FileKeys(tmp_path / "kek", RANDOM)
    folder = tmp_path / "keys"
    folder.mkdir()
    writer, reader = (BodyKeys(folder, kek, RANDOM, "home") for _ in range(2))
    name, day = subject_name("ann@example.com", b"pepper"), day_name("2026-11-22")
    key = writer.find_or_make(name, 0)
    assert reader.find(name, 0) == key
    writer.find_or_make(day, 0)
    assert "ann" not in " ".join(os.listdir(folder))
    assert all(key not in path.read_bytes() for path in folder.iterdir())
    assert reader.destroy(name)
    assert not reader.destroy(name)
    kek.rotate()
    assert [one for one in (name, day) if writer.rewrap(one)] == [day]
    for keys in (writer, reader):
        with pytest.raises(Refused) as found:
            keys.find(name, 2 * 10**9)
        assert found.value.code == "body_erased"
        assert keys.held(name, 2 * 10**9) is None
    assert writer.find_or_make(name, 0) != key
    assert writer.wrapped_by() == {(kek.present()[0], 2): 2}


@pytest.mark.parametrize("name", ["../kek", "day-1", "subject-zz", "", "day-2026-11-22/../x"])
def test_a_name_from_a_forged_record_leads_nowhere(tmp_path: Path, name: str):
    keys = BodyKeys(tmp_path, FileKeys(tmp_path / "kek", RANDOM), RANDOM, "home")
    with pytest.raises(Refused) as found:
        keys.find(name, 0)
    assert found.value.code == "envelope_refused"
