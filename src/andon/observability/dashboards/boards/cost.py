"""The board of cost: who causes it. Tokens, requests, repeated work, energy and disk, each in its own unit.

No money: prices are applied where they are exact, in the ledger, not to rates of counters.
"""

from __future__ import annotations

from andon.observability.dashboards.boards.gpu import or_none
from andon.observability.dashboards.boards.service import BY_RELEASE
from andon.observability.dashboards.expressions import (
    ENDPOINT,
    RELEASE,
    ROWS,
    rate,
    series,
    share,
    top,
    total,
)
from andon.observability.dashboards.model import Board, Panel, Query, Row

_TOKENS = rate("andon_tokens_total", ENDPOINT, RELEASE)
_REQUESTS = rate("andon_requests_total", ROWS, ENDPOINT, RELEASE)

_WHO = Row(
    "Who causes it",
    (
        Panel(
            title="Tokens by team",
            meaning="Tokens a second of all attempts, by the team of the key.",
            unit="cps",
            stacked=True,
            queries=(Query(top(total(rate("andon_team_tokens_total"), "team")), "{{team}}"),),
        ),
        Panel(
            title="Requests by team",
            meaning="Requests answered a second.",
            unit="reqps",
            stacked=True,
            queries=(Query(top(total(rate("andon_team_requests_total"), "team")), "{{team}}"),),
        ),
        Panel(
            title="Requests by key",
            meaning="Requests answered a second, the ten busiest keys of the factory file.",
            unit="reqps",
            queries=(Query(top(total(rate("andon_key_requests_total"), "key")), "{{key}}"),),
        ),
        Panel(
            title="Tokens by endpoint",
            meaning="Tokens a second of all attempts.",
            unit="cps",
            stacked=True,
            queries=(Query(total(_TOKENS, "endpoint"), "{{endpoint}}"),),
        ),
        Panel(
            title="Tokens by release",
            meaning="Tokens a second of all attempts; a shadow's too.",
            unit="cps",
            stacked=True,
            queries=(Query(total(_TOKENS, "release"), "{{release}}"),),
        ),
        Panel(
            title="Tokens by kind",
            meaning="Input is usually cheaper than output.",
            unit="cps",
            stacked=True,
            queries=(Query(total(_TOKENS, "type"), "{{type}}"),),
        ),
    ),
)

_WASTE = Row(
    "What brings nothing",
    (
        Panel(
            title="Attempts beyond the first",
            meaning="Attempts per request less one: retries, fallbacks, hedges and shadows.",
            unit="short",
            queries=(
                Query(
                    f"{total(rate('andon_attempts_total', ENDPOINT, RELEASE), 'endpoint')} / "
                    f"{total(_REQUESTS, 'endpoint')} - 1",
                    "{{endpoint}}",
                ),
            ),
        ),
        Panel(
            title="Attempts that failed",
            meaning="Share of attempts that ended in an error: they cost like others.",
            unit="percentunit",
            least=0,
            queries=(
                Query(
                    share(
                        rate("andon_attempts_total", 'status_class=~"4xx|5xx"', ENDPOINT, RELEASE),
                        rate("andon_attempts_total", ENDPOINT, RELEASE),
                        "endpoint",
                    ),
                    "{{endpoint}}",
                ),
            ),
        ),
        Panel(
            title="Tokens per request",
            meaning="Tokens of all attempts for each request that was answered.",
            unit="short",
            queries=(
                Query(f"{total(_TOKENS, 'endpoint')} / ({total(_REQUESTS, 'endpoint')} > 0)", "{{endpoint}}"),
            ),
        ),
    ),
)

_OWN = Row(
    "What this machine spends",
    (
        Panel(
            title="GPU-seconds by endpoint",
            meaning="Busy seconds of devices a second, by in-flight share.",
            unit="short",
            stacked=True,
            queries=(
                Query(
                    or_none(total(rate("andon_gpu_attributed_seconds_total"), "endpoint"), "endpoint"),
                    "{{endpoint}}",
                ),
            ),
        ),
        Panel(
            title="Processors by process",
            meaning="Processors in use by each process of the factory.",
            unit="short",
            stacked=True,
            queries=(
                Query(total(rate("andon_process_cpu_seconds_total"), "role, name"), "{{role}} {{name}}"),
            ),
        ),
        Panel(
            title="Ledger on disk",
            meaning="Logs that are not yet sealed and retired, and tables.",
            unit="bytes",
            stacked=True,
            queries=(
                Query(total(series("andon_log_bytes"), "log"), "log {{log}}"),
                Query(total(series("andon_ledger_tables_bytes"), "table"), "table {{table}}"),
            ),
        ),
    ),
)

COST = Board(
    uid="andon-cost",
    title="Andon / Cost",
    meaning="Who causes cost, what of it brings nothing, what this machine spends; in tokens, seconds and bytes.",
    filters=BY_RELEASE,
    rows=(_WHO, _WASTE, _OWN),
    since="now-24h",
)
