"""The one place where the command line imports late.

`andon --help` must appear within 200 ms, so what only some verbs need (the supervisor, the demo, YAML, the kinds) is
imported when such a verb runs. Nothing else of the product imports inside a function.
"""

from __future__ import annotations

import importlib
from typing import Any


def load(module: str) -> Any:
    """The module of this name, imported now."""
    return importlib.import_module(module)
