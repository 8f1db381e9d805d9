"""The names that may become labels: those of the factory's own resources, and small sets that are learnt up to a bound.

Everything else is counted as `other`, so that no client and no provider can grow a set of series.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from andon.ledger.row import Outcome
from andon.observability.families import OTHER
from andon.store.model import Record, Unit

OTEL_OTHER: Final = "_OTHER"  # the word of the semantic conventions for `error.type`
NAMES_MAX: Final = 20_000  # of one kind; more are `other`
ERRORS_MAX: Final = 200  # distinct error codes; the product has fewer
FEATURES_MAX: Final = 64  # of one endpoint
REASONABLE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Served(msgspec.Struct, frozen=True):
    """What stands behind a release."""

    provider: str  # name of the Provider; "andon" for a model of this factory
    model: str


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """The names that the factory knows."""

    endpoints: frozenset[str] = frozenset()
    releases: Mapping[str, Served] = {}
    teams: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()


def names_of(unit: Unit) -> Names:
    """The names in the store, at most `NAMES_MAX` of a kind."""
    endpoints = unit.list("Endpoint")
    rollouts = unit.list("Rollout")
    releases: dict[str, Served] = {}
    for source in _release_specs(endpoints, rollouts):
        name = source.get("model") or f"{source.get('provider')}/{source.get('upstreamModel')}"
        version = source.get("version") or ""
        served = Served(
            source.get("provider") or "andon", source.get("model") or source.get("upstreamModel") or name
        )
        releases[f"{name}@{version}" if version else name] = served
    for record in unit.list("ModelVersion"):
        model = str(record.spec.get("model"))
        releases[f"{model}@{record.spec.get('version')}"] = Served("andon", model)
    return Names(
        endpoints=frozenset(record.name for record in endpoints[:NAMES_MAX]),
        releases=dict(list(releases.items())[:NAMES_MAX]),
        teams=frozenset(record.name for record in unit.list("Team")[:NAMES_MAX]),
        keys=frozenset(record.name for record in unit.list("ApiKey")[:NAMES_MAX]),
    )


def _release_specs(endpoints: Iterable[Record], rollouts: Iterable[Record]) -> Iterable[Mapping[str, Any]]:
    for record in endpoints:
        yield record.spec.get("release") or {}
        for part in ("stable", "previous"):
            yield record.status.get(part) or {}
    for record in rollouts:
        for part in ("stable", "target"):
            yield record.spec.get(part) or {}


class Vocabulary:
    """Turns names of rows into labels."""

    def __init__(self, names: Names | None = None) -> None:
        self._names = names or Names()
        self._releases: dict[str, Served] = dict(self._names.releases)
        self._errors: set[str] = set()
        self._features: dict[str, set[str]] = {}

    def learn(self, names: Names) -> None:
        """Take in what the store knows now. What was known once stays known, up to the bound."""
        old = self._names
        self._names = Names(
            endpoints=_grown(old.endpoints, names.endpoints),
            teams=_grown(old.teams, names.teams),
            keys=_grown(old.keys, names.keys),
        )
        if len(self._releases) + len(names.releases) > NAMES_MAX:
            self._releases.clear()
        self._releases.update(names.releases)

    def knows(self, row: Outcome) -> bool:
        """Whether all names of a row are known; if not, the store may have news."""
        names = self._names
        return (
            (not row.endpoint or row.endpoint in names.endpoints)
            and (not row.release or row.release in self._releases)
            and (not row.team or row.team in names.teams)
            and (not row.key or row.key in names.keys)
        )

    def endpoint(self, name: str | None) -> str:
        """The endpoint, `other`, or empty where there is none."""
        return _known(name, self._names.endpoints)

    def team(self, name: str | None) -> str:
        """The team, `other`, or empty."""
        return _known(name, self._names.teams)

    def key(self, name: str | None) -> str:
        """The key's public id, `other`, or empty."""
        return _known(name, self._names.keys)

    def release(self, name: str | None) -> str:
        """The release, `other`, or empty."""
        if not name:
            return ""
        return name if name in self._releases else OTHER

    def served(self, release: str | None) -> Served:
        """What stands behind a release; `other` where that is not known."""
        return self._releases.get(release or "", _UNKNOWN)

    def error(self, code: str | None) -> str:
        """The error, `_OTHER` beyond the bound, or empty where there is none."""
        if not code:
            return ""
        if code in self._errors:
            return code
        if len(self._errors) < ERRORS_MAX and REASONABLE.fullmatch(code):
            self._errors.add(code)
            return code
        return OTEL_OTHER

    def feature(self, endpoint: str, name: str) -> str:
        """A feature of an endpoint that is known; `other` beyond the bound."""
        known = self._features.setdefault(endpoint, set())
        if name in known:
            return name
        if endpoint and endpoint != OTHER and len(known) < FEATURES_MAX and len(name) <= 100:
            known.add(name)
            return name
        return OTHER


_UNKNOWN: Final = Served(OTHER, OTHER)


def _known(name: str | None, names: frozenset[str]) -> str:
    if not name:
        return ""
    return name if name in names else OTHER


def _grown(old: frozenset[str], new: frozenset[str]) -> frozenset[str]:
    grown = old | new
    return grown if len(grown) <= NAMES_MAX else new
