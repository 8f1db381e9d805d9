"""The factory's own secrets: made once, for one user, and strong."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from andon.kernel.errors import Refused
from andon.kernel.random import SeededRandom, SystemRandom
from andon.security.identity.secret_files import (
    check_admin_key,
    load,
    load_or_create,
    load_or_create_key,
    load_or_create_pepper,
)
from andon.security.identity.token import make_token


def test_a_pepper_is_made_once_and_for_this_user_only(tmp_path: Path) -> None:
    path = tmp_path / "pepper"
    first = load_or_create_pepper(path, SystemRandom())
    assert len(first) == 32
    assert load_or_create_pepper(path, SystemRandom()) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["pepper"]


def test_a_secret_that_is_there_already_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "admin.key"
    assert load_or_create(path, "first") == "first"
    assert load_or_create(path, "second") == "first"


def test_processes_that_start_together_read_the_same_secret(tmp_path: Path) -> None:
    path = tmp_path / "admin.key"
    program = (
        "import sys; from pathlib import Path; from andon.security.identity.secret_files import load_or_create;"
        "print(load_or_create(Path(sys.argv[1]), sys.argv[2]))"
    )
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path), f"secret-{number}"],
            stdout=subprocess.PIPE,
            env=surroundings,
        )
        for number in range(4)
    ]
    assert len({process.communicate(timeout=60)[0] for process in started}) == 1
    assert os.listdir(tmp_path) == ["admin.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_secret_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "admin.key"
    load_or_create_key(path, SystemRandom())
    path.chmod(mode)
    with pytest.raises(Refused, match="other users") as error:
        load(path)
    assert error.value.code == "secret_file_open"
    assert path.read_text().strip() not in str(error.value)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    load_or_create_key(tmp_path / "real", SystemRandom())
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(Refused, match="cannot be opened"):
        load(tmp_path / "link")


@pytest.mark.parametrize("content", ["", "\n", "x" * 5000])
def test_an_empty_or_endless_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "admin.key"
    path.touch(0o600)
    path.write_text(content)
    with pytest.raises(Refused):
        load(path)


def test_a_damaged_pepper_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pepper"
    load_or_create(path, "not hex at all")
    with pytest.raises(Refused, match="hex digits"):
        load_or_create_pepper(path, SystemRandom())


@pytest.mark.parametrize(
    "key",
    [
        "sk-1234",
        "changeme",
        "admin",
        "sk-1234-sk-1234-sk-1234-sk-1234",
        "changeme-changeme-changeme-changeme",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "abababababababababababababababababab",
        "my-secret-1f8a9c0b7e6d5f4a3b2c1d0e",
        "correct horse battery staple and more words",
        "",
    ],
)
def test_a_weak_administrators_key_refuses_to_start(key: str) -> None:
    with pytest.raises(Refused) as error:
        check_admin_key(key)
    assert error.value.code == "weak_key"
    assert len(key) < 8 or key not in str(error.value)


@pytest.mark.parametrize("key", [make_token(SeededRandom(7)).text, "V7mQ2xLr9TzKp4WcHn8sYdBf3Gj6"])
def test_a_strong_administrators_key_is_accepted(key: str) -> None:
    check_admin_key(key)
