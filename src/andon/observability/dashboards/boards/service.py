"""The board of the service: is traffic answered, how fast, what is refused, what the gateway adds.

From rows, but for what only the gateway's process knows (open exchanges, refusals, breakers).
"""

from __future__ import annotations

from andon.observability.dashboards.expressions import (
    ENDPOINT,
    RELEASE,
    ROWS,
    highest,
    mean,
    quantile,
    rate,
    series,
    share,
    total,
)
from andon.observability.dashboards.model import Board, Filter, Panel, Query, Row

ERRORS = ((0, "green"), (0.01, "orange"), (0.05, "red"))
BY_ENDPOINT = (Filter("endpoint", "andon_overhead_seconds_count", "endpoint"),)
BY_RELEASE = (*BY_ENDPOINT, Filter("release", "andon_overhead_seconds_count", "release"))

_REQUESTS = rate("andon_requests_total", ROWS, ENDPOINT, RELEASE)
_FAILED = rate("andon_requests_total", 'status_class="5xx"', ENDPOINT, RELEASE)
_DURATION = "http_server_request_duration_seconds"

_NOW = Row(
    "Now",
    (
        Panel(
            title="Requests",
            meaning="Requests answered a second: final outcomes, whatever their status.",
            unit="reqps",
            shape="figure",
            width=4,
            height=5,
            queries=(Query(total(_REQUESTS)),),
        ),
        Panel(
            title="Server errors",
            meaning="Share of answers with a status of 5xx.",
            unit="percentunit",
            shape="figure",
            width=4,
            height=5,
            steps=ERRORS,
            queries=(Query(share(_FAILED, _REQUESTS)),),
        ),
        Panel(
            title="P95 duration",
            meaning="95 % of answers were complete within this time, by the standard buckets.",
            unit="s",
            shape="figure",
            width=4,
            height=5,
            queries=(Query(quantile(0.95, _DURATION, "", ENDPOINT, RELEASE)),),
        ),
        Panel(
            title="Open exchanges",
            meaning="Requests that the gateway is answering at this moment, told by the gateway itself.",
            unit="short",
            shape="figure",
            width=4,
            height=5,
            queries=(Query(total(series("andon_requests_in_flight"))),),
        ),
        Panel(
            title="Targets out of service",
            meaning="Targets whose breaker is open or that failed their health check.",
            unit="short",
            shape="figure",
            width=4,
            height=5,
            steps=((0, "green"), (1, "red")),
            queries=(Query(total(series("andon_targets_open"))),),
        ),
        Panel(
            title="Ledger in trouble",
            meaning="1 while the gateway cannot write its log: what happens then is each endpoint's durability.",
            unit="short",
            shape="figure",
            width=4,
            height=5,
            steps=((0, "green"), (1, "red")),
            queries=(Query(highest(series("andon_ledger_in_trouble"))),),
        ),
    ),
)

_TRAFFIC = Row(
    "Traffic",
    (
        Panel(
            title="Requests by endpoint",
            meaning="Requests answered a second.",
            unit="reqps",
            queries=(Query(total(_REQUESTS, "endpoint"), "{{endpoint}}"),),
        ),
        Panel(
            title="Requests by status",
            meaning="Requests answered a second, by class of status; 499 is a client that left.",
            unit="reqps",
            stacked=True,
            queries=(Query(total(_REQUESTS, "status_class"), "{{status_class}}"),),
        ),
        Panel(
            title="Server errors by endpoint",
            meaning="Share of answers with a status of 5xx.",
            unit="percentunit",
            least=0,
            queries=(Query(share(_FAILED, _REQUESTS, "endpoint"), "{{endpoint}}"),),
        ),
        Panel(
            title="Duration",
            meaning="From the first byte of the request to the last of the answer, by the standard buckets.",
            unit="s",
            queries=(
                *(
                    Query(quantile(level, _DURATION, "", ENDPOINT, RELEASE), f"P{level * 100:g}")
                    for level in (0.5, 0.9, 0.95, 0.99)
                ),
                Query(mean(_DURATION, "", ENDPOINT, RELEASE), "mean"),
            ),
        ),
        Panel(
            title="Errors by reason",
            meaning="Answers that are no success, by their error code.",
            unit="reqps",
            stacked=True,
            queries=(
                Query(
                    total(
                        rate("andon_requests_total", ROWS, 'error_type!=""', ENDPOINT, RELEASE), "error_type"
                    ),
                    "{{error_type}}",
                ),
            ),
        ),
        Panel(
            title="Refused before dispatch",
            meaning="Requests that the gateway refused, by reason; told by the gateway itself.",
            unit="reqps",
            stacked=True,
            queries=(Query(total(rate("andon_refused_total"), "reason"), "{{reason}}"),),
        ),
    ),
)

