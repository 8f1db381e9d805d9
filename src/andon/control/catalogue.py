"""The list of kinds as one object: what the reader of factory files, `plan`, the API and `explain` look things up in.

Made once by `app` from the kinds that the capabilities declare. Its order is the order of dependency: what is named
first is created first and deleted last. It never changes after it was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from andon.control.kinds import Kind
from andon.control.nearest import nearest
from andon.kernel.errors import Refused


class Catalogue:
    """Kinds by name, plural and abbreviation. Raises ValueError if two kinds claim one word."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._kinds = tuple(kinds)
        self._words: dict[str, Kind] = {}
        for kind in self._kinds:
            for word in {kind.name.lower(), kind.plural.lower(), *(short.lower() for short in kind.short)}:
                if word in self._words:
                    raise ValueError(f"'{word}' names both {self._words[word].name} and {kind.name}")
                self._words[word] = kind
        self._by_name = {kind.name: kind for kind in self._kinds}
        self._rank = {kind.name: rank for rank, kind in enumerate(self._kinds)}

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._kinds)

    def get(self, name: str) -> Kind | None:
        """The kind of exactly this name."""
        return self._by_name.get(name)

    def find(self, word: str) -> Kind:
        """The kind that a person means by `endpoint`, `endpoints` or `ep`; raises Refused naming the nearest."""
        kind = self._words.get(word.lower())
        if kind is None:
            near = nearest(word, [kind.name for kind in self._kinds])
            hint = f"Did you mean {near}?" if near else f"Kinds are {', '.join(self._by_name)}."
            raise Refused("unknown_kind", f"There is no kind '{word}'.", hint=hint, status=404, param="kind")
        return kind

    def writable(self) -> tuple[Kind, ...]:
        """The kinds that people write in factory files, in order of dependency."""
        return tuple(kind for kind in self._kinds if not kind.generated)

    def rank(self, kind: str) -> int:
        """The place of a kind in the order of dependency; kinds that are no longer known come last."""
        return self._rank.get(kind, len(self._kinds))
