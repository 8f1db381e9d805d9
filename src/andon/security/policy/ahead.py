"""Reads the policies of a snapshot before it is adopted, a little at a time, so that requests are not held up.

Called by the link to control with each new snapshot. What cannot be read is left for the adoption to refuse.
"""

from __future__ import annotations

import asyncio

import msgspec

from andon.kernel.errors import Refused
from andon.kernel.snapshot import PolicyEntry
from andon.security.policy.engine import Engine
from andon.security.policy.stage import AuthoriseStage


class _Part(msgspec.Struct):
    """The only part of a snapshot that is looked at here."""

    policy: PolicyEntry | None = None


_decode = msgspec.json.Decoder(_Part).decode


async def read_ahead(stage: AuthoriseStage, raw: bytes) -> None:
    """Have the stage's engine ready when the snapshot comes. Never raises for what is in it."""
    try:
        entry = _decode(raw).policy
        if entry is None or entry.digest == stage.digest:
            return
        steps = Engine.in_steps(entry.text)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                stage.expect(entry.digest, done.value)
                return
            await asyncio.sleep(0)
    except (Refused, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return  # the adoption says what is wrong with it
