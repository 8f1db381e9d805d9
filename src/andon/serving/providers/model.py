"""The kind `Provider`: what people say of an upstream that others run, and what its health checks found.

Credentials are references, resolved by the gateway; a literal secret is refused.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

PROVIDER = "Provider"


class HealthSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """How to ask a provider whether it is well."""

    path: Annotated[
        str, Meta(description="Path below the url that answers 2xx when all is well; empty = do not ask.")
    ] = ""
    period_s: Annotated[float, Meta(description="Seconds between two checks.", ge=1, le=3600)] = 10.0
    timeout_s: Annotated[float, Meta(description="Longest wait for one answer.", gt=0, le=60)] = 2.0
    failures: Annotated[int, Meta(description="Failed checks in a row that mean unwell.", ge=1, le=100)] = 3


class ProviderSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One upstream of others."""

    url: Annotated[str, Meta(description="Base URL, e.g. https://api.example.com/v1.", min_length=1)]
    protocol: Annotated[Literal["openai", "oip"], Meta(description="What it speaks.")] = "openai"
    credential: Annotated[
        str,
        Meta(
            description="Reference to its key: secret:NAME, env:NAME, file:PATH, aws-sm:NAME#KEY or vault:PATH#KEY; "
            "empty = none."
        ),
    ] = ""
    models: Annotated[
        dict[str, str],
        Meta(description="Names used here to names the provider knows; others go through as they are."),
    ] = {}
    weight: Annotated[
        int, Meta(description="Share of traffic among targets of a release.", ge=1, le=1000)
    ] = 1
    health: Annotated[HealthSpec, Meta(description="Health checks.")] = HealthSpec()
    allow_insecure: Annotated[
        bool, Meta(description="Accept http to other machines: keys and bodies travel in the open.")
    ] = False


class ProviderStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the health checks found."""

    healthy: bool = True  # also when it is never asked
    failures: int = 0  # in a row
    checked_ns: int = 0
    reason: str = ""
