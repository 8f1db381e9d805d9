"""Groups of verbs that say less: `andon drift NAME` is `andon drift show NAME`, `andon keys` is `andon keys list`.

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


class ListingGroup(typer.core.TyperGroup):
    """A group that, where no verb is given, tells what there is: by `list`, `status` or `show`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The words, or the verb that tells."""
        telling = [verb for verb in ("list", "status", "show") if verb in self.commands]
        return list(super().parse_args(ctx, args or telling[:1]))
