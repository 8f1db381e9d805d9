"""Whatever is done to a log is found by somebody who has public keys and what its witness has seen."""

from __future__ import annotations

from pathlib import Path

from tests.security.audit.tampering import set_up, tamper


def test_every_change_is_found(tmp_path: Path) -> None:
    missed = [what for what, found in tamper(set_up(tmp_path), flips=150) if not found]
    assert missed == []
