"""Where a monitor stands: its falls, its releases in brief, its series.

Pure; from the report alone, so that status, signals and metrics cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from andon.observability.families import Family, Sample
from andon.observability.quality.model import ReleaseStatus
from andon.observability.quality.report import ChunkQuality, QualityReport, ReleaseQuality

RELEASES_MAX = 20  # of one monitor that have series: those with the newest chunks
CURRENT_CHUNKS = 2  # a release without answers for longer is not in service: it does not alarm


class Fall(msgspec.Struct, frozen=True, kw_only=True):
    """A release that fell."""

    release: str
    by: str  # "labels" or "estimate"
    value: float
    from_ns: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A monitor as of its last look."""

    judged: bool
    falls: tuple[Fall, ...] = ()
    releases: dict[str, ReleaseStatus] = {}


def by_labels(chunks: Sequence[ChunkQuality], metric: str) -> ChunkQuality | None:
    """The newest chunk whose figure labels tell."""
    return next(
        (
            chunk
            for chunk in reversed(chunks)
            if (one := chunk.measure(metric)) is not None and one.realised is not None
        ),
        None,
    )


def standing_of(report: QualityReport) -> Standing:
    """Falls of the releases in service: of the newest chunk with labels, and of the newest estimate."""
    ends = [release.chunks[-1].until_ns for release in report.releases if release.chunks]
    newest = max(ends, default=0)
    falls: list[Fall] = []
    for release in report.releases:
        if not release.chunks:
            continue
        last = release.chunks[-1]
        if newest - last.until_ns <= CURRENT_CHUNKS * (last.until_ns - last.from_ns):
            falls += _falls(report, release)
    return Standing(
        judged=any(one.release == "" for one in report.references),
        falls=tuple(falls),
        releases={release.release: _brief(report, release) for release in report.releases},
    )


def _falls(report: QualityReport, release: ReleaseQuality) -> list[Fall]:
    found = []
    told, last = by_labels(release.chunks, report.leading), release.chunks[-1]
    for chunk, by in ((told, "labels"), (last, "estimate")):
        if chunk is None or by not in chunk.alarms:
            continue
        measure = chunk.measure(report.leading)
        value = None if measure is None else measure.realised if by == "labels" else measure.estimated
        found.append(Fall(release=release.release, by=by, value=value or 0.0, from_ns=chunk.from_ns))
    return found


def _brief(report: QualityReport, release: ReleaseQuality) -> ReleaseStatus:
    told = by_labels(release.chunks, report.leading)
    known = told.measure(report.leading) if told else None
    last = release.chunks[-1] if release.chunks else None
    said = last.measure(report.leading) if last and release.trust.state == "on" else None
    return ReleaseStatus(
        rows=sum(chunk.rows for chunk in release.chunks),
        labelled=sum(chunk.labelled for chunk in release.chunks),
        realised=known.realised if known else None,
        estimated=said.estimated if said else None,
        band=said.band if said else None,
        estimate_state=release.trust.state,
        reason=release.trust.reason,
    )


def families_of(reports: Mapping[str, QualityReport], since: Mapping[str, int]) -> tuple[Family, ...]:
    """The series of every monitor: the newest figures that labels tell, and the newest estimates."""
    quality, coverage, lags, errors, alarms = [], [], [], [], []
    for name, report in sorted(reports.items()):
        alarms.append(Sample((("monitor", name),), float(bool(since.get(name)))))
        for release in _newest(report):
            labels = (("monitor", name), ("release", release.release))
            last, told = release.chunks[-1], by_labels(release.chunks, report.leading)
            coverage.append(Sample(labels, last.coverage))
            if told is not None:
                quality += [
                    Sample((*labels, ("metric", one.metric), ("kind", "realised")), one.realised)
                    for one in told.measures
                    if one.realised is not None
                ]
                if told.lag_p50_s is not None:
                    lags.append(Sample((*labels, ("quantile", "0.5")), told.lag_p50_s))
                if told.lag_p90_s is not None:
                    lags.append(Sample((*labels, ("quantile", "0.9")), told.lag_p90_s))
                errors += [
                    Sample((*labels, ("metric", one.metric)), one.estimated - one.realised)
                    for one in told.measures
                    if one.realised is not None and one.estimated is not None
                ]
            if release.trust.state == "on":
                quality += [
                    Sample((*labels, ("metric", one.metric), ("kind", "estimated")), one.estimated)
                    for one in last.measures
                    if one.estimated is not None
                ]
    return (
        Family("andon_quality", "gauge", "Newest figure of quality, from labels or before.", tuple(quality)),
        Family(
            "andon_quality_label_coverage_ratio",
            "gauge",
            "Share of the newest chunk's answers that have a label.",
            tuple(coverage),
        ),
        Family(
            "andon_quality_label_lag_seconds",
            "gauge",
            "From the answer to its label, in the newest chunk with labels.",
            tuple(lags),
        ),
        Family(
            "andon_quality_estimate_error",
            "gauge",
            "Estimate less truth, in the newest chunk that has both.",
            tuple(errors),
        ),
        Family("andon_quality_alarm", "gauge", "Whether a monitor's figure has fallen.", tuple(alarms)),
    )


def _newest(report: QualityReport) -> list[ReleaseQuality]:
    with_chunks = [release for release in report.releases if release.chunks]
    with_chunks.sort(key=lambda release: -release.chunks[-1].until_ns)
    return with_chunks[:RELEASES_MAX]
