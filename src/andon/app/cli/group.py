"""A group of verbs whose first word may also be a name: `andon drift NAME` is `andon drift show NAME`.

Used by the groups that are about named things; decides nothing else.
"""

from __future__ import annotations

from typing import Any

import typer.core


class NamedGroup(typer.core.TyperGroup):
    """A group whose first word may also be the name of what it is about."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb, or `show`."""
        if args and args[0] not in self.commands:
            args = ["show", *args]
        return super().resolve_command(ctx, args)
