"""Makes `requirements.lock`: every dependency, extra and tool at one exact version with all its hashes.

Run by `make lock`, by hand, when `pyproject.toml` changes. Needs `uv` on PATH (or in $UV): it resolves for every
supported Python and platform at once. It must never write an address: whoever installs uses their own index.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Exact versions and hashes of everything; made by `make lock` from pyproject.toml. Do not edit.\n"
BUILD = ("editables",)  # hatchling asks for it only while it builds an editable install
OPTIONS = "--universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet".split()
NO_ADDRESSES = "--no-emit-index-url --no-emit-find-links --no-emit-build-options".split()
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.M)


def resolve(uv: str, lock: Path) -> str:
    """The text of the lock: all extras, the development group and the build backend, upgraded to the newest."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extra_input = lock.with_suffix(".in")
    extra_input.write_text("\n".join((*project["build-system"]["requires"], *BUILD)) + "\n", encoding="utf-8")
    command = [uv, "pip", "compile", "pyproject.toml", str(extra_input), "--all-extras", "--group", "dev"]
    try:
        subprocess.run([*command, *OPTIONS, *NO_ADDRESSES, "--output-file", str(lock)], check=True, cwd=ROOT)
    finally:
        extra_input.unlink()
    return HEADER + lock.read_text(encoding="utf-8")


def refuse_addresses(text: str) -> None:
    """Raises ValueError if a lock says where to download from."""
    found = re.search(r"://|^\s*--(?!hash=)|\s@\s", text, re.M)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        raise ValueError(
            f"line {line} of the lock holds an address or an option; only versions and hashes may be there"
        )


def pins(text: str) -> dict[str, set[str]]:
    """The versions of each package in a lock; more than one where they differ by Python or platform."""
    versions: dict[str, set[str]] = {}
    for name, version in PINNED.findall(text):
        versions.setdefault(name, set()).add(version)
    return versions


def main() -> int:
    """Write the lock; 2 where uv is missing."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        print("make lock needs uv: install it with `pipx install uv`, or point $UV at it", file=sys.stderr)
        return 2
    target = ROOT / "requirements.lock"
    draft = target.with_suffix(".draft")
    try:
        text = resolve(uv, draft)
        refuse_addresses(text)
        target.write_text(text, encoding="utf-8")
    finally:
        draft.unlink(missing_ok=True)
    print(f"requirements.lock: {len(pins(text))} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
