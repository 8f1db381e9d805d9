"""The arithmetic of limits: reserve, settle, cancel. Pure over counters: the time is handed in.

Requests are a token bucket in its virtual-scheduling form (GCRA, ITU-T I.371 annex A): `request_paid_at` is when all
requests granted so far are paid for by time; one more is granted if that stays within the allowance. Tokens granted are
held, without decaying, until the request ends; then what was used becomes debt of the same form. So use never exceeds
burst + rate x time, whatever comes back when, and giving back is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from andon.security.limits.model import Counter, Denial

# Sums of floating-point seconds may miss an exact bound by some nanoseconds: one request too few is a wrong answer to a
# client that counts. A microsecond's refill is the most that this can ever grant too much.
SLACK_S = 1e-6
ROUNDING = 1e-3  # so that 59.9999999 left are told as 60


def reserve(counters: Sequence[Counter], tokens: int, now: float) -> Denial | None:
    """One request and `tokens` from every counter, or nothing from any and the denial that lasts longest."""
    for counter in counters:
        rule = counter.rule
        paid_at = counter.request_paid_at
        if paid_at < now:
            counter.request_paid_at = paid_at = now  # the same state, said in a shorter sum
        debt_s = counter.token_paid_at - now
        if (
            counter.active >= rule.concurrency
            or paid_at + rule.request_s - now > rule.request_allowance_s + SLACK_S
            or (debt_s if debt_s > 0.0 else 0.0) + (counter.held + tokens) * rule.token_s
            > rule.token_allowance_s + SLACK_S
        ):
            return longest_denial(counters, tokens, now)
    for counter in counters:
        counter.active += 1
        counter.held += tokens
        counter.request_paid_at += counter.rule.request_s
    return None


def longest_denial(counters: Sequence[Counter], tokens: int, now: float) -> Denial | None:
    """The reason that will hold longest, so that a client that waits for it is not refused by the next one."""
    found: Denial | None = None
    for counter in counters:
        for denial in _denials(counter, tokens, now):
            if found is None or denial.wait_s > found.wait_s:
                found = denial
    return found


def _denials(counter: Counter, tokens: int, now: float) -> list[Denial]:
    rule, denials = counter.rule, []
    if tokens > rule.burst_tokens:
        return [Denial(counter, "request size", math.inf)]
    if counter.active >= rule.concurrency:
        # Nobody knows when a request in flight will end; a second is what clients wait by themselves.
        denials.append(Denial(counter, "concurrency", 1.0))
    wait_s = max(counter.request_paid_at, now) + rule.request_s - now - rule.request_allowance_s
    if wait_s > SLACK_S:
        denials.append(Denial(counter, "requests", wait_s))
    debt_s = max(counter.token_paid_at - now, 0.0)
    wait_s = debt_s + (counter.held + tokens) * rule.token_s - rule.token_allowance_s
    if wait_s > SLACK_S:
        denials.append(Denial(counter, "tokens", wait_s))
    return denials


def settle(counters: Sequence[Counter], tokens: int, used: int, now: float) -> None:
    """The end of a request: the place in flight and the held tokens come back, `used` tokens become debt.

    `used` may be more than was held (a model that counts otherwise): the debt is then paid by time before more is
    granted. The overshoot is at most used - held for each request in flight; none for requests that state their cap.
    """
    for counter in counters:
        counter.active -= 1
        counter.held -= tokens
        if used:
            paid_at = counter.token_paid_at
            counter.token_paid_at = (paid_at if paid_at > now else now) + used * counter.rule.token_s


def cancel(counters: Sequence[Counter], tokens: int, reserved_at: float, now: float) -> None:
    """The request was refused later on: nothing of it counts.

    What time has meanwhile paid of the one request is not given back twice, so that a bucket can never hold more than
    it would have had without the request.
    """
    elapsed_s = now - reserved_at
    for counter in counters:
        counter.active -= 1
        counter.held -= tokens
        unpaid_s = counter.rule.request_s - elapsed_s
        if unpaid_s > 0.0:
            counter.request_paid_at -= unpaid_s


def requests_left(counter: Counter, now: float) -> int:
    """Requests that would be granted at once by a rule that limits them."""
    rule = counter.rule
    debt_s = counter.request_paid_at - now
    left = (rule.request_allowance_s - debt_s if debt_s > 0.0 else rule.request_allowance_s) / rule.request_s
    return int(left + ROUNDING) if left > 0.0 else 0


def tokens_left(counter: Counter, now: float) -> int:
    """Tokens that would be granted at once by a rule that limits them."""
    rule = counter.rule
    debt_s = counter.token_paid_at - now
    left = (
        rule.token_allowance_s - debt_s if debt_s > 0.0 else rule.token_allowance_s
    ) / rule.token_s - counter.held
    return int(left + ROUNDING) if left > 0.0 else 0


def idle(counter: Counter, now: float) -> bool:
    """Nothing in flight and everything paid: forgetting the counter loses nothing."""
    return counter.active == 0 and counter.request_paid_at <= now and counter.token_paid_at <= now
