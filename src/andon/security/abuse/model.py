"""The kind `AbusePolicy`: when somebody's questions to a model look like the making of a copy, and what then is done.

Everything is compared with what others ask of the same endpoint and with what the same caller asked before.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from andon.control.kinds import Kind, Problem, World
from andon.kernel.snapshot import AbuseEntry
from andon.store.model import Record

Action = Literal["alert", "throttle", "block"]


class AbusePolicySpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Detection of model extraction on endpoints. (OWASP AISVS 11.2; Tramer et al. 2016.)"""

    endpoints: Annotated[
        tuple[str, ...], msgspec.Meta(description="Endpoints that are watched; none: all of them.")
    ] = ()
    window_s: Annotated[
        float, msgspec.Meta(ge=10, le=86_400, description="Seconds over which inputs are counted.")
    ] = 3600.0
    distinct_inputs: Annotated[
        int,
        msgspec.Meta(
            ge=10, le=10**9, description="Different inputs in a window below which nothing is said."
        ),
    ] = 1000
    peers_ratio: Annotated[
        float,
        msgspec.Meta(
            ge=1, le=10**6, description="How many times what others, and the caller before, asked is suspect."
        ),
    ] = 5.0
    boundary_margin: Annotated[
        float,
        msgspec.Meta(
            ge=0,
            le=0.5,
            description="Scores so near the threshold count as probing it; 0: not looked at. Needs a recorded "
            "prediction.",
        ),
    ] = 0.05
    action: Annotated[
        Action,
        msgspec.Meta(description="Say so; or also slow the caller down, or refuse it, on that endpoint."),
    ] = "alert"
    limit_rpm: Annotated[
        int, msgspec.Meta(ge=1, le=10**6, description="Requests a minute that a slowed caller may make.")
    ] = 10
    hold_s: Annotated[
        float,
        msgspec.Meta(ge=1, le=86_400, description="Seconds for which the action lasts after the last sign."),
    ] = 600.0


def check_policy(spec: AbusePolicySpec, record: Record, world: World) -> list[Problem]:
    """What could not be enforced: endpoints that do not exist."""
    return [
        Problem(
            path=f"spec.endpoints[{place}]",
            message=f"there is no Endpoint '{name}'",
            hint="Add the Endpoint, or correct it.",
        )
        for place, name in enumerate(spec.endpoints)
        if ("Endpoint", name) not in world
    ]


ABUSE_POLICY = Kind(
    name="AbusePolicy",
    plural="abusepolicies",
    spec=AbusePolicySpec,
    summary="When a caller's questions look like the copying of a model, and what is done then.",
    check=check_policy,
    columns=(
        ("ENDPOINTS", "spec.endpoints"),
        ("DISTINCT", "spec.distinctInputs"),
        ("ACTION", "spec.action"),
    ),
)


def abuse_entry(record: Record) -> AbuseEntry:
    """What a snapshot says of a stored AbusePolicy. Raises msgspec.ValidationError."""
    spec = msgspec.convert(record.spec, AbusePolicySpec)
    return AbuseEntry(name=record.name, **msgspec.structs.asdict(spec))
