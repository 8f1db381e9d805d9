"""Shapes and counts: how one column is sketched, so that sketches of chunks add up and compare without the rows.

A shape is frozen with the reference: about 1,000 fine bins at the reference's quantiles and at even steps, or its
categories. Counts on the same shape add up. One sort per chunk and column; float32 is taken as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

FINE_BINS = 1000
EVEN_BINS_MAX = 200
DECILES = 10
CATEGORIES_MAX = 1000  # of the reference; rarer ones are `other`
NEW_MAX = 50  # new categories that are named; the rest is counted


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Bins of one column. Slots of a number: below, the fine bins [eᵢ, eᵢ₊₁), beyond; of categories: each, other."""

    name: str
    kind: str  # "number" or "category"
    edges: np.ndarray = field(default_factory=lambda: np.zeros(0))
    atoms: bool = False  # every fine bin is one value, at its left edge
    deciles: np.ndarray = field(
        default_factory=lambda: np.zeros(0, np.int64)
    )  # fine bins that begin a decile
    even: np.ndarray = field(
        default_factory=lambda: np.zeros(0, np.int64)
    )  # fine bins that begin an even bin
    categories: tuple[str, ...] = ()
    open: bool = False  # categories beyond those named exist, so that a new one cannot be told

    @property
    def slots(self) -> int:
        """How many counts there are."""
        return len(self.edges) + 1 if self.kind == "number" else len(self.categories) + 1

    @property
    def starts(self) -> np.ndarray:
        """The slots that begin the coarse bins of PSI and of impact."""
        return self.deciles if self.kind == "number" else np.arange(self.slots)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What of one column was seen. Adds up over chunks."""

    rows: int = 0
    missing: int = 0  # null or not a number
    slots: np.ndarray
    new: Mapping[str, int] = field(default_factory=dict)
    total: float = 0.0  # of the distances to the first edge, finite values only
    squares: float = 0.0  # of the same
    finite: int = 0
    low: float = float("inf")
    high: float = float("-inf")
    short: float = 0.0  # sum of how far values lie below the first edge
    far: float = 0.0  # sum of how far values lie beyond the last
    errors: np.ndarray = field(
        default_factory=lambda: np.zeros(0)
    )  # predicted error by coarse bin: sum, squares, rows

    @property
    def present(self) -> int:
        """Rows that have a value."""
        return self.rows - self.missing

    def mean(self, shape: Shape) -> float:
        """Of the finite values."""
        return float(shape.edges[0]) + self.total / self.finite if self.finite else float("nan")

    def deviation(self) -> float:
        """Standard deviation of the finite values (of the population)."""
        if not self.finite:
            return float("nan")
        return float(np.sqrt(max(self.squares / self.finite - (self.total / self.finite) ** 2, 0.0)))

    def __add__(self, other: Counts) -> Counts:
        new = dict(self.new)
        for name, count in other.new.items():
            new[name] = new.get(name, 0) + count
        return Counts(
            rows=self.rows + other.rows,
            missing=self.missing + other.missing,
            slots=self.slots + other.slots,
            new=_largest(new),
            total=self.total + other.total,
            squares=self.squares + other.squares,
            finite=self.finite + other.finite,
            low=min(self.low, other.low),
            high=max(self.high, other.high),
            short=self.short + other.short,
            far=self.far + other.far,
            errors=_sum(self.errors, other.errors),
        )


def _sum(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    if not len(one) or not len(other):
        return one if len(one) else other
    return np.asarray(one + other)


def _largest(new: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(new.items(), key=lambda item: (-item[1], item[0]))[:NEW_MAX])


def plain(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """An Arrow column of numbers or booleans without nulls as (n,), not copied where it is in one piece.

    By DLPack, because `to_numpy` imports pandas where it is installed, which takes longer than the comparison.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_boolean(values.type):
        return np.from_dlpack(pc.cast(values, pa.uint8())).astype(bool)
    return np.from_dlpack(values) if len(values) else np.zeros(0, values.type.to_pandas_dtype())


