"""The board of business: what people did with the answers, and what the business counted because of them.

Counts by the observer; with intervals and per experiment they are in the ledger.
"""

from __future__ import annotations

from andon.observability.dashboards.boards.service import BY_RELEASE
from andon.observability.dashboards.expressions import (
    ENDPOINT,
    INTERVAL,
    RELEASE,
    ROWS,
    mean,
    rate,
    series,
    share,
    total,
)
from andon.observability.dashboards.model import Board, Panel, Query, Row

_NAME = "{{endpoint}} {{release}}"
_BOTH = "endpoint, release"
_SERVED = rate("andon_requests_total", ROWS, 'status_class="2xx"', ENDPOINT, RELEASE)
_FEEDBACK = rate("andon_feedback_total", ENDPOINT, RELEASE)
_THUMBS = rate("andon_feedback_thumbs_total", ENDPOINT, RELEASE)

_PEOPLE = Row(
    "What people did",
    (
        Panel(
            title="Feedback rate",
            meaning="Pieces of feedback for each answer.",
            unit="percentunit",
            queries=(Query(share(_FEEDBACK, _SERVED, _BOTH), _NAME),),
        ),
        Panel(
            title="Thumbs up",
            meaning="Share of thumbs that are up. With an interval per release: GET /v1/engagement.",
            unit="percentunit",
            least=0,
            most=1,
            queries=(
                Query(
                    share(
                        rate("andon_feedback_thumbs_total", 'thumb="up"', ENDPOINT, RELEASE), _THUMBS, _BOTH
                    ),
                    _NAME,
                ),
            ),
        ),
        Panel(
            title="Mean rating",
            meaning="From 1 to 5.",
            unit="short",
            least=1,
            most=5,
            queries=(Query(mean("andon_feedback_rating", _BOTH, ENDPOINT, RELEASE), _NAME),),
        ),
        Panel(
            title="Feedback by kind",
            meaning="Thumbs, ratings, regenerated, abandoned, accepted, edited, copied.",
            unit="cps",
            stacked=True,
            queries=(Query(total(_FEEDBACK, "kind"), "{{kind}}"),),
        ),
        Panel(
            title="Asked again",
            meaning="Share of answers that somebody had regenerated.",
            unit="percentunit",
            least=0,
            queries=(
                Query(
                    share(
                        rate("andon_feedback_total", 'kind="regenerate"', ENDPOINT, RELEASE), _SERVED, _BOTH
                    ),
                    _NAME,
                ),
            ),
        ),
        Panel(
            title="Clients that left",
            meaning="Share of requests that their client did not wait for.",
            unit="percentunit",
            least=0,
            queries=(
                Query(
                    share(
                        rate("andon_requests_total", 'error_type="client_gone"', ENDPOINT, RELEASE),
                        rate("andon_requests_total", ROWS, ENDPOINT, RELEASE),
                        _BOTH,
                    ),
                    _NAME,
                ),
            ),
        ),
    ),
)

_VALUE = Row(
    "What came of it",
    (
        Panel(
            title="KPI events",
            meaning="Events a second that the business told about requests, by KPI.",
            unit="cps",
            queries=(Query(total(rate("andon_kpi_events_total", ENDPOINT, RELEASE), "kpi"), "{{kpi}}"),),
        ),
        Panel(
            title="KPI events per answer",
            meaning="By KPI and release. Which release is better is for an experiment to say, not for two lines.",
            unit="percentunit",
            queries=(
                Query(
                    f"{total(rate('andon_kpi_events_total', ENDPOINT, RELEASE), 'kpi, endpoint, release')} / "
                    f"on (endpoint, release) group_left () ({total(_SERVED, _BOTH)} > 0)",
                    "{{kpi}} {{release}}",
                ),
            ),
        ),
        Panel(
            title="KPI value",
            meaning="What the values add up to within the interval, by KPI and currency; it may fall.",
            unit="short",
            queries=(
                Query(
                    total(
                        f"delta({series('andon_kpi_value', ENDPOINT, RELEASE)}[{INTERVAL}])", "kpi, currency"
                    ),
                    "{{kpi}} {{currency}}",
                ),
            ),
        ),
    ),
)

BUSINESS = Board(
    uid="andon-business",
    title="Andon / Business",
    meaning="What people did with the answers, and what the business counted because of them.",
    filters=BY_RELEASE,
    rows=(_PEOPLE, _VALUE),
    since="now-24h",
)
