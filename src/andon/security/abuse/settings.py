"""What an operator may set of a gateway's protection; every bound of the room stands here.

Read from the process's settings and handed down by `app`.
"""

from __future__ import annotations

from typing import Final

import msgspec


class AbuseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one gateway."""

    trusted_proxies: tuple[str, ...] = ()  # networks whose X-Forwarded-For is believed
    exempt: tuple[str, ...] = ()  # networks that are never made to wait
    offences: int = 20  # within `forgiving_s` after which an address or key waits; 0 = never
    forgiving_s: float = 60.0  # in which that many offences are forgiven, evenly
    penalty_s: float = 1.0  # the first wait; doubles with each offence more
    penalty_max_s: float = 300.0
    subjects_max: int = (
        50_000  # addresses, and keys, remembered; beyond, whoever offended longest ago is forgotten
    )
    in_flight_max: int = 4_096  # requests of the whole gateway; beyond, lower priorities are refused first
    in_flight_min: int = 16  # what a slow event loop can lower that to
    lag_s: float = 0.1  # of the event loop that is still well
    lag_period_s: float = 0.1  # between two looks at it
    reserve: float = 0.2  # of the places in flight that only the highest priority may fill
    watched_max: int = (
        10_000  # pairs of principal and endpoint whose inputs are sketched; beyond, the oldest goes
    )
    judging_s: float = 5.0  # between two judgements of all pairs


UNSET: Final = AbuseSettings()
