"""Silences, maintenance windows over changes of the clock, and matchers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.app.kinds import catalogue
from andon.control.kinds import Problem
from andon.observability.alerts.kinds import check_alert, check_receiver, check_silence
from andon.observability.alerts.model import (
    AbsentWhen,
    AlertSpec,
    EmailSpec,
    EventWhen,
    HeartbeatSpec,
    Matcher,
    MetricWhen,
    ReceiverSpec,
    SilenceSpec,
    SlackSpec,
    WebhookSpec,
    When,
    WindowSpec,
    WindowWhen,
)
from andon.observability.alerts.silencing import compile_silence, is_active, matches, moment_ns
from andon.store.model import Record

ALL = (Matcher(label="alertname", op="=~", value=".*"),)
TEXT = st.text(alphabet="ab.", max_size=4)


def active(spec: SilenceSpec, *moments: str) -> list[bool]:
    silence = compile_silence("s", spec)
    return [is_active(silence, moment_ns(moment)) for moment in moments]


def test_a_silence_holds_from_its_start_until_just_before_its_end() -> None:
    spec = SilenceSpec(matchers=ALL, starts="2026-11-01T08:00:00Z", ends="2026-11-01T09:00:00Z")
    moments = (
        "2026-11-01T07:59:59Z",
        "2026-11-01T08:00:00Z",
        "2026-11-01T08:59:59.9Z",
        "2026-11-01T09:00:00Z",
    )
    assert active(spec, *moments) == [False, True, True, False]


def test_a_maintenance_window_follows_the_clock_of_its_zone() -> None:
    window = WindowSpec(days=("sun",), begin="03:30", length="1h", zone="Europe/Zurich")
    spec = SilenceSpec(matchers=ALL, windows=(window,))
    # 25 October 2026: summer time ends at 01:00 UTC; 18 October is a Sunday before it.
    assert active(spec, "2026-10-18T01:45:00Z", "2026-10-18T02:45:00Z") == [True, False]
    assert active(spec, "2026-10-25T01:45:00Z", "2026-10-25T02:45:00Z") == [False, True]
    assert active(spec, "2026-10-26T02:45:00Z") == [False]


def test_a_window_may_reach_into_the_next_day() -> None:
    window = WindowSpec(days=("fri",), begin="23:00", length="3h")
    spec = SilenceSpec(matchers=ALL, windows=(window,))
    moments = ("2026-11-20T23:30:00Z", "2026-11-21T01:59:00Z", "2026-11-21T02:00:00Z", "2026-11-21T23:30:00Z")
    assert active(spec, *moments) == [True, True, False, False]


@given(value=TEXT, pattern=TEXT)
def test_matchers_are_those_of_prometheus(value: str, pattern: str) -> None:
    labels = {"a": value}
    for op, wanted in (("=", value == pattern), ("=~", re.fullmatch(pattern, value) is not None)):
        assert matches((Matcher(label="a", op=op, value=pattern),), labels) == wanted  # type: ignore[arg-type]  # one of its words
        inverse = "!=" if op == "=" else "!~"
        assert matches((Matcher(label="a", op=inverse, value=pattern),), labels) != wanted  # type: ignore[arg-type]  # same


def test_a_label_that_is_not_there_is_empty() -> None:
    assert matches((Matcher(label="gone", value=""),), {})
    assert not matches((Matcher(label="gone", op="=~", value=".+"),), {})


def paths(found: list[Problem]) -> list[str]:
    return [problem.path for problem in found]


RECORD = Record(kind="Alert", name="a", spec={})
WINDOW = When(window=WindowWhen(metric="errorRate", above=0.1))


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        (AlertSpec(when=When()), "spec.when"),
        (AlertSpec(when=When(window=WindowWhen(metric="errorRate"))), "spec.when.window"),
        (
            AlertSpec(when=When(window=WindowWhen(metric="errorRate", above=1, over="25h"))),
            "spec.when.window.over",
        ),
        (AlertSpec(when=When(window=WindowWhen(metric="x", above=1))), "spec.when.window.metric"),
        (AlertSpec(when=When(metric=MetricWhen(name="m", above=1, below=2))), "spec.when.metric"),
        (AlertSpec(when=When(absent=AbsentWhen(during="1h"))), "spec.when.absent"),
        (AlertSpec(when=When(event=EventWhen(names=("alert.fired",)))), "spec.when.event.names[0]"),
        (AlertSpec(when=WINDOW, for_="soon"), "spec.for"),
        (AlertSpec(when=WINDOW, receivers=("crew",)), "spec.receivers[0]"),
        (AlertSpec(when=WINDOW, labels={"severity": "x"}), "spec.labels.severity"),
    ],
)
def test_a_rule_that_cannot_be_enforced_is_refused(spec: AlertSpec, path: str) -> None:
    assert path in paths(check_alert(spec, RECORD, {}))


def test_a_good_rule_is_taken() -> None:
    told = Record(kind="Receiver", name="crew", spec={"webhook": {"url": "https://example.com/"}})
    world = {("Receiver", "crew"): told, ("Receiver", "beat"): RECORD}
    assert check_alert(AlertSpec(when=WINDOW, receivers=("crew",)), RECORD, world) == []
    (deaf,) = check_alert(AlertSpec(when=WINDOW, receivers=("beat",)), RECORD, world)
    assert "heartbeat only" in deaf.message


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        (ReceiverSpec(), "spec"),
        (ReceiverSpec(webhook=WebhookSpec(url="http://example.com/x")), "spec.webhook.url"),
        (ReceiverSpec(webhook=WebhookSpec(url="https://u:p@example.com/x")), "spec.webhook.url"),
        (
            ReceiverSpec(webhook=WebhookSpec(url="https://example.com/", secret="hunter2")),
            "spec.webhook.secret",
        ),
        (ReceiverSpec(slack=SlackSpec(url="https://hooks.example.com/T0")), "spec.slack.url"),
        (
            ReceiverSpec(email=EmailSpec(to=("a@b",), sender="c@d", host="mail.example.com", tls="none")),
            "spec.email.tls",
        ),
        (
            ReceiverSpec(heartbeat=HeartbeatSpec(url="https://example.com/", every="1s")),
            "spec.heartbeat.every",
        ),
    ],
)
def test_a_receiver_with_a_secret_or_in_the_open_is_refused(spec: ReceiverSpec, path: str) -> None:
    found = check_receiver(spec, RECORD, {})
    assert path in paths(found)
    assert all("hunter2" not in problem.message for problem in found)


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        (SilenceSpec(matchers=ALL), "spec.ends"),
        (SilenceSpec(matchers=ALL, ends="tomorrow"), "spec.ends"),
        (
            SilenceSpec(matchers=(Matcher(label="a", op="=~", value="("),), ends="2026-11-01T08:00:00Z"),
            "spec.matchers[0].value",
        ),
        (
            SilenceSpec(matchers=ALL, windows=(WindowSpec(begin="08:00", length="1h", zone="Mars/North"),)),
            "spec.windows[0].zone",
        ),
    ],
)
def test_a_silence_that_means_nothing_is_refused(spec: SilenceSpec, path: str) -> None:
    assert path in paths(check_silence(spec, RECORD, {}))


def test_the_kinds_are_known() -> None:
    names = {kind.name for kind in catalogue()}
    assert {"Alert", "Receiver", "Silence"} <= names
