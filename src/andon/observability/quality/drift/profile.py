"""The reference profile: shapes and counts of every column of good times, kept with the model version.

Built in one pass, column by column; counts of later chunks on the same shapes add up. On disk it is MessagePack with
a format version and little-endian arrays, never pickle.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from andon.kernel.errors import Refused
from andon.observability.quality.drift import sketch
from andon.observability.quality.drift.columns import SELF, Columns, Values, is_category, measure, measures
from andon.observability.quality.drift.sketch import Counts, Shape

FORMAT = 1
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One measured column of a profile."""

    source: str  # column of the table
    how: str  # `self`, or a part of a text or embedding
    shape: Shape
    counts: Counts
    design: float = 1.0  # how much more blocks of the reference vary than random rows would


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What good times looked like."""

    columns: tuple[Column, ...]
    rows: int
    origin: str = ""  # where it came from, for people
    made_ns: int = 0


class _Stored(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column on disk. Arrays are little-endian: edges float64, counts int64."""

    source: str
    how: str
    kind: str
    edges: bytes = b""
    atoms: bool = False
    deciles: bytes = b""
    even: bytes = b""
    categories: tuple[str, ...] = ()
    open: bool = False
    slots: bytes = b""
    scalars: dict[str, float] = {}
    errors: bytes = b""
    design: float = 1.0


class _File(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    rows: int
    origin: str
    made_ns: int
    columns: list[_Stored]


_SCALARS = ("rows", "missing", "total", "squares", "finite", "low", "high", "short", "far")


def build(
    columns: Columns, *, errors: np.ndarray | None = None, origin: str = "", made_ns: int = 0
) -> Profile:
    """The profile of a table whose rows are in order of time; `errors` (rows,) is each row's predicted error.

    A table too large for memory comes in chunks: build from the first, then `extend`. Raises Refused if it is empty.
    """
    found: list[Column] = []
    rows = 0
    for name, values in columns:
        rows = max(rows, len(values))
        for how, measured in measure(values, measures(values)).items():
            label = name if how == SELF else f"{name}.{how}"
            shape = _shape(label, measured, is_category(values) and how == SELF)
            counts = sketch.count(shape, measured, errors)
            design = sketch.design_effect(shape, measured)
            found.append(Column(source=name, how=how, shape=shape, counts=counts, design=design))
    if not found or not rows:
        raise Refused(
            "reference_empty",
            "The reference has no rows, or no column that can drift.",
            hint="Name a longer window.",
        )
    return Profile(columns=tuple(found), rows=rows, origin=origin, made_ns=made_ns)


def _shape(label: str, values: Values, category: bool) -> Shape:
    if category:
        return sketch.shape_categories(label, pa.array(values) if isinstance(values, np.ndarray) else values)
    return sketch.shape_numbers(label, sketch.numbers(values)[0])


def count(profile: Profile, columns: Columns) -> tuple[dict[str, Counts], list[str], list[str]]:
    """Counts of a chunk on the profile's shapes, by column; those that did not come; those that are unknown."""
    wanted: dict[str, list[Column]] = {}
    for column in profile.columns:
        wanted.setdefault(column.source, []).append(column)
    counted: dict[str, Counts] = {}
    extra = []
    for name, values in columns:
        if name not in wanted:
            extra.append(name)
            continue
        counted.update(_count_group(wanted.pop(name), values))
    return counted, sorted(column.shape.name for group in wanted.values() for column in group), extra


def _count_group(group: list[Column], values: Values) -> dict[str, Counts]:
    """Counts of everything that is measured of one column of the table."""
    try:
        measured = measure(values, [column.how for column in group])
        return {column.shape.name: sketch.count(column.shape, measured[column.how]) for column in group}
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError, TypeError) as error:
        raise Refused(
            "column_mismatch",
            f"Column '{group[0].source}' is not of the reference's kind: {error}.",
            hint="Make a new baseline, or send the column as before.",
        ) from error


