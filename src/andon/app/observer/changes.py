"""The part of changes: error streams of all releases, watched request by request.

Wires the watch to the feed and the metrics; alerts read its gauge by name. Decides nothing.
"""

from __future__ import annotations

from andon.app.observer.part import ObserverGround, Part
from andon.observability.quality.streams.watching import ChangeWatch


def build_changes(ground: ObserverGround) -> Part:
    """The part on its ground."""
    watch = ChangeWatch(ground.clock)
    return Part(name="changes", consumers=(watch,), metrics=(watch,))
