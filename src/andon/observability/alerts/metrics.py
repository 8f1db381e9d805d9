"""Families about alerts: what fires, in the manner of Prometheus' ALERTS, and how notifications fare.

Label values are names of Alerts and Receivers of the factory: a closed set.
"""

from __future__ import annotations

from andon.observability.alerts.delivery import Delivery
from andon.observability.alerts.keeping import Keeper
from andon.observability.families import Family, Sample


class AlertMetrics:
    """A `families.MetricSource`."""

    def __init__(self, keeper: Keeper, delivery: Delivery) -> None:
        self._keeper = keeper
        self._delivery = delivery

    def families(self) -> tuple[Family, ...]:
        """All of them."""
        keeper, book = self._keeper, self._keeper.book
        counts: dict[tuple[str, str, str], int] = {}
        for name, rule in book.rules.items():
            for state in ("pending", "firing"):
                counts[name, rule.spec.severity, state] = 0
        for name, instances in book.instances.items():
            for one in instances.values():
                if one.phase != "resolved":
                    key = (name, one.severity, one.phase)
                    counts[key] = counts.get(key, 0) + 1
        alerts = tuple(
            Sample((("alertname", name), ("severity", severity), ("state", state)), float(count))
            for (name, severity, state), count in sorted(counts.items())
        )
        return (
            Family("andon_alerts", "gauge", "Alerts that are pending or firing, by rule.", alerts),
            self._by_receiver(
                "andon_alert_notifications_total", "Notifications that arrived.", self._delivery.sent
            ),
            self._by_receiver(
                "andon_alert_notifications_failed_total",
                "Attempts that did not arrive, or may not have.",
                self._delivery.failed,
            ),
            _one("andon_alert_evaluations_total", "Looks at rules.", float(keeper.looks)),
            _one("andon_alert_evaluation_seconds_total", "Time spent looking at rules.", keeper.seconds),
            _one(
                "andon_alert_turn_failures_total",
                "Turns that the store did not allow.",
                float(keeper.failures),
            ),
            Family(
                "andon_alerts_evaluating",
                "gauge",
                "1 where this observer evaluates alerts.",
                (Sample((), float(keeper.holds)),),
            ),
        )

    def _by_receiver(self, name: str, meaning: str, counted: dict[str, int]) -> Family:
        names = sorted({*self._keeper.receivers, *counted})
        samples = tuple(Sample((("receiver", one),), float(counted.get(one, 0))) for one in names)
        return Family(name, "counter", meaning, samples)


def _one(name: str, meaning: str, value: float) -> Family:
    return Family(name, "counter", meaning, (Sample((), value),))
