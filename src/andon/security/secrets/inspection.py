"""What `plan` finds about secrets in any resource: references that lead nowhere, and values that should not be there.

Run for every resource of every kind, so that no kind can forget it. A value that looks secret is never repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from andon.control.kinds import Problem
from andon.kernel.redaction import looks_secret
from andon.kernel.references import Reference, parse_reference
from andon.security.secrets.compilation import outside_name
from andon.security.secrets.model import OUTSIDE, SECRET, SecretEntry
from andon.security.secrets.service import entries_of
from andon.store.model import Record, Unit

OWN = ".andon"  # the folder of a factory; whoever reads a reference follows links before looking
MOVE = "Keep it with: andon secrets set NAME; then write secret:NAME here."


class Inspection:
    """Finds problems. `outside` are the forms of references to others' stores that are configured."""

    def __init__(self, outside: frozenset[str] = frozenset()) -> None:
        self._outside = outside

    def __call__(self, unit: Unit, record: Record, now_ns: int) -> list[Problem]:
        """Everything wrong with the secrets of one resource."""
        found: list[Problem] = []
        words = {
            "spec": record.spec,
            "metadata": {"labels": record.labels, "annotations": record.annotations},
        }
        entries: dict[str, SecretEntry] | None = None
        for path, name, text in _texts(words, "", ""):
            reference = parse_reference(text)
            if reference is None:
                if looks_secret(text, name):
                    found.append(
                        Problem(
                            path=path,
                            message="This looks like a secret, which no factory file may hold.",
                            hint=MOVE,
                        )
                    )
                continue
            if not path.startswith("spec"):
                continue
            if reference.form == "file" and OWN in PurePosixPath(reference.place).parts:
                found.append(
                    Problem(path=path, message="The factory's own files are sent to nobody.", hint=MOVE)
                )
            if not reference.leased:
                continue
            if entries is None:
                entries = entries_of(unit)
            problem = self._problem(unit, text, reference, entries, f"{record.kind}/{record.name}", now_ns)
            if problem:
                found.append(Problem(path=path, message=problem[0], hint=problem[1]))
        return found

    def _problem(
        self,
        unit: Unit,
        text: str,
        reference: Reference,
        entries: dict[str, SecretEntry],
        user: str,
        now_ns: int,
    ) -> tuple[str, str] | None:
        if reference.form != SECRET.lower():
            return self._outside_problem(unit, text, reference)
        entry = entries.get(reference.place)
        if entry is None:
            return f"There is no secret '{reference.place}'.", f"Make it: andon secrets set {reference.place}"
        if not entry.lets(user):
            return (
                f"{user} may not use the secret '{reference.place}'.",
                f"Its owner can allow it: andon secrets set {reference.place} --user {user}",
            )
        state = entry.state(now_ns)
        if state != "active" or entry.find(reference.version) is None:
            which = f"version {reference.version} of " if reference.version and state == "active" else ""
            said = "is not there or was revoked" if state == "active" else f"is {state}"
            return (
                f"{which}the secret '{reference.place}' {said}.",
                f"Set it: andon secrets set {reference.place}",
            )
        return None

    def _outside_problem(self, unit: Unit, text: str, reference: Reference) -> tuple[str, str] | None:
        if reference.form not in self._outside:
            return (
                f"No store for {reference.form}: references is configured.",
                "Set vault_url for vault:, and install the extra aws for aws-sm:, then start control again.",
            )
        record = unit.get(OUTSIDE, outside_name(text))
        if record is None or not record.spec.get("version"):
            said = str(record.status.get("problem", "")) if record is not None else ""
            return (
                f"Nothing was found behind this reference{': ' + said if said else ''}.",
                "Correct it, or make it there.",
            )
        return None


def texts_of(value: Any) -> Iterator[str]:
    """Every text in a resource's spec."""
    return (text for _, _, text in _texts(value, "", ""))


def _texts(value: Any, path: str, name: str) -> Iterator[tuple[str, str, str]]:
    """Every text with its path and the name of its field. Factory files are bounded in depth by their reader."""
    if isinstance(value, str):
        yield path, name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{path}.{key}" if path else str(key), str(key))
            if looks_secret(str(key)):
                yield path, "", str(key)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _texts(item, f"{path}[{index}]", name)