def numbers(values: pa.Array | pa.ChunkedArray | np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The values that are numbers, as (n,) floats, and which rows they are (None: all)."""
    if not isinstance(values, np.ndarray):
        if not pa.types.is_floating(values.type):
            values = pc.cast(values, pa.float64())
        if values.null_count:
            values = pc.fill_null(values, float("nan"))
        values = plain(values)
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    elif values.dtype.itemsize < 4:
        values = values.astype(np.float32)
    missing = np.isnan(values)
    if not missing.any():
        return values, None
    return values[~missing], ~missing


def shape_numbers(name: str, values: np.ndarray) -> Shape:
    """Bins for a column of numbers, none of them missing; values (n,) with n ≥ 0."""
    ordered = np.sort(values[np.isfinite(values)]).astype(np.float64)
    if not len(ordered):
        return Shape(
            name=name, kind="number", edges=np.array([0.0, 1.0]), deciles=np.array([0]), even=np.array([1])
        )
    end = np.nextafter(ordered[-1], np.inf)
    tenths = ordered[np.linspace(0, len(ordered) - 1, DECILES + 1).astype(np.int64)[1:-1]]
    steady = _even_edges(ordered)
    distinct = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    if int(distinct.sum()) <= min(FINE_BINS, max(2, len(ordered) // 10)):
        edges, atoms = ordered[distinct], True
    else:
        count = int(np.clip(len(ordered) // 4, 20, FINE_BINS))
        steps = ordered[np.linspace(0, len(ordered) - 1, count + 1).astype(np.int64)]
        edges, atoms = np.concatenate([steps, tenths, steady]), False
    edges = np.unique(np.append(edges, end))
    # The slot of an edge is its number + 1, because slot 0 is what lies below; the outermost deciles take the rest.
    deciles = np.unique(np.append(0, np.searchsorted(edges, tenths[tenths > edges[0]], "right")))
    even = np.unique(np.searchsorted(edges, steady[:-1], "left") + 1)
    return Shape(name=name, kind="number", edges=edges, atoms=atoms, deciles=deciles, even=even)


def _even_edges(ordered: np.ndarray) -> np.ndarray:
    """Doane's bins (1976): 1 + log₂n + log₂(1 + |g₁|/sd(g₁)) of equal width between the extremes."""
    count, low, high = len(ordered), ordered[0], ordered[-1]
    bins, spread = 1.0, float(ordered.std())
    if count > 2 and spread > 0:
        skew = float((((ordered - ordered.mean()) / spread) ** 3).mean())
        sigma = np.sqrt(6.0 * (count - 2) / ((count + 1.0) * (count + 3)))
        bins = 1.0 + np.log2(count) + np.log2(1.0 + abs(skew) / sigma)
    return np.linspace(low, high, int(np.clip(np.ceil(bins), 1, EVEN_BINS_MAX)) + 1)


def shape_categories(name: str, values: pa.Array | pa.ChunkedArray) -> Shape:
    """Categories by frequency, `CATEGORIES_MAX` of them at most."""
    counted = pc.value_counts(pc.drop_null(_texts(values)))
    pairs = sorted(
        ((pair["counts"], pair["values"]) for pair in counted.to_pylist()), key=lambda p: (-p[0], p[1])
    )
    kept = tuple(value for _, value in pairs[:CATEGORIES_MAX])
    return Shape(name=name, kind="category", categories=kept, open=len(pairs) > CATEGORIES_MAX)


def _texts(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    if pa.types.is_dictionary(values.type):
        values = pc.cast(values, values.type.value_type)
    return values if pa.types.is_string(values.type) else pc.cast(values, pa.string())


def count_numbers(
    shape: Shape, values: pa.Array | pa.ChunkedArray | np.ndarray, errors: np.ndarray | None = None
) -> Counts:
    """Counts of one chunk of numbers; `errors` (n,) is the predicted error of each row."""
    rows = len(values)
    known, which = numbers(values)
    ordered = np.sort(known)
    first, last = int(np.searchsorted(ordered, -np.inf, "right")), int(np.searchsorted(ordered, np.inf))
    places = np.searchsorted(ordered, shape.edges, "left")
    slots = np.diff(np.concatenate([[0], places, [len(ordered)]]))
    finite = ordered[first:last].astype(np.float64, copy=False)
    away = finite - shape.edges[0]
    low, end = int(places[0]) - first, int(places[-1]) - first
    return Counts(
        rows=rows,
        missing=rows - len(known),
        slots=slots,
        total=float(away.sum()),
        squares=float(np.square(away).sum()),
        finite=len(finite),
        low=float(finite[0]) if len(finite) else float("inf"),
        high=float(finite[-1]) if len(finite) else float("-inf"),
        short=float(-away[: max(low, 0)].sum()),
        far=float((finite[max(end, 0) :] - shape.edges[-1]).sum()),
        errors=_number_errors(shape, known, errors if which is None or errors is None else errors[which]),
    )


def _number_errors(shape: Shape, known: np.ndarray, errors: np.ndarray | None) -> np.ndarray:
    return np.zeros(0) if errors is None else _errors(_coarse(shape, known), shape, errors)


def _coarse(shape: Shape, known: np.ndarray) -> np.ndarray:
    """The coarse bin of every value: (n,)."""
    return np.searchsorted(shape.edges[shape.deciles[1:] - 1], known, "right")


def _errors(bins: np.ndarray, shape: Shape, errors: np.ndarray | None) -> np.ndarray:
    if errors is None:
        return np.zeros(0)
    known = np.isfinite(errors)
    bins, errors = bins[known], errors[known]
    count = len(shape.starts)
    parts = [np.bincount(bins, weights=weight, minlength=count) for weight in (errors, errors**2)]
    return np.array([*parts, np.bincount(bins, minlength=count).astype(float)])


def codes(shape: Shape, values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The slot of each row: (n,); the last slot for anything not in the reference, -1 for missing."""
    texts = _texts(values)
    found = pc.index_in(texts, pa.array(shape.categories, pa.string()), skip_nulls=False)
    filled = plain(pc.fill_null(found, len(shape.categories)))
    return np.where(plain(pc.is_null(texts)), -1, filled)


def count_categories(
    shape: Shape, values: pa.Array | pa.ChunkedArray, errors: np.ndarray | None = None
) -> Counts:
    """Counts of one chunk of categories."""
    places = codes(shape, values)
    known = places >= 0
    slots = np.bincount(places[known], minlength=shape.slots)
    new: dict[str, int] = {}
    if slots[-1] and not shape.open:
        strange = pc.value_counts(pc.filter(_texts(values), pa.array(places == shape.slots - 1)))
        new = _largest({pair["values"]: pair["counts"] for pair in strange.to_pylist()})
    return Counts(
        rows=len(places),
        missing=int((~known).sum()),
        slots=slots,
        new=new,
        errors=_errors(places[known], shape, None if errors is None else errors[known]),
    )


def count(
    shape: Shape, values: pa.Array | pa.ChunkedArray | np.ndarray, errors: np.ndarray | None = None
) -> Counts:
    """Counts of one chunk of a column."""
    if shape.kind == "number":
        return count_numbers(shape, values, errors)
    if isinstance(values, np.ndarray):
        values = pa.array(values)
    return count_categories(shape, values, errors)


def design_effect(shape: Shape, values: pa.Array | pa.ChunkedArray | np.ndarray, blocks: int = 20) -> float:
    """How much more consecutive blocks of the reference differ than rows drawn at random would; at least 1.

    Pearson's χ² of blocks by coarse bins over its degrees of freedom (Kish 1965; Rao & Scott 1981). Counted only
    where it is beyond its own noise.
    """
    if shape.kind == "number":
        bins = _coarse(shape, numbers(values)[0])
    else:
        bins = codes(shape, pa.array(values) if isinstance(values, np.ndarray) else values)
        bins = bins[bins >= 0]
    size = len(shape.starts)
    blocks = min(blocks, len(bins) // 50)
    if blocks < 2:
        return 1.0
    which = np.arange(len(bins)) * blocks // len(bins)
    seen = np.bincount(which * size + bins, minlength=blocks * size).reshape(blocks, size).astype(float)
    expected = seen.sum(1, keepdims=True) * seen.sum(0, keepdims=True) / len(bins)
    used = expected.min(0) >= 1.0
    freedom = (blocks - 1) * max(int(used.sum()) - 1, 1)
    ratio = float(((seen - expected)[:, used] ** 2 / expected[:, used]).sum()) / freedom
    return ratio if ratio > 1.0 + 3.0 * np.sqrt(2.0 / freedom) else 1.0


def coarse_counts(shape: Shape, counts: Counts) -> np.ndarray:
    """Counts by coarse bin: deciles of the reference, or categories with the rest."""
    return np.add.reduceat(counts.slots, shape.starts)


def renamed(shape: Shape, name: str) -> Shape:
    """The same bins under another name."""
    return replace(shape, name=name)
