"""Event times as senders write them: RFC 3339 text, or nanoseconds since the Unix epoch. Pure.

A time that cannot be is refused with the reason, never mended: a label at the wrong moment spoils what is joined to it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

SECOND_NS = 1_000_000_000
EARLIEST_NS = 946_684_800 * SECOND_NS  # 2000-01-01
LEEWAY_NS = 300 * SECOND_NS  # how far a sender's clock may be ahead of ours
DECADE_NS = 3653 * 86_400 * SECOND_NS  # how far ahead a price may be announced

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(?:([Zz])|([+-])(\d\d):(\d\d))"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Unfit(ValueError):
    """One item that cannot become a fact: a stable code, words, and the field at fault."""

    def __init__(self, code: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field


def parse_time(value: str | int) -> int:
    """Nanoseconds since the epoch. Raises `Unfit` (`time_invalid`)."""
    if isinstance(value, int):
        return value
    if value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    match = _RFC3339.fullmatch(value)
    if match is None:
        raise Unfit(
            "time_invalid",
            f"'{value[:40]}' is neither RFC 3339 with an offset, such as 2026-03-01T09:30:00Z, nor nanoseconds.",
            "time",
        )
    year, month, day, hour, minute, second = (int(match[group]) for group in range(1, 7))
    try:
        offset = timedelta(hours=int(match[10] or 0), minutes=int(match[11] or 0))
        zone = timezone(-offset if match[9] == "-" else offset)
        moment = datetime(year, month, day, hour, minute, second, tzinfo=zone)
        past = moment - _EPOCH
    except (ValueError, OverflowError) as error:
        why = str(error).rstrip(".")
        raise Unfit("time_invalid", f"'{value[:40]}' is no time that exists: {why}.", "time") from error
    whole = past.days * 86_400 + past.seconds
    return whole * SECOND_NS + int((match[7] or "").ljust(9, "0"))


def check_time(at_ns: int, now_ns: int, leeway_ns: int = LEEWAY_NS) -> int:
    """The time itself, if it can be. Raises `Unfit` (`time_in_future`, `time_too_early`)."""
    if at_ns > now_ns + leeway_ns:
        ahead = (at_ns - now_ns) // SECOND_NS
        raise Unfit("time_in_future", f"The event time lies {ahead} s in the future.", "time")
    if at_ns < EARLIEST_NS:
        seconds = EARLIEST_NS <= at_ns * SECOND_NS <= now_ns + LEEWAY_NS
        unit = "; it looks like seconds, and nanoseconds are meant" if seconds else ""
        raise Unfit("time_too_early", f"The event time lies before the year 2000{unit}.", "time")
    return at_ns
