"""Judges chunks: figures from labels and from scores, bands held against labels, falls.

Pure: arrays and references in, values out. An estimate is made once, before its labels, and never made again: what is
held against the labels is what was said then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from andon.observability.quality.calibration import reliability
from andon.observability.quality.estimate import count_confusion
from andon.observability.quality.figures import Figure, figures_of, part_of, quantiles
from andon.observability.quality.model import MonitorSpec
from andon.observability.quality.references import (
    SETTLED_LOOKED_AT,
    Reference,
    alarm_threshold,
    band,
    chance_of_chunk,
    estimate_figures,
    is_fallen,
    misses_allowed,
)
from andon.observability.quality.report import ChunkQuality, Measure, SliceQuality, Trust
from andon.observability.quality.repository import Answers, Span

VALUES_MAX = 20  # of one slice; the commonest
COVERED = 0.8  # from this share of labels on an estimate is held against them before their time is over
WAYS = 2  # a chunk may alarm by labels or by its estimate


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What a chunk of a release is judged by."""

    spec: MonitorSpec
    chunk_s: float
    baseline: Reference | None  # falls are measured from it
    own: Reference | None  # the release's own: calibrates its scores
    trusted: bool = True


def evaluate_chunk(
    ground: Ground, release: str, span: Span, answers: Answers, before: ChunkQuality | None
) -> ChunkQuality:
    """One release in one period; `before` is what was known of the same chunk."""
    spec, labelled = ground.spec, answers.labelled
    sample = part_of(answers.sample, labelled)
    figures = figures_of(spec.problem, sample, spec.costs)
    estimates = _estimates(ground, span, answers, before)
    rows, known = answers.sample.rows, sample.rows
    lags = answers.lags_s[labelled]
    p50, p90 = quantiles(np.maximum(lags, 0.0), (0.5, 0.9))
    right = int(sample.correct.sum()) if spec.problem != "regression" else 0
    bounded = spec.problem != "regression" and rows > 0
    binary = spec.problem == "binary" and known > 0
    confusion = count_confusion(sample.truth, sample.predicted == 1.0) if binary else None
    scored = np.isfinite(sample.scores)
    return ChunkQuality(
        release=release,
        from_ns=span.from_ns,
        until_ns=span.until_ns,
        rows=rows,
        labelled=known,
        share=answers.share,
        coverage=known / rows if rows else 0.0,
        lag_p50_s=p50,
        lag_p90_s=p90,
        lowest=right / rows if bounded else None,
        highest=(right + rows - known) / rows if bounded else None,
        measures=tuple(
            _measure(name, figures.get(name), estimates.get(name))
            for name in spec.figures
            if name in figures or name in estimates
        ),
        slices=_slices(spec, answers),
        confusion={
            "true_positive": round(confusion.true_positive),
            "false_positive": round(confusion.false_positive),
            "true_negative": round(confusion.true_negative),
            "false_negative": round(confusion.false_negative),
        }
        if confusion
        else {},
        curve=tuple(reliability(sample.scores[scored], sample.truth[scored]))
        if binary and scored.any()
        else (),
    )


def _measure(name: str, figure: Figure | None, said: tuple[float, float | None] | None) -> Measure:
    return Measure(
        metric=name,
        realised=figure.value if figure else None,
        low=figure.low if figure else None,
        high=figure.high if figure else None,
        estimated=said[0] if said else None,
        band=said[1] if said else None,
    )


def _estimates(
    ground: Ground, span: Span, answers: Answers, before: ChunkQuality | None
) -> dict[str, tuple[float, float | None]]:
    """Estimates with their bands: those that were made before, or new ones of a chunk after the reference."""
    if before is not None:
        kept = {one.metric: (one.estimated, one.band) for one in before.measures if one.estimated is not None}
        if kept:
            return kept
    own = ground.own
    if own is None or span.from_ns < own.until_ns or answers.sample.rows < ground.spec.min_rows:
        return {}
    sample = answers.sample
    found = estimate_figures(own, ground.spec.problem, sample.scores, sample.predicted, ground.spec.costs)
    return {name: (value, band(own, name, sample.rows)) for name, value in found.items()}


