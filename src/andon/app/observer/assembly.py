"""Every part of the observer, in order: the one list from which its routes, loops, consumers and metrics are made.

Also read by control, which forwards the observer's routes, and by the reference of the API.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from andon.app.observer.part import ObserverGround, Part
from andon.app.observer.windows import build_windows

Build = Callable[[ObserverGround], Part]


def builders() -> tuple[Build, ...]:
    """The parts, each by the function that builds it."""
    return (build_windows,)


def build_parts(ground: ObserverGround) -> Sequence[Part]:
    """Every part on one ground."""
    return [build(ground) for build in builders()]