def extend(profile: Profile, columns: Columns) -> Profile:
    """The profile with one more chunk of the reference, on the same shapes."""
    counted, _, _ = count(profile, columns)
    grown = tuple(
        replace(column, counts=column.counts + counted[column.shape.name])
        if column.shape.name in counted
        else column
        for column in profile.columns
    )
    rows = max((counts.rows for counts in counted.values()), default=0)
    return Profile(columns=grown, rows=profile.rows + rows, origin=profile.origin, made_ns=profile.made_ns)


def encode(profile: Profile) -> bytes:
    """The profile as it lies on disk."""
    stored = [_store(column) for column in profile.columns]
    return msgspec.msgpack.encode(
        _File(
            format=FORMAT, rows=profile.rows, origin=profile.origin, made_ns=profile.made_ns, columns=stored
        )
    )


def _store(column: Column) -> _Stored:
    shape, counts = column.shape, column.counts
    return _Stored(
        source=column.source,
        how=column.how,
        kind=shape.kind,
        edges=_raw(shape.edges, "<f8"),
        atoms=shape.atoms,
        deciles=_raw(shape.deciles, "<i8"),
        even=_raw(shape.even, "<i8"),
        categories=shape.categories,
        open=shape.open,
        slots=_raw(counts.slots, "<i8"),
        scalars={name: float(getattr(counts, name)) for name in _SCALARS},
        errors=_raw(counts.errors, "<f8"),
        design=column.design,
    )


def _raw(values: np.ndarray, kind: str) -> bytes:
    return np.ascontiguousarray(values).astype(kind).tobytes()


def decode(data: bytes) -> Profile:
    """A profile from disk. Raises Refused for anything that is not one, or of a newer format."""
    try:
        file = msgspec.msgpack.decode(data, type=_File)
        if file.format != FORMAT:
            raise ValueError(f"it has format {file.format}, this version of Andon knows {FORMAT}")
        columns = tuple(_load(stored) for stored in file.columns)
    except (msgspec.MsgspecError, ValueError, KeyError) as error:
        raise Refused(
            "profile_unreadable",
            f"This is no reference profile: {error}.",
            hint="Make it again: andon drift baseline.",
        ) from error
    return Profile(columns=columns, rows=file.rows, origin=file.origin, made_ns=file.made_ns)


def _load(stored: _Stored) -> Column:
    shape = Shape(
        name=stored.source if stored.how == SELF else f"{stored.source}.{stored.how}",
        kind=stored.kind,
        edges=np.frombuffer(stored.edges, "<f8"),
        atoms=stored.atoms,
        deciles=np.frombuffer(stored.deciles, "<i8"),
        even=np.frombuffer(stored.even, "<i8"),
        categories=stored.categories,
        open=stored.open,
    )
    scalars: dict[str, Any] = {name: stored.scalars[name] for name in _SCALARS}
    for name in ("rows", "missing", "finite"):
        scalars[name] = int(scalars[name])
    slots = np.frombuffer(stored.slots, "<i8")
    if len(slots) != shape.slots:
        raise ValueError(f"column '{shape.name}' has {len(slots)} counts for {shape.slots} bins")
    errors = np.frombuffer(stored.errors, "<f8")
    counts = Counts(slots=slots, errors=errors.reshape(3, -1) if len(errors) else errors, **scalars)
    return Column(source=stored.source, how=stored.how, shape=shape, counts=counts, design=stored.design)


class ProfileFolder:
    """Profiles on disk, one for each model version (or endpoint); written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, subject: str) -> Path:
        """Where the profile of `credit@3` lies."""
        return self._folder / (_UNSAFE.sub("_", subject) + ".profile")

    def save(self, subject: str, profile: Profile) -> Path:
        """Keep a profile in place of the former one."""
        path = self.path(subject)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(encode(profile))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        return path

    def load(self, subject: str) -> Profile | None:
        """The profile of a subject, or None. Raises Refused if what lies there is none."""
        path = self.path(subject)
        return decode(path.read_bytes()) if path.exists() else None
