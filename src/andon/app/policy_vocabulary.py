"""The words of policies, collected from what this version can do: its route tables and its kinds.

Pure. A route that exists is an action that policies can speak about; nothing is listed by hand but what is no route.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from andon.app.api import build_routes
from andon.app.services import Services
from andon.kernel.access import OPEN
from andon.security.policy.vocabulary import Action, Vocabulary
from andon.web.routes import Named, Route

# Asked by handlers, about each thing that they touch, or by the observer's own setting.
_NO_ROUTE = (Action(name="observe.metrics"), Action(name="audit.read"))


class _Nothing:
    """Stands for everything behind the routes: any part of it, and any verb of any part, is nothing again."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self


def every_route() -> Sequence[Route]:
    """Every route of the admin API, those of the observer included; their handlers answer nothing."""
    return build_routes(cast("Services", _Nothing()))  # only the table is wanted, never a handler


def vocabulary(kinds: Iterable[str]) -> Vocabulary:
    """Every word of this version."""
    names = tuple(sorted({"Factory", *kinds}))
    found: dict[str, set[str]] = {action.name: set(action.resources) for action in _NO_ROUTE}
    for route in every_route():
        if route.action != OPEN:
            found.setdefault(route.action, set()).update(_kinds(route, names))
    found["factory.apply"] = set(names)
    return Vocabulary(
        actions=tuple(
            Action(name=name, resources=tuple(sorted(resources))) for name, resources in sorted(found.items())
        ),
        kinds=names,
    )


def _kinds(route: Route, every: Sequence[str]) -> Sequence[str]:
    """What a route may be about: the factory, one kind, or any where its path names the kind."""
    if route.resource is None:
        return ("Factory",)
    return (route.resource.kind,) if isinstance(route.resource, Named) else every
