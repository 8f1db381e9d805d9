"""What the factory's own credentials may do, as actions of the route tables.

Read by control and by the observer, which authorise alike.
"""

from __future__ import annotations

ADMIN_GRANTS = ("factory.*", "release.*", "key.*", "ledger.*", "fact.*", "telemetry.*", "observe.*")
GATEWAY_GRANTS = ("gateway.*",)
API_KEY_GRANTS = ("fact.write", "telemetry.write")  # of every API key of the gateway; never prices