def _slices(spec: MonitorSpec, answers: Answers) -> tuple[SliceQuality, ...]:
    found = []
    leading = spec.leading
    for column, values in answers.slices.items():
        named = np.asarray(["" if value is None else str(value) for value in values], dtype=object)
        names, counts = np.unique(named.astype(str), return_counts=True)
        for at in np.argsort(-counts, kind="stable")[:VALUES_MAX]:
            rows = named == names[at]
            sample = part_of(answers.sample, rows & answers.labelled)
            figure = figures_of(spec.problem, sample, spec.costs).get(leading)
            found.append(
                SliceQuality(
                    column=column,
                    value=str(names[at]),
                    rows=int(counts[at]),
                    labelled=sample.rows,
                    realised=figure.value if figure else None,
                    low=figure.low if figure else None,
                    high=figure.high if figure else None,
                )
            )
    return tuple(found)


def reconcile(ground: Ground, chunk: ChunkQuality, *, settled: bool) -> ChunkQuality:
    """The chunk with its estimates held against its labels, and with its alarms.

    Labels of a part of the rows stray more than those of all, so the band is widened to their number. Where labels
    judge, the estimate is silent.
    """
    spec, own = ground.spec, ground.own
    enough = chunk.labelled >= spec.min_rows and (settled or chunk.coverage >= COVERED)
    measures = []
    for one in chunk.measures:
        missed = None
        if enough and own is not None and one.estimated is not None and one.realised is not None:
            reach = band(own, one.metric, chunk.labelled)
            missed = abs(one.realised - one.estimated) > max(reach, one.band or 0.0) if reach else None
        measures.append(msgspec.structs.replace(one, missed=missed))
    return msgspec.structs.replace(
        chunk, measures=tuple(measures), settled=settled, alarms=_alarms(ground, chunk)
    )


def _alarms(ground: Ground, chunk: ChunkQuality) -> tuple[str, ...]:
    spec, baseline = ground.spec, ground.baseline
    leading = chunk.measure(spec.leading)
    if baseline is None or leading is None or chunk.from_ns < baseline.until_ns:
        return ()
    chance = chance_of_chunk(spec.alarm.false_alarms_per_month, ground.chunk_s, WAYS)

    def fallen(value: float | None, rows: int) -> bool:
        limit = alarm_threshold(baseline, spec.leading, rows, spec.alarm.tolerance, chance)
        return value is not None and limit is not None and is_fallen(spec.leading, value, limit)

    if chunk.labelled >= spec.min_rows:
        return ("labels",) if fallen(leading.realised, chunk.labelled) else ()
    if ground.trusted and ground.own is not None and fallen(leading.estimated, chunk.rows):
        return ("estimate",)
    return ()


def judge_trust(own: Reference | None, leading: str, chunks: Sequence[ChunkQuality]) -> Trust:
    """What a release's estimate is worth, by its last 20 estimates that were held against labels."""
    if own is None:
        return Trust(state="no reference", reason="fewer labels than a reference needs have come")
    if not own.scored:
        return Trust(state="no reference", reason="the reference holds no probabilities to estimate from")
    held = [one for chunk in chunks if (one := chunk.measure(leading)) and one.missed is not None]
    held = held[-SETTLED_LOOKED_AT:]
    misses, allowed = sum(bool(one.missed) for one in held), misses_allowed(len(held))
    worst = max(
        (
            abs(one.realised - one.estimated)
            for one in held
            if one.realised is not None and one.estimated is not None
        ),
        default=None,
    )
    off = misses > allowed
    reason = ""
    if off:
        reason = f"{misses} of the last {len(held)} bands were missed, {allowed} are allowed"
    return Trust(
        state="off" if off else "on",
        settled=len(held),
        misses=misses,
        allowed=allowed,
        worst=worst,
        reason=reason,
    )
