"""Limits of sealing: how much goes into one commit, when tables are tidied, how long sealed segments are kept.

Every field has a default that suits one machine; `app` may override them.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class SealSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The bounds of sealing."""

    bunch_bytes: Annotated[
        int, Meta(description="waiting segments up to this size together share a commit", ge=1)
    ] = 64 * 2**20
    bunch_segments: Annotated[int, Meta(description="and at most this many", ge=1)] = 256
    tidy_commits: Annotated[
        int, Meta(description="commits of a table between two compactions and checkpoints", ge=2)
    ] = 100
    file_bytes: Annotated[int, Meta(description="size that compaction aims at", ge=2**20)] = 256 * 2**20
    vacuum_hours: Annotated[
        int, Meta(description="how long files stay that no version needs, for queries still at work", ge=1)
    ] = 1
    keep_s: Annotated[
        float, Meta(description="how long a segment of the log stays once it is in every table", ge=0)
    ] = 86_400.0
    keep_segments: Annotated[
        int, Meta(description="how many of the newest segments stay however old they are", ge=2)
    ] = 16
    bodies_bytes: Annotated[
        int, Meta(description="size that the table of bodies may have; its oldest files go first", ge=0)
    ] = 2**30
    retry_s: Annotated[float, Meta(description="first pause after a store that failed", gt=0)] = 1.0
    retry_s_max: Annotated[float, Meta(description="longest pause; it doubles up to here", gt=0)] = 30.0
