"""The board of models: every release next to the others, and what it stands on.

By endpoint and release, so that a canary stands beside what it is to replace.
"""

from __future__ import annotations

from andon.observability.dashboards.boards.service import BY_RELEASE
from andon.observability.dashboards.expressions import (
    ENDPOINT,
    RELEASE,
    ROWS,
    mean,
    quantile,
    rate,
    series,
    share,
    top,
    total,
)
from andon.observability.dashboards.model import Board, Panel, Query, Row

_REQUESTS = rate("andon_requests_total", ROWS, ENDPOINT, RELEASE)
_DURATION = "http_server_request_duration_seconds"
_NAME = "{{endpoint}} {{release}}"
_BOTH = "endpoint, release"

_SPEED = Row(
    "Releases",
    (
        Panel(
            title="Requests by release",
            meaning="Requests answered a second by each release.",
            unit="reqps",
            queries=(Query(total(_REQUESTS, _BOTH), _NAME),),
        ),
        Panel(
            title="Share of traffic by arm",
            meaning="stable, canary, shadow: how the traffic of the endpoints is split.",
            unit="percentunit",
            stacked=True,
            most=1,
            queries=(
                Query(
                    f"{total(_REQUESTS, 'arm')} / ignoring (arm) group_left () {total(_REQUESTS)}", "{{arm}}"
                ),
            ),
        ),
        Panel(
            title="Failures to blame a release for",
            meaning="Share of requests whose failure the release caused: what gates of a rollout count.",
            unit="percentunit",
            least=0,
            queries=(
                Query(share(rate("andon_provider_errors_total", ENDPOINT, RELEASE), _REQUESTS, _BOTH), _NAME),
            ),
        ),
        *(
            Panel(
                title=f"P{level * 100:g} duration",
                meaning=f"{level:.0%} of answers were complete within this time, by the standard buckets.",
                unit="s",
                width=6,
                queries=(Query(quantile(level, _DURATION, _BOTH, ENDPOINT, RELEASE), _NAME),),
            )
            for level in (0.5, 0.9, 0.95, 0.99)
        ),
        Panel(
            title="Mean duration",
            meaning="The exact mean of complete answers.",
            unit="s",
            queries=(Query(mean(_DURATION, _BOTH, ENDPOINT, RELEASE), _NAME),),
        ),
        Panel(
            title="Upstream's first byte",
            meaning="From dispatch to the first byte, 95 % within.",
            unit="s",
            queries=(
                Query(quantile(0.95, "andon_upstream_first_byte_seconds", _BOTH, ENDPOINT, RELEASE), _NAME),
            ),
        ),
        Panel(
            title="Attempts per request",
            meaning="Above 1: retries, fallbacks and hedges.",
            unit="short",
            queries=(
                Query(
                    f"{total(rate('andon_attempts_total', ENDPOINT, RELEASE), _BOTH)} / {total(_REQUESTS, _BOTH)}",
                    _NAME,
                ),
            ),
        ),
    ),
)

_FEATURES = Row(
    "Features",
    (
        Panel(
            title="P95 time of each feature",
            meaning="Time to compute one feature of one request, as its model or feature server told it.",
            unit="s",
            width=12,
            queries=(
                Query(
                    top(quantile(0.95, "andon_feature_seconds", "endpoint, feature", ENDPOINT)),
                    "{{endpoint}} {{feature}}",
                ),
            ),
        ),
        Panel(
            title="Costliest features",
            meaning="Seconds of computing a second: the mean time of a feature times how often it is computed.",
            unit="percentunit",
            width=12,
            queries=(
                Query(
                    top(total(rate("andon_feature_seconds_sum", ENDPOINT), "endpoint, feature")),
                    "{{endpoint}} {{feature}}",
                ),
            ),
        ),
    ),
)

_REPLICA = 'role="replica"'
_REPLICAS = Row(
    "Replicas of this factory",
    (
        Panel(
            title="Processor by release",
            meaning="Processors in use by the replicas of a release on this host.",
            unit="short",
            queries=(
                Query(
                    total(rate("andon_process_cpu_seconds_total", _REPLICA, RELEASE), "release"),
                    "{{release}}",
                ),
            ),
        ),
        Panel(
            title="Memory by release",
            meaning="Resident memory of the replicas of a release on this host.",
            unit="bytes",
            queries=(
                Query(
                    total(series("andon_process_resident_memory_bytes", _REPLICA, RELEASE), "release"),
                    "{{release}}",
                ),
            ),
        ),
        Panel(
            title="Replicas",
            meaning="Replicas that run on this host.",
            unit="short",
            queries=(
                Query(
                    f"count by (release) ({series('andon_process_threads', _REPLICA, RELEASE)})",
                    "{{release}}",
                ),
            ),
        ),
    ),
)

MODELS = Board(
    uid="andon-models",
    title="Andon / Models",
    meaning="Every release next to the others: traffic, failures, latency, features, replicas.",
    filters=BY_RELEASE,
    rows=(_SPEED, _FEATURES, _REPLICAS),
)
