"""The board of language models: time to first token, time per token, tokens and their lengths.

Times and tokens under the names of the GenAI conventions, made from rows.
"""

from __future__ import annotations

from andon.observability.dashboards.boards.service import BY_RELEASE
from andon.observability.dashboards.expressions import (
    ENDPOINT,
    RELEASE,
    increase,
    mean,
    quantile,
    rate,
    total,
)
from andon.observability.dashboards.model import Board, Panel, Query, Row

_FIRST = "gen_ai_server_time_to_first_token_seconds"
_EACH = "gen_ai_server_time_per_output_token_seconds"
_WHOLE = "gen_ai_client_operation_duration_seconds"
_USAGE = "gen_ai_client_token_usage"
_NAME = "{{endpoint}} {{release}}"
_BOTH = "endpoint, release"


def _levels(histogram: str) -> tuple[Query, ...]:
    return (
        *(
            Query(quantile(level, histogram, "", ENDPOINT, RELEASE), f"P{level * 100:g}")
            for level in (0.5, 0.9, 0.95, 0.99)
        ),
        Query(mean(histogram, "", ENDPOINT, RELEASE), "mean"),
    )


def _tokens(kind: str) -> str:
    return total(rate("andon_tokens_total", f'type="{kind}"', ENDPOINT, RELEASE), _BOTH)


def _lengths(kind: str) -> Panel:
    matcher = f'gen_ai_token_type="{kind}"'
    return Panel(
        title=f"Lengths of {kind}",
        meaning=f"How many {kind} tokens a request has: requests in each bucket, by what the provider counted.",
        unit="short",
        shape="heat",
        width=12,
        queries=(Query(total(increase(f"{_USAGE}_bucket", matcher, ENDPOINT, RELEASE), "le"), "{{le}}"),),
    )


_SPEED = Row(
    "Speed",
    (
        Panel(
            title="Time to first token",
            meaning="From dispatch to the first token of a stream.",
            unit="s",
            queries=_levels(_FIRST),
        ),
        Panel(
            title="Time per output token",
            meaning="(duration - time to first token) / (output tokens - 1) of streamed successes.",
            unit="s",
            queries=_levels(_EACH),
        ),
        Panel(
            title="Duration of an operation",
            meaning="Every attempt, whole or streamed, from dispatch to its end.",
            unit="s",
            queries=_levels(_WHOLE),
        ),
        Panel(
            title="P95 time to first token by release",
            meaning="95 % of streams had their first token within this time.",
            unit="s",
            queries=(Query(quantile(0.95, _FIRST, _BOTH, ENDPOINT, RELEASE), _NAME),),
        ),
        Panel(
            title="P95 time per output token by release",
            meaning="How evenly a reader sees the text come.",
            unit="s",
            queries=(Query(quantile(0.95, _EACH, _BOTH, ENDPOINT, RELEASE), _NAME),),
        ),
        Panel(
            title="Operations by model",
            meaning="Attempts a second by provider and model.",
            unit="reqps",
            queries=(
                Query(
                    total(
                        rate(f"{_WHOLE}_count", ENDPOINT, RELEASE),
                        "gen_ai_provider_name, gen_ai_request_model",
                    ),
                    "{{gen_ai_provider_name}} {{gen_ai_request_model}}",
                ),
            ),
        ),
    ),
)

_TOKENS = Row(
    "Tokens",
    (
        Panel(
            title="Output tokens",
            meaning="Tokens generated a second, of all attempts.",
            unit="cps",
            queries=(Query(_tokens("output"), _NAME),),
        ),
        Panel(
            title="Input tokens",
            meaning="Tokens of prompts a second, of all attempts.",
            unit="cps",
            queries=(Query(_tokens("input"), _NAME),),
        ),
        Panel(
            title="Tokens per request",
            meaning="Mean of what providers counted, by kind.",
            unit="short",
            queries=(Query(mean(_USAGE, "gen_ai_token_type", ENDPOINT, RELEASE), "{{gen_ai_token_type}}"),),
        ),
        _lengths("input"),
        _lengths("output"),
    ),
)

_TROUBLE = Row(
    "Trouble",
    (
        Panel(
            title="Failed operations",
            meaning="Attempts a second that failed, by reason.",
            unit="reqps",
            width=12,
            queries=(
                Query(
                    total(rate(f"{_WHOLE}_count", 'error_type!=""', ENDPOINT, RELEASE), "error_type"),
                    "{{error_type}}",
                ),
            ),
        ),
        Panel(
            title="Attempts by arm",
            meaning="Attempts a second sent upstream by arm; a shadow costs tokens, too.",
            unit="reqps",
            width=12,
            queries=(Query(total(rate("andon_attempts_total", ENDPOINT, RELEASE), "arm"), "{{arm}}"),),
        ),
    ),
)

LLM = Board(
    uid="andon-llm",
    title="Andon / Language models",
    meaning="How soon and how evenly text comes, how many tokens, how long prompts and answers are.",
    filters=BY_RELEASE,
    rows=(_SPEED, _TOKENS, _TROUBLE),
)
