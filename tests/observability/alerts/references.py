"""What stands behind references in tests: variables of a mapping."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from andon.security.secrets.places import read_local


def reading(environment: Mapping[str, str]) -> Callable[[str], Awaitable[str]]:
    """A reader of `env:` and `file:` references."""

    async def read(reference: str) -> str:
        return read_local(reference, environment)

    return read
