"""Connections to issuers: one client for each set of certificates that is trusted, apart from all other traffic.

An issuer with certificates of its own is trusted by these alone. Made by the processes that ask issuers for keys.
"""

from __future__ import annotations

import ssl

from andon.kernel.clock import Clock
from andon.kernel.errors import Transient
from andon.kernel.ports import Upstream
from andon.wire.client import Client
from andon.wire.limits import ClientLimits

CLIENTS_MAX = 64  # different sets of certificates; an issuer beyond is not asked
_LIMITS = ClientLimits(connections_max=4, waiting_max=64, body_bytes_max=512 * 1024, idle_age_s=5.0)


class IssuerClients:
    """Fulfils `security.identity.discovery.Upstreams`. Use it on one event loop; `close` it at the end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._clients: dict[str, Client] = {}

    def find(self, certificates: str) -> Upstream:
        """The client that trusts these certificates (PEM; empty = the system's). Raises Transient."""
        known = self._clients.get(certificates)
        if known is not None:
            return known
        if len(self._clients) >= CLIENTS_MAX:
            raise Transient(
                "issuer_unusable", f"There are {CLIENTS_MAX} different sets of certificates already."
            )
        try:
            context = ssl.create_default_context(cadata=certificates or None)
        except (ssl.SSLError, ValueError) as error:
            raise Transient(
                "issuer_unusable", "The issuer's certificates are damaged.", hint="Correct its caFile."
            ) from error
        context.set_alpn_protocols(["http/1.1"])
        made = self._clients[certificates] = Client(self._clock, _LIMITS, context)
        return made

    async def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            await client.close()
