"""The lock pins everything that the project declares, with hashes, and says nowhere where to download it from."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement

from tools.lock import ROOT, pins, refuse_addresses

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> list[Requirement]:
    texts = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        texts += extra
    texts += PROJECT["dependency-groups"]["dev"]
    return [Requirement(text) for text in texts if not text.startswith("andon[")]


def test_everything_declared_is_pinned_within_its_bounds() -> None:
    locked = pins(LOCK)
    for requirement in declared():
        versions = locked.get(canonical(requirement.name), set())
        assert versions, f"{requirement.name} is not in the lock; run make lock"
        for version in versions:
            assert requirement.specifier.contains(version, prereleases=True), (
                f"{requirement} but {version} is locked"
            )


def test_every_pin_has_a_hash() -> None:
    for entry in re.split(r"\n(?=\S)", LOCK):
        if "==" in entry and not entry.startswith("#"):
            assert "--hash=sha256:" in entry, entry


def test_the_lock_holds_no_address() -> None:
    refuse_addresses(LOCK)


@pytest.mark.parametrize("line", ["--index-url x", "a @ file.whl", "a==1 # https://x", "--find-links ./x"])
def test_an_address_in_a_lock_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        refuse_addresses(f"# lock\n{line}\n")
