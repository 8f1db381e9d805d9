"""The `x-ratelimit-*` lines of an answer, in the form that OpenAI's clients know.

Pure. Made from the counters when the answer leaves, so that they say what is left after the request itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from andon.security.limits.model import Counter
from andon.security.limits.rules import ROUNDING

NEGLIGIBLE_S = 1e-6


def rate_limit_lines(counters: Sequence[Counter], now: float) -> bytes:
    """Limit, remaining and reset of requests and of tokens, each of the counter with the least left."""
    requests: Counter | None = None
    tokens: Counter | None = None
    fewest_requests = fewest_tokens = 0
    for counter in counters:
        rule = counter.rule
        # `rules.requests_left` and `rules.tokens_left`, written out: this runs for every answer and counter.
        if rule.request_s:
            debt_s = counter.request_paid_at - now
            allowed_s = rule.request_allowance_s - debt_s if debt_s > 0.0 else rule.request_allowance_s
            left = int(allowed_s / rule.request_s + ROUNDING) if allowed_s > 0.0 else 0
            if requests is None or left < fewest_requests:
                requests, fewest_requests = counter, left
        if rule.token_s:
            debt_s = counter.token_paid_at - now
            allowed_s = rule.token_allowance_s - debt_s if debt_s > 0.0 else rule.token_allowance_s
            share = allowed_s / rule.token_s - counter.held
            left = int(share + ROUNDING) if share > 0.0 else 0
            if tokens is None or left < fewest_tokens:
                tokens, fewest_tokens = counter, left
    text = ""
    if requests is not None:
        debt_s = requests.request_paid_at - now
        reset = duration(debt_s) if debt_s > NEGLIGIBLE_S else "0s"
        text = f"{requests.rule.request_head}{fewest_requests}\r\nx-ratelimit-reset-requests: {reset}\r\n"
    if tokens is not None:
        debt_s = tokens.token_paid_at - now
        debt_s = (debt_s if debt_s > 0.0 else 0.0) + tokens.held * tokens.rule.token_s
        reset = duration(debt_s) if debt_s > NEGLIGIBLE_S else "0s"
        text += f"{tokens.rule.token_head}{fewest_tokens}\r\nx-ratelimit-reset-tokens: {reset}\r\n"
    return text.encode()


def duration(seconds: float) -> str:
    """Seconds as OpenAI writes them: `0s`, `120ms`, `6.5s`, `1m30s`; rounded up to a millisecond."""
    if seconds <= NEGLIGIBLE_S:
        return "0s"
    milliseconds = math.ceil(seconds * 1000.0 - 1e-3)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{text}s" if minutes else f"{text}s"
