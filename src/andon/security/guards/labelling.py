"""The stage that gives an exchange its data class before anything is sent: the endpoint's own, or what its caller says.

Findings of guards may raise it later; nothing lowers it. Memory only.
"""

from __future__ import annotations

from collections.abc import Callable

from andon.kernel.clearance import label_refusal
from andon.kernel.errors import AndonError
from andon.kernel.exchange import Exchange
from andon.kernel.labels import RANKS
from andon.kernel.snapshot import Snapshot


class LabelStage:
    """Labels exchanges, and refuses those whose class may not go where they want to."""

    name = "label"

    def adopt(self, snapshot: Snapshot) -> Callable[[], None]:
        """Nothing is built: the exchange has its endpoint."""
        return _nothing

    def admit(self, exchange: Exchange) -> AndonError | None:
        """See the module."""
        endpoint = exchange.endpoint
        if endpoint is None:
            return None
        if RANKS[endpoint.label] > RANKS[exchange.label]:
            exchange.label = endpoint.label
        return label_refusal(exchange)

    def settle(self, exchange: Exchange) -> None:
        """Nothing is held."""


def _nothing() -> None:
    """Nothing is to be put in force."""
