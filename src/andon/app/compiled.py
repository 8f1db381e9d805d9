"""The compiled form of the hot path: found, held against its sources, and used only where both are the same.

First thing that the gateway's process does, before any room is imported. `tools/compile.py` makes the form; without it,
or after any edit, the same sources run interpreted. It must never let an extension module stand in for other sources.
"""

from __future__ import annotations

import json
import sys
import sysconfig
from collections.abc import Mapping
from hashlib import blake2b
from importlib.abc import MetaPathFinder
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

PURE: Final = "ANDON_PURE"  # set to anything: neither make nor use a compiled form
MANIFEST: Final = "manifest.json"
SHARED: Final = "andon__mypyc"  # the library that holds the code of all modules
SOURCE: Final = Path(__file__).resolve().parent.parent
# What the compiled modules were compiled against: constants and types of all of these are in the machine code.
_ROOMS: Final = (
    "control",
    "gateway",
    "kernel",
    "ledger",
    "lifecycle",
    "security",
    "serving",
    "store",
    "wire",
)


class Found(NamedTuple):
    """The extension module of each module name, or why there is none to use."""

    modules: Mapping[str, Path]
    reason: str


def folder() -> Path:
    """Where the compiled form is: with the interpreter that it was made for, outside the sources."""
    return Path(sysconfig.get_path("platlib")) / "andon_compiled"


def digest(source: Path) -> str:
    """What the form depends on: this interpreter and every source file of the rooms, to the byte."""
    hashed = blake2b(f"{sys.version}{sysconfig.get_config_var('EXT_SUFFIX')}".encode(), digest_size=16)
    for room in _ROOMS:
        for path in sorted((source / room).rglob("*.py")):
            content = path.read_bytes()
            hashed.update(f"{path.relative_to(source).as_posix()}\0{len(content)}\0".encode())
            hashed.update(content)
    return hashed.hexdigest()


def find(environment: Mapping[str, str], compiled: Path, source: Path = SOURCE) -> Found:
    """The modules to use; takes some milliseconds, because it reads the sources."""
    nothing: Mapping[str, Path] = MappingProxyType({})
    if environment.get(PURE):
        return Found(nothing, f"{PURE} is set")
    try:
        manifest = json.loads((compiled / MANIFEST).read_bytes())
        if manifest["digest"] != digest(source):
            return Found(nothing, "the sources have changed since; run: make compile")
        return Found({name: compiled / path for name, path in manifest["modules"].items()}, "")
    except FileNotFoundError:
        return Found(nothing, "nothing is compiled")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Found(nothing, f"the compiled form cannot be read: {error}")


class _Finder(MetaPathFinder):
    """Hands out extension modules by name; every other module is left to Python."""

    def __init__(self, modules: Mapping[str, Path]) -> None:
        self._modules = modules

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The place of a compiled module."""
        place = self._modules.get(fullname)
        if place is None:
            return None
        loader = ExtensionFileLoader(fullname, str(place))
        return spec_from_file_location(fullname, str(place), loader=loader)


def use(environment: Mapping[str, str]) -> str:
    """Let the modules imported from now on be the compiled ones; why they are not, or nothing if they are.

    All of them or none: compiled modules call each other without asking Python which one is meant.
    """
    modules, reason = find(environment, folder())
    if not reason:
        early = [name for name in modules if name in sys.modules]
        if early:
            return f"{early[0]} was imported before"
        finder = _Finder(modules)
        sys.meta_path.insert(0, finder)
        try:
            __import__(SHARED)
        except ImportError as error:
            sys.meta_path.remove(finder)
            return f"it cannot be loaded: {error}"
    return reason
