"""Protection of one gateway from its settings; the client of shared counters is loaded only where a store is named.

Pure set-up; it opens nothing. Who calls it runs `SharedCounters.run` beside the requests.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from andon.app.gateway_assembly import AssembledGateway
from andon.app.settings import Settings
from andon.kernel.clock import Clock
from andon.kernel.errors import Refused
from andon.kernel.random import Random
from andon.security.abuse.settings import AbuseSettings
from andon.security.limits.shared import Channel, SharedCounters, SharedSettings
from andon.wire.server import Server

CHANNEL = "andon.security.limits.redis_channel"
SCHEMES = ("redis://", "rediss://", "unix://")


def shared_counters(
    settings: Settings, *, clock: Clock, random: Random, credential: Callable[[str], str]
) -> SharedCounters | None:
    """The gateway's side of shared counters; None where it counts for itself. Raises Refused."""
    if not settings.limits_url:
        return None
    if not settings.limits_url.startswith(SCHEMES):
        raise Refused(
            "settings_invalid",
            "limits_url does not name a store of counters.",
            hint="Write redis://host:port/0, or rediss:// for TLS; Valkey speaks the same.",
        )
    try:
        room = importlib.import_module(CHANNEL)
    except ModuleNotFoundError as error:
        raise Refused(
            "settings_invalid",
            f"limits_url needs a package that is not installed: {error.name}.",
            hint="Install andon[redis].",
        ) from error
    # A run of a gateway is somebody new: what an earlier one held comes back with its lease.
    identity = f"{settings.gateway_name}:{random.bits(64):016x}"
    channel: Channel = room.RedisChannel(
        settings.limits_url,
        settings.limits_name,
        identity,
        password=credential(settings.limits_credential) if settings.limits_credential else "",
        ca_file=settings.limits_ca,
    )
    bounds = SharedSettings(
        factory=settings.limits_name,
        gateways=settings.gateways,
        lease_s=settings.limits_lease_s,
        patience_s=settings.limits_patience_s,
        recall_s=settings.limits_lease_s * 1.25,
    )
    return SharedCounters(channel, bounds, clock=clock, random=random)


def abuse_settings(settings: Settings) -> AbuseSettings:
    """Bounds of the stages against abuse."""
    return AbuseSettings(
        trusted_proxies=_listed(settings.trusted_proxies),
        exempt=_listed(settings.abuse_exempt),
        offences=settings.abuse_offences,
        forgiving_s=settings.abuse_forgiving_s,
        penalty_max_s=settings.abuse_penalty_max_s,
        in_flight_max=settings.in_flight_max,
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def protection_counters(built: AssembledGateway, data: Server) -> dict[str, float]:
    """What the protection of a gateway has counted, by full names of metrics."""
    conduct, addresses = built.conduct, built.addresses
    found: dict[str, float] = {
        "andon_shed_total": conduct.shedder.shed,
        "andon_penalties_addresses_total": addresses.penalties.given,
        "andon_penalties_keys_total": conduct.penalties.given,
        "andon_penalties_refused_total": addresses.refused + conduct.refused,
        "andon_penalties_forgotten_total": addresses.penalties.forgotten + conduct.penalties.forgotten,
        "andon_extraction_suspected_total": conduct.suspected,
        "andon_extraction_forgotten_total": conduct.extraction.forgotten,
        "andon_listener_refused_total": sum(
            count for name, count in data.counters.items() if name.startswith("refused_")
        ),
    }
    if built.shared is not None:
        found |= {f"andon_limits_{name}_total": count for name, count in built.shared.counts.items()}
    return found


def protection_gauges(built: AssembledGateway) -> dict[str, float]:
    """How the protection of a gateway stands."""
    conduct = built.conduct
    found: dict[str, float] = {
        "andon_in_flight_bound": conduct.shedder.bound,
        "andon_loop_lag_seconds": conduct.shedder.lag_s,
        "andon_penalties_subjects": len(built.addresses.penalties) + len(conduct.penalties),
        "andon_extraction_watched": len(conduct.extraction),
    }
    if built.shared is not None:
        found["andon_limits_store_away"] = float(built.shared.away)
    return found
