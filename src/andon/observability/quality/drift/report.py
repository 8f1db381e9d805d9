"""What a comparison says: typed readings per column, alarms within one budget, ordered by what they do to quality.

Read by the API, the command line and the metrics; imports no numbers library, so that asking costs no start-up.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

PROFILE_TYPE = "application/vnd.andon.profile"  # media type of a reference profile

Verdict = Literal["stable", "shift", "drift", "no-data"]


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One statistic of one column."""

    statistic: Annotated[str, Meta(description="psi, js, ks, w1, missing or unseen")]
    value: Annotated[
        float, Meta(description="the distance, or for missing and unseen the difference of shares")
    ]
    floor: Annotated[
        float, Meta(description="what sampling noise alone gives on average at these row counts")
    ]
    p: Annotated[
        float | None, Meta(description="chance of at least this without drift; null where untested")
    ] = None


class ColumnDrift(msgspec.Struct, frozen=True, kw_only=True):
    """One column against the reference."""

    column: Annotated[str, Meta(description="name; of a text or embedding, with what was measured of it")]
    kind: Annotated[str, Meta(description="number or category")]
    verdict: Annotated[
        Verdict, Meta(description="stable; shift (beyond noise, small); drift (beyond noise, and large)")
    ]
    p: Annotated[float, Meta(description="of all tests of the column together (Bonferroni)")]
    rows: Annotated[int, Meta(description="current rows, missing ones included")]
    readings: tuple[Reading, ...]
    impact: Annotated[
        float | None, Meta(description="change of the mean predicted error that this column's shift explains")
    ] = None
    impact_noise: Annotated[
        float | None, Meta(description="standard error of the impact from sampling alone")
    ] = None
    new: Annotated[
        tuple[str, ...], Meta(description="categories that the reference had not, most frequent first")
    ] = ()


class DriftReport(msgspec.Struct, frozen=True, kw_only=True):
    """One chunk against a reference profile."""

    rows: int
    reference_rows: int
    alpha: Annotated[
        float, Meta(description="chance of any false alarm in this chunk that the budget allows")
    ]
    columns: tuple[ColumnDrift, ...]  # by impact, then by p
    drifted: tuple[str, ...] = ()  # columns that are a ticket
    paging: tuple[str, ...] = ()  # columns that are a page: their impact is beyond what is allowed
    absent: Annotated[tuple[str, ...], Meta(description="columns of the reference that did not come")] = ()
    extra: Annotated[tuple[str, ...], Meta(description="columns that the reference does not know")] = ()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How large a proved shift must be to be called drift. Applied to what is left above the noise floor."""

    psi: Annotated[float, Meta(description="population stability index", ge=0)] = 0.1
    js: Annotated[float, Meta(description="Jensen-Shannon distance, base 2", ge=0)] = 0.1
    ks: Annotated[float, Meta(description="Kolmogorov-Smirnov distance", ge=0)] = 0.1
    w1: Annotated[float, Meta(description="Wasserstein-1 in standard deviations", ge=0)] = 0.1
    share: Annotated[float, Meta(description="of missing values, or of new categories", ge=0)] = 0.02
    impact: Annotated[float, Meta(description="change of the mean predicted error that pages", ge=0)] = 0.02
