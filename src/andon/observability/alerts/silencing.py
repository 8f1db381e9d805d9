"""What tells nobody although it fires: silences, maintenance windows that come again, and inhibition. Pure.

Time zones are those of the machine's own table (IANA); an hour that does not exist on a day begins when that day's
clock passes it, as Python's zoneinfo folds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from andon.kernel.units import duration_s
from andon.observability.alerts.instances import Instance
from andon.observability.alerts.model import Matcher, SilenceSpec, WindowSpec
from andon.observability.alerts.rules import NS, Rule

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """One silence by name, its moments as nanoseconds; 0 = open."""

    name: str
    spec: SilenceSpec
    starts_ns: int = 0
    ends_ns: int = 0


def moment_ns(text: str) -> int:
    """Nanoseconds of an RFC 3339 moment; 0 for empty. Raises ValueError for one without a zone, or none at all."""
    if not text:
        return 0
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"'{text}' says no zone; end it with Z or +02:00")
    return round(moment.timestamp() * 1_000_000) * 1000


def compile_silence(name: str, spec: SilenceSpec) -> Silence:
    """The silence of a spec. Raises ValueError for what `plan` would refuse."""
    for matcher in spec.matchers:
        problem = matcher_problem(matcher)
        if problem:
            raise ValueError(problem)
    for window in spec.windows:
        duration_s(window.length)
        zone_of(window)
    return Silence(name=name, spec=spec, starts_ns=moment_ns(spec.starts), ends_ns=moment_ns(spec.ends))


def matcher_problem(matcher: Matcher) -> str:
    """Why a matcher cannot be used; empty if it can."""
    if matcher.op in ("=~", "!~"):
        try:
            re.compile(matcher.value)
        except re.error as error:
            return f"'{matcher.value}' is no regular expression: {error}"
    return ""


def zone_of(window: WindowSpec) -> ZoneInfo:
    """Its time zone. Raises ValueError for one that is not known."""
    try:
        return ZoneInfo(window.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"'{window.zone}' is no time zone known here") from error


def is_active(silence: Silence, at_ns: int) -> bool:
    """Whether it is in force at a moment."""
    if at_ns < silence.starts_ns or (silence.ends_ns and at_ns >= silence.ends_ns):
        return False
    return not silence.spec.windows or any(_within(window, at_ns) for window in silence.spec.windows)


def _within(window: WindowSpec, at_ns: int) -> bool:
    zone, length = zone_of(window), timedelta(seconds=duration_s(window.length))
    moment = datetime.fromtimestamp(at_ns / NS, UTC)
    local = moment.astimezone(zone)
    hour, minute = (int(part) for part in window.begin.split(":"))
    # One that began yesterday may reach into today.
    for back in (0, 1):
        day = (local - timedelta(days=back)).date()
        if window.days and DAYS[day.weekday()] not in window.days:
            continue
        begin = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).astimezone(UTC)
        if begin <= moment < begin + length:
            return True
    return False


def matches(matchers: Sequence[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether every matcher does; a label that is not there is empty, as in Prometheus."""
    for matcher in matchers:
        value = labels.get(matcher.label, "")
        if matcher.op in ("=", "!="):
            is_so = value == matcher.value
        else:
            is_so = re.fullmatch(matcher.value, value) is not None
        if is_so == matcher.op.startswith("!"):
            return False
    return True


def silenced_by(silences: Iterable[Silence], labels: Mapping[str, str], at_ns: int) -> tuple[str, ...]:
    """Names of the silences in force that match."""
    return tuple(
        silence.name
        for silence in silences
        if matches(silence.spec.matchers, labels) and is_active(silence, at_ns)
    )


def inhibited_by(rule: Rule, one: Instance, firing: Mapping[str, Sequence[Instance]]) -> str:
    """The alert that makes this one needless now, or empty. Nothing inhibits itself."""
    for other in rule.inhibited_by:
        if other.alert == rule.name:
            continue
        for source in firing.get(other.alert, ()):
            if all(source.labels.get(name, "") == one.labels.get(name, "") for name in other.equal):
                return other.alert
    return ""
