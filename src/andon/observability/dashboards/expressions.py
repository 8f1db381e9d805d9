"""PromQL as the boards need it: selectors scoped to the chosen jobs and instances, rates, shares, quantiles. Pure.

A share is written so that it is 0, not absent, while nothing bad has happened: `(bad or 0 * all) / all`.
"""

from __future__ import annotations

SCOPE = ('job=~"$job"', 'instance=~"$instance"')
ENDPOINT = 'endpoint=~"$endpoint"'
RELEASE = 'release=~"$release"'
INTERVAL = "$__rate_interval"
# The gateway's own process counts under the same name, in another job and without this label: never added together.
ROWS = 'status_class!=""'


def series(name: str, *matchers: str) -> str:
    """All series of a family in scope that fulfil the matchers."""
    return f"{name}{{{', '.join((*SCOPE, *matchers))}}}"


def rate(name: str, *matchers: str) -> str:
    """What a counter gains a second, by series."""
    return f"rate({series(name, *matchers)}[{INTERVAL}])"


def increase(name: str, *matchers: str) -> str:
    """What a counter gained within the interval of one point, by series."""
    return f"increase({series(name, *matchers)}[{INTERVAL}])"


def total(what: str, by: str = "") -> str:
    """The sum over series, by labels."""
    return f"sum by ({by}) ({what})" if by else f"sum({what})"


def highest(what: str, by: str = "") -> str:
    """The largest of the series, by labels."""
    return f"max by ({by}) ({what})" if by else f"max({what})"


def top(what: str, count: int = 10) -> str:
    """The largest series, so that a panel stays readable."""
    return f"topk({count}, {what})"


def share(part: str, whole: str, by: str = "") -> str:
    """Part of whole in [0, 1]; 0 where there is no part yet, absent where there is no whole."""
    all_of = total(whole, by)
    return f"({total(part, by)} or 0 * {all_of}) / {all_of}"


def quantile(probability: float, histogram: str, by: str = "", *matchers: str) -> str:
    """A quantile as far as the standard buckets can tell it; exact ones are in the ledger."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({probability}, {total(rate(f'{histogram}_bucket', *matchers), labels)})"


def mean(histogram: str, by: str = "", *matchers: str) -> str:
    """The exact mean: sum over count."""
    return f"{total(rate(f'{histogram}_sum', *matchers), by)} / {total(rate(f'{histogram}_count', *matchers), by)}"
