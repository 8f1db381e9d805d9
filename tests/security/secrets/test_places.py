"""Values of this machine: what may be read as a credential, and what the factory keeps to itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import pytest

from andon.kernel.errors import Refused
from andon.security.secrets.inspection import Inspection
from andon.security.secrets.places import read_local
from andon.store.model import Record, Unit


def test_the_factorys_own_files_are_no_credentials(tmp_path: Path) -> None:
    """Whoever may name a credential and where it is sent must not have the administrator's key sent there."""
    home = tmp_path / "f" / ".andon"
    home.mkdir(parents=True)
    (home / "admin.key").write_text("the key of everything")
    (tmp_path / "link").symlink_to(home / "admin.key")
    (tmp_path / "own.key").write_text("mine\n")
    for place in (home / "admin.key", home / "x" / ".." / "admin.key", tmp_path / "link"):
        with pytest.raises(Refused) as refused:
            read_local(f"file:{place}", {}, home)
        assert "the key of everything" not in str(refused.value)
    assert read_local(f"file:{tmp_path / 'own.key'}", {}, home) == "mine"


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert read_local(f"file:{tmp_path / 'pipe'}", {}) == ""


@pytest.mark.parametrize("place", [".andon/admin.key", "/srv/f/.andon/kek", "./.andon/../.andon/kek"])
def test_a_reference_to_the_factorys_own_files_is_a_problem_at_plan(place: str) -> None:
    record = Record(kind="Provider", name="far", spec={"credential": f"file:{place}"})
    found = Inspection()(cast("Unit", None), record, 0)  # nothing is looked up for a file
    assert [one.path for one in found] == ["spec.credential"]
    fine = Record(kind="Provider", name="far", spec={"credential": "file:/run/secrets/far"})
    assert Inspection()(cast("Unit", None), fine, 0) == []