_GATEWAY = Row(
    "What the gateway adds",
    (
        Panel(
            title="Overhead",
            meaning="Time that the gateway itself took for an exchange: all but waiting for others.",
            unit="s",
            queries=(
                Query(quantile(0.5, "andon_overhead_seconds", "", ENDPOINT, RELEASE), "P50"),
                Query(quantile(0.99, "andon_overhead_seconds", "", ENDPOINT, RELEASE), "P99"),
                Query(mean("andon_overhead_seconds", "", ENDPOINT, RELEASE), "mean"),
            ),
        ),
        Panel(
            title="Waiting for a place",
            meaning="Time in the queue of an endpoint or a limit.",
            unit="s",
            queries=(
                Query(quantile(0.95, "andon_queue_seconds", "endpoint", ENDPOINT, RELEASE), "{{endpoint}}"),
            ),
        ),
        Panel(
            title="P99 overhead by endpoint",
            meaning="The slowest hundredth of what the gateway itself took.",
            unit="s",
            queries=(
                Query(
                    quantile(0.99, "andon_overhead_seconds", "endpoint", ENDPOINT, RELEASE), "{{endpoint}}"
                ),
            ),
        ),
        Panel(
            title="Attempts per request",
            meaning="Attempts sent upstream for each request: above 1, retries, fallbacks and hedges cost something.",
            unit="short",
            queries=(
                Query(
                    f"{total(rate('andon_attempts_total', ENDPOINT, RELEASE), 'endpoint')}"
                    f" / {total(_REQUESTS, 'endpoint')}",
                    "{{endpoint}}",
                ),
            ),
        ),
        Panel(
            title="Connection to upstream",
            meaning="Time to open one; a connection that is kept costs none and is not counted.",
            unit="s",
            queries=(
                Query(
                    quantile(0.95, "andon_upstream_connect_seconds", "endpoint", ENDPOINT, RELEASE),
                    "{{endpoint}}",
                ),
            ),
        ),
        Panel(
            title="Upstream's first byte",
            meaning="From dispatch to the first byte of the answer.",
            unit="s",
            queries=(
                Query(
                    quantile(0.95, "andon_upstream_first_byte_seconds", "endpoint", ENDPOINT, RELEASE),
                    "{{endpoint}}",
                ),
            ),
        ),
        Panel(
            title="Added latency at the gateway",
            meaning="Measured by the gateway's process, whatever becomes of the row.",
            unit="s",
            queries=(
                Query(quantile(0.5, "andon_added_latency_seconds"), "P50"),
                Query(quantile(0.99, "andon_added_latency_seconds"), "P99"),
            ),
        ),
        Panel(
            title="Ledger lag at the gateway",
            meaning="Age of the oldest row that is not yet on disk.",
            unit="s",
            queries=(Query(highest(series("andon_ledger_lag_seconds"), "instance"), "{{instance}}"),),
        ),
        Panel(
            title="Events",
            meaning="What an operator may ask about: retries, fallbacks, breakers that opened, clients that left.",
            unit="cps",
            queries=(Query(total(rate("andon_gateway_events_total"), "event"), "{{event}}"),),
        ),
    ),
)

SERVICE = Board(
    uid="andon-service",
    title="Andon / Service",
    meaning="Is traffic answered, how fast, what is refused, and what does the gateway add?",
    filters=BY_RELEASE,
    rows=(_NOW, _TRAFFIC, _GATEWAY),
)
