"""What the factory's own credentials may do, as actions of the route tables.

Read by control and by the observer, which authorise alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

ADMIN_GRANTS = ("factory.*", "release.*", "key.*", "ledger.*", "fact.*", "telemetry.*", "observe.*")
GATEWAY_GRANTS = ("gateway.*",)
API_KEY_GRANTS = ("fact.write", "telemetry.write")  # of every API key of the gateway; never prices

ROLES: Mapping[str, Sequence[str]] = MappingProxyType(
    {"administrator": ADMIN_GRANTS, "gateway": GATEWAY_GRANTS, "sender": API_KEY_GRANTS}
)
