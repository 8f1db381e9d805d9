"""Signals: what fires now, as parts of the observer tell it and alerts read it.

A part that can fire adds a source once; alerts ask `firing()` and dedup, group and send. Nothing here waits or keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """Something that fires now."""

    name: str  # of the resource, such as an Objective
    severity: Literal["page", "ticket"]
    slice: dict[str, str]  # labels that tell it from others of its name
    value: float  # such as the burn rate of the window
    threshold: float  # from which it fires
    window: str  # such as "1h"
    why: str
    since_ns: int  # since when it fires


Source = Callable[[], Sequence[Signal]]


class Signals:
    """Every source, by the name of its part."""

    def __init__(self) -> None:
        self._sources: dict[str, Source] = {}

    def add(self, part: str, source: Source) -> None:
        """A part says from where its signals come; once, when it is built."""
        self._sources[part] = source

    def firing(self) -> Mapping[str, Sequence[Signal]]:
        """What fires now, by part."""
        return {part: source() for part, source in self._sources.items()}
