"""A store that says when resources changed, so that controllers look and the snapshot is compiled again at once.

Wraps the real store in the control process. The signal carries no data: whoever is told looks for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from andon.store.model import Lease, Record, Store, Unit

T = TypeVar("T")


class _NoticingUnit:
    """A unit of work that remembers whether a resource came out different."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self.changed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._unit, name)

    def put(self, record: Record, *, expect_version: int | None = None) -> Record:
        self.changed = True
        return self._unit.put(record, expect_version=expect_version)

    def delete(self, kind: str, name: str, *, expect_version: int | None = None) -> bool:
        self.changed = True
        return self._unit.delete(kind, name, expect_version=expect_version)

    def put_status(
        self,
        kind: str,
        name: str,
        status: dict[str, Any],
        *,
        expect_generation: int | None = None,
        lease: Lease | None = None,
    ) -> Record | None:
        before = self._unit.get(kind, name)
        if before is not None and before.status == status:
            return before
        self.changed = True
        return self._unit.put_status(kind, name, status, expect_generation=expect_generation, lease=lease)


class NoticingStore:
    """A `Store` with listeners. They are called on the event loop, after the transaction has been committed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.listeners: list[Callable[[], None]] = []

    async def transact(self, work: Callable[[Unit], T]) -> T:
        """Run `work`; tell the listeners if a resource changed."""
        seen: list[_NoticingUnit] = []

        def noticed(unit: Unit) -> T:
            noticing = _NoticingUnit(unit)
            seen[:] = [noticing]  # only the attempt that was committed counts
            return work(noticing)

        result = await self._store.transact(noticed)
        if seen and seen[0].changed:
            for listener in self.listeners:
                listener()
        return result

    async def close(self) -> None:
        """Close the store underneath."""
        await self._store.close()
