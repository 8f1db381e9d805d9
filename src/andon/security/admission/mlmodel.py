"""What an MLflow folder says of itself, in `MLmodel`: which files are to be unpickled, and where its parts lie.

Read by the scan. A part that is not among the files that were looked at is a finding: whatever loads the folder
would read bytes that nobody has seen. Never builds an object from a tag, and no text multiplies.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec
import yaml

from andon.security.admission.containers import is_outside
from andon.security.admission.model import Finding

MLMODEL: Final = "MLmodel"
_BYTES_MAX: Final = 1 << 20
_UNPICKLED: Final = ("pickled_model", "python_model", "model_path")
_PARTS: Final = (*_UNPICKLED, "data", "code")  # what is joined to the folder and opened, or imported from
_MERGE: Final = "tag:yaml.org,2002:merge"


class _PlainLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # chosen at run time
    """Values without merge keys: a few lines of those grow beyond any memory."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse what would be merged. Raises yaml.YAMLError."""
        if any(key.tag == _MERGE for key, _ in node.value):
            raise yaml.constructor.ConstructorError(None, None, "merge keys are not read", node.start_mark)


class Described(msgspec.Struct, frozen=True):
    """What the folder says, and what is wrong with it."""

    pickles: frozenset[str] = frozenset()  # files that loaders unpickle, whatever they look like
    findings: tuple[Finding, ...] = ()


def read_plain_yaml(text: bytes | str) -> Any:
    """One YAML document from a stranger. Raises yaml.YAMLError, ValueError, RecursionError.

    Aliases share what they stand for: never turn a value that is no text into one.
    """
    return yaml.load(text, _PlainLoader)  # noqa: S506  a safe loader that reads less


def described_by_mlflow(root: Path, names: Sequence[str]) -> Described:
    """What `MLmodel` says, if it is one of the files `names` below `root`."""
    path = root / MLMODEL
    if root.is_file() or MLMODEL not in names:
        return Described()
    if path.stat().st_size > _BYTES_MAX:
        return Described(findings=(_unread("it is too large"),))
    try:
        document = read_plain_yaml(path.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError):
        return Described(findings=(_unread("it is not plain YAML"),))
    flavors = document.get("flavors") if isinstance(document, dict) else None
    pickles: set[str] = set()
    findings: list[Finding] = []
    for flavor in flavors.values() if isinstance(flavors, dict) else ():
        for key in _PARTS if isinstance(flavor, dict) else ():
            named = flavor.get(key)
            if named is None:
                continue
            part = PurePosixPath(named).as_posix() if isinstance(named, str) else ""
            if not part or is_outside(part):
                findings.append(_outside(key, part))
            elif key in _UNPICKLED:
                pickles.add(part)
    return Described(frozenset(pickles), tuple(findings))


def _unread(why: str) -> Finding:
    return Finding(
        rule="mlmodel-unread",
        severity="refused",
        path=MLMODEL,
        message=f"What the folder says of itself cannot be read: {why}.",
        subject="",
    )


def _outside(key: str, part: str) -> Finding:
    return Finding(
        rule="mlmodel-outside",
        severity="refused",
        path=MLMODEL,
        message=f"Its '{key}' is '{part[:120]}', which is not part of the model.",
        subject="",
    )
