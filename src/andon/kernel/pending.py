"""What a stage answers that cannot decide from memory: ask me again, asynchronously.

Returned from `admit` in the place of a refusal; never shown to anybody. The gateway then awaits the stage's `arrange`,
which decides within a bound of its own.
"""

from __future__ import annotations

from typing import Final, Protocol

from andon.kernel.errors import AndonError
from andon.kernel.exchange import Exchange


class Pending(AndonError):
    """Not a refusal: the decision is somebody else's, who must be asked."""


PENDING: Final = Pending("pending", "The decision has to be asked for.")


class Arranging(Protocol):
    """A stage that may answer `PENDING`."""

    async def arrange(self, exchange: Exchange) -> AndonError | None:
        """Decide, within a bounded time. When cancelled, nothing stays taken."""
        ...
