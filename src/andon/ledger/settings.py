"""Limits of the log: how long a commit may wait, how much may be pending, when a segment ends.

Every field has a default that suits one gateway on one disk; `app` may override them.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The bounds of one log."""

    linger_s: Annotated[
        float, Meta(description="longest wait for more rows to share a commit", ge=0, le=0.005)
    ] = 0.002
    flush_s: Annotated[
        float, Meta(description="longest time that a row nobody waits for stays in memory", gt=0)
    ] = 0.05
    batch_rows: Annotated[int, Meta(description="rows after which a commit begins at once", ge=1)] = 1000
    pending_bytes: Annotated[
        int, Meta(description="rows held in memory before new ones are refused", ge=1, le=2**26)
    ] = 2**24
    segment_bytes: Annotated[int, Meta(description="size after which a segment is sealed", ge=1)] = 64 * 2**20
    segment_age_s: Annotated[float, Meta(description="age after which a segment is sealed", gt=0)] = 600.0
    retry_s: Annotated[float, Meta(description="pause before a failed disk is tried again", gt=0)] = 0.25
    reserve_bytes: Annotated[
        int, Meta(description="space kept to finish what is under way when the disk fills; 0 = none", ge=0)
    ] = 4 * 2**20
