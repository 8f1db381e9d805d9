"""Events: what the journal remembers and the outbox tells, with typed names.

Appended by verbs inside the unit of work that made them true; never edited. Names are `<noun>.<past participle>`.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the journal.

    `unique` makes an event happen at most once: a second append with the same value is a no-op that says so.
    """

    name: str  # "rollout.aborted"
    subject: str  # "Rollout/credit-3"
    actor: str  # "user:root", "gateway:0", "controller:rollouts"
    data: dict[str, Any] = {}
    unique: str | None = None
    at_ns: int = 0
