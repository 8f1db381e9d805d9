"""Every detector by name: its settings, what may be done about what it finds, and how it is made.

The one list from which guards are checked at `plan`, compiled at adoption and documented. Detectors that need trained
weights or large tables are loaded when a guard names them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.errors import Refused
from andon.kernel.ports import Upstream
from andon.security.guards.external import ExternalSettings, open_external
from andon.security.guards.patterns import PatternDetector, PatternSettings
from andon.security.guards.spotlight import Spotlight, SpotlightSettings
from andon.security.guards.structure import (
    OutputDetector,
    OutputSettings,
    SizeDetector,
    SizeSettings,
    ToolDetector,
    ToolSettings,
)
from andon.security.guards.unicode import UnicodeDetector, UnicodeSettings
from andon.security.guards.vault import Vault

Form = Literal["text", "structure", "external", "mark"]
_EVERYWHERE: Final = frozenset(("input", "context", "output"))
_EDITS: Final = frozenset(("block", "redact", "tokenise", "label"))
_JUDGES: Final = frozenset(("block", "label"))


@dataclass(frozen=True, kw_only=True)
class Means:
    """What detectors are made with."""

    clock: Clock
    vault: Vault | None = None  # None: nothing can be tokenised
    secret: bytes = b""
    upstream: Upstream | None = None  # None: at `plan`, where no service is asked
    credentials: Callable[[str], str] | None = None


@dataclass(frozen=True, kw_only=True)
class Sort:
    """One detector, before it is made."""

    form: Form
    settings: Any  # a type of msgspec, or dict for what the detector reads by itself
    make: Callable[[Any, Means], Any]
    actions: frozenset[str] = _JUDGES
    places: frozenset[str] = _EVERYWHERE
    scored: bool = False  # needs a threshold
    history: bool = False  # the model's own earlier words are judged as input too
    counts: bool = True  # what it looked at has been scanned


class PiiSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True
):
    """Settings of the detector `pii`."""

    entities: Annotated[
        tuple[str, ...], msgspec.Meta(description="What is looked for; left out: what tells who a person is.")
    ] = ()


class NoSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A detector that has nothing to set."""


def _load(module: str) -> Any:
    """A detector's module, loaded when a guard names it. Raises Refused where something that it needs is missing."""
    try:
        return importlib.import_module(f"andon.security.guards.{module}")
    except ModuleNotFoundError as error:
        raise Refused(
            "guard_invalid",
            f"This detector needs {error.name}, which is not installed.",
            hint="Install it with: pip install 'andon[guards]'",
        ) from error


def _injection(settings: Mapping[str, Any], means: Means) -> Any:
    return _load("injection.classifier").build(settings)


def _pii(settings: PiiSettings, means: Means) -> Any:
    found = _load("pii.detector")
    unknown = [name for name in settings.entities if name not in found.ENTITIES]
    if unknown:
        known = ", ".join(found.ENTITIES)
        raise Refused("guard_invalid", f"'{unknown[0]}' is nothing that it finds; it finds {known}.")
    return found.PiiDetector(settings.entities or found.IDENTIFYING)


def _secrets(settings: NoSettings, means: Means) -> Any:
    return _load("secrets.detector").SecretDetector()


def _external(settings: ExternalSettings, means: Means) -> Any:
    token = ""
    if settings.credential and means.upstream is not None and means.credentials is not None:
        token = means.credentials(settings.credential).strip()
    return open_external(settings, means.upstream, token, means.clock)


SORTS: Final[Mapping[str, Sort]] = {
    "pattern": Sort(
        form="text",
        settings=PatternSettings,
        make=lambda settings, means: PatternDetector("pattern", settings),
        actions=_EDITS,
        history=True,
    ),
    "topics": Sort(
        form="text",
        settings=PatternSettings,
        make=lambda settings, means: PatternDetector("topics", settings),
        actions=_EDITS,
        history=True,
    ),
    "unicode": Sort(
        form="text",
        settings=UnicodeSettings,
        make=lambda settings, means: UnicodeDetector(settings),
        actions=_EDITS - {"tokenise"},
        history=True,
    ),
    "pii": Sort(
        form="text",
        settings=PiiSettings,
        make=_pii,
        actions=_EDITS,
        history=True,
    ),
    "secrets": Sort(
        form="text",
        settings=NoSettings,
        make=_secrets,
        actions=_EDITS,
        history=True,
    ),
    "injection": Sort(
        form="text", settings=dict, make=_injection, scored=True
    ),
    "size": Sort(
        form="structure", settings=SizeSettings, make=lambda settings, means: SizeDetector(settings), history=True,
        actions=frozenset(("block",)),
    ),
    "tools": Sort(
        form="structure",
        settings=ToolSettings,
        make=lambda settings, means: ToolDetector(settings),
        actions=frozenset(("block",)),
        places=frozenset(("input", "output")),
        counts=False,
    ),
    "schema": Sort(
        form="structure",
        settings=OutputSettings,
        make=lambda settings, means: OutputDetector(settings),
        actions=frozenset(("block",)),
        places=frozenset(("output",)),
    ),
    "spotlight": Sort(
        form="mark",
        settings=SpotlightSettings,
        make=lambda settings, means: Spotlight(settings, means.secret),
        actions=frozenset(("mark",)),
        places=frozenset(("context",)),
    ),
    "external": Sort(form="external", settings=ExternalSettings, make=_external, scored=True),
}  # fmt: skip


def sort_of(name: str) -> Sort:
    """The detector of a name; raises Refused."""
    sort = SORTS.get(name)
    if sort is None:
        raise Refused(
            "guard_invalid", f"There is no detector '{name}'.", hint=f"There are: {', '.join(SORTS)}."
        )
    return sort


def make(name: str, settings: Mapping[str, Any], means: Means) -> Any:
    """A detector from its settings. Raises Refused where they are not its own, or it cannot be made."""
    sort = sort_of(name)
    try:
        read = settings if sort.settings is dict else msgspec.convert(settings, sort.settings)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$.")
        where = f" at settings.{path.rstrip('`')}" if path else ""
        raise Refused("guard_invalid", f"{text}{where}.") from error
    return sort.make(read, means)
