"""What a failed attempt means, and whether and when another may be made. Pure rules; `gateway/dispatch` acts on them.

Only what cannot have been answered already, or says itself that it may be sent again, is retried. A stream is never
retried after its first byte. Back-off: full jitter (Brooker, "Exponential Backoff And Jitter", AWS, 2015).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from andon.kernel.errors import AndonError, Transient

BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 2.0
RETRY_AFTER_MAX_S = 120.0  # clients of the OpenAI dialect do not retry at all beyond this

# A replica that goes away, or a kept connection that it closed, says nothing of the release if another try succeeds.
PASSING = frozenset(("upstream_connect", "upstream_reset"))
# What a target's own configuration gets wrong, although Andon has found the request to be in order.
_MISCONFIGURED = frozenset((401, 403, 404, 405))
_STATUS_OF_CODE = (
    ("upstream_connect", 502),
    ("upstream_reset", 502),
    ("upstream_malformed", 502),
    ("upstream_timeout", 504),
    ("no_target", 503),
)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt failed."""

    code: str  # goes to the ledger; a closed set
    blame: bool  # the release is at fault: gates count it
    again: bool  # another target may be tried
    same_again: bool  # the same target may be tried
    breaks: bool  # counts towards the target's breaker
    retry_after_s: float | None = None


def fault_of_status(status: int, retry_after_s: float | None) -> Fault | None:
    """The fault in an answer, None if it is a good one. 400 and its kind are the client's, passed on as they are."""
    if status < 300:
        return None
    if status == 429:
        return Fault(
            code="upstream_rate_limited", blame=True, again=True, same_again=True, breaks=False,
            retry_after_s=retry_after_s,
        )  # fmt: skip
    if status == 408:
        return Fault(code="upstream_timeout", blame=True, again=True, same_again=True, breaks=False)
    if status in _MISCONFIGURED or status < 400:  # nobody follows a redirect here
        return Fault(code="upstream_misconfigured", blame=True, again=True, same_again=False, breaks=True)
    if status < 500:
        return Fault(code="upstream_refused", blame=False, again=False, same_again=False, breaks=False)
    again = status in (502, 503, 504)
    return Fault(
        code="upstream_error",
        blame=True,
        again=again,
        same_again=again,
        breaks=True,
        retry_after_s=retry_after_s,
    )


def fault_of_error(error: AndonError, *, answered: bool) -> Fault:
    """The fault behind an error of the transport; `answered` when the first byte of the answer had come."""
    code = error.code
    if code == "upstream_connect":
        return Fault(code=code, blame=True, again=True, same_again=True, breaks=True)
    if code == "upstream_timeout":
        # The request may still be at work there: another target may take it, the same one may not get it twice.
        return Fault(code=code, blame=True, again=not answered, same_again=False, breaks=True)
    if code == "upstream_reset":
        return Fault(code=code, blame=True, again=not answered, same_again=not answered, breaks=True)
    return Fault(code=code, blame=code == "upstream_malformed", again=False, same_again=False, breaks=True)


def with_status(error: Transient) -> Transient:
    """A transport's error with the status that clients are told: 504 for time-outs, 502 for the rest."""
    for code, status in _STATUS_OF_CODE:
        if error.code == code:
            error.status = status
            return error
    return error


def backoff_s(failures: int, fault: Fault, uniform: float) -> float:
    """Seconds to wait before the same target is tried again after `failures` >= 1; `uniform` is in [0, 1)."""
    ceiling = min(BACKOFF_FIRST_S * float(2 ** min(failures - 1, 10)), BACKOFF_MAX_S)
    wait = ceiling * uniform
    if fault.retry_after_s is not None and fault.retry_after_s > wait:
        return fault.retry_after_s + wait
    return wait


def read_retry_after(headers: Sequence[tuple[bytes, bytes]]) -> float | None:
    """Seconds that an upstream asks to wait (retry-after-ms before retry-after); None if it does not say.

    Dates are ignored: they need the two clocks to agree.
    """
    seconds = None
    for name, value in headers:
        try:
            if name == b"retry-after-ms":
                return max(0.0, float(value) / 1000)
            if name == b"retry-after":
                seconds = max(0.0, float(value))
        except ValueError:
            continue  # a date, or nonsense: as if it had not been said
    return seconds


class RetryBudget:
    """Bounds retries to a share of requests, so that retrying never doubles the load of an outage."""

    __slots__ = ("_earned", "_reserve", "_share")

    def __init__(self, share: float, reserve: float) -> None:
        self._share = share
        self._reserve = reserve
        self._earned = reserve

    def earn(self) -> None:
        """A request was made."""
        if self._earned < self._reserve:
            self._earned += self._share

    def spend(self) -> bool:
        """Whether one more retry is within the budget; if so it is taken."""
        if self._earned < 1.0:
            return False
        self._earned -= 1.0
        return True
