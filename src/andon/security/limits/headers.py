"""The `x-ratelimit-*` lines of an answer, in the form that OpenAI's clients know.

Pure. Made from the counters when the answer leaves, so that they say what is left after the request itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from andon.security.limits import rules
from andon.security.limits.model import Counter


def rate_limit_lines(counters: Sequence[Counter], now: float) -> bytes:
    """Limit, remaining and reset of requests and of tokens, each of the counter with the least left."""
    requests: Counter | None = None
    tokens: Counter | None = None
    fewest_requests = fewest_tokens = 0
    for counter in counters:
        rule = counter.rule
        if rule.request_s:
            left = rules.requests_left(counter, now)
            if requests is None or left < fewest_requests:
                requests, fewest_requests = counter, left
        if rule.token_s:
            left = rules.tokens_left(counter, now)
            if tokens is None or left < fewest_tokens:
                tokens, fewest_tokens = counter, left
    text = ""
    if requests is not None:
        reset = duration(requests.request_paid_at - now)
        text = f"{requests.rule.request_head}{fewest_requests}\r\nx-ratelimit-reset-requests: {reset}\r\n"
    if tokens is not None:
        debt_s = tokens.token_paid_at - now
        reset = duration((debt_s if debt_s > 0.0 else 0.0) + tokens.held * tokens.rule.token_s)
        text += f"{tokens.rule.token_head}{fewest_tokens}\r\nx-ratelimit-reset-tokens: {reset}\r\n"
    return text.encode()


def duration(seconds: float) -> str:
    """Seconds as OpenAI writes them: `0s`, `120ms`, `6.5s`, `1m30s`; rounded up to a millisecond."""
    if seconds <= 1e-6:
        return "0s"
    milliseconds = math.ceil(seconds * 1000.0 - 1e-3)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{text}s" if minutes else f"{text}s"
