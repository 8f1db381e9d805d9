"""A store that holds one monitor: what the controllers of drift and of quality are tested on."""

from __future__ import annotations

from typing import Any

import msgspec

from andon.store.model import Record


class OneRecord:
    """A store with one monitor."""

    def __init__(self, kind: str, spec: Any) -> None:
        self.record = Record(kind=kind, name="credit", spec=msgspec.to_builtins(spec))
        self.events: list[Any] = []

    def get(self, kind: str, name: str) -> Record | None:
        return self.record if name == "credit" else None

    def list(self, kind: str) -> list[Record]:
        return [self.record]

    def append(self, event: Any) -> int | None:
        if event.unique in [one.unique for one in self.events]:
            return None
        self.events.append(event)
        return len(self.events)

    async def transact(self, work: Any) -> Any:
        return work(self)
