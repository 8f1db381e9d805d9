"""The page on security works as it is written: its commands, by bash, on a real factory with TLS."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.test_first_steps import Reader, blocks, stand_ins

PAGE = Path(__file__).resolve().parents[2] / "docs" / "security.md"


@pytest.mark.slow
def test_the_page_on_security_does_what_it_says(tmp_path: Path) -> None:
    reader = Reader(tmp_path, "plant")
    reader.environment["XDG_CONFIG_HOME"] = str(tmp_path / "config")  # sessions of nobody else
    said: list[str] = []
    try:
        said += [reader.type(block) for block in blocks(PAGE)]
    finally:
        reader.factory.andon("down", code=None)
        for process in reader.factory.processes("") + stand_ins(reader):
            process.kill()
    start, user, secret, applied, asked, explained, guarded, signed, audited, down = said
    assert f"https://127.0.0.1:{reader.factory.port}" in start
    assert re.search(r"\.andon/certificates/gateway\.pem +gateway .* valid", start)
    assert "Signed in as ann" in user
    assert re.search(r"provider +active +1 +user:ann", secret)
    assert "6 to create" in applied
    assert "HTTP 200" in asked
    assert "HTTP 403" in asked
    assert "policy_denied" in asked
    assert re.search(r"desk +carol +- +internal +active +20\d\d-", asked)
    assert "class-above-the-caller  (Policy/data-class, line 1)" in explained
    assert re.search(r"personal-data +input +shadow .* EMAIL_ADDRESS 1", guarded)
    assert "Write to [EMAIL_ADDRESS]" in guarded
    assert re.search(r"adder-1 +clean +true +build +python", signed)
    assert re.search(r"cosigned \d+ entries", audited)
    assert audited.rstrip().endswith("sound")
    assert "NOT SOUND" not in audited
    assert "stopping the factory" in down
