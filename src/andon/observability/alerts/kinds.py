"""The kinds `Alert`, `Receiver` and `Silence`, and the rules that no schema can say.

Listed by `app`; read by the factory file reader, `plan`, the API and the reference. Pure; imports no engine.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from andon.control.kinds import Kind, Problem, World
from andon.kernel.loopback import is_loopback
from andon.kernel.references import WRITE_AS, parse_reference
from andon.kernel.units import duration_s
from andon.observability.alerts.model import (
    ALERT,
    LABELS_MAX,
    METRICS,
    RECEIVER,
    SILENCE,
    AbsentWhen,
    AlertSpec,
    EmailSpec,
    MetricWhen,
    ReceiverSpec,
    SilenceSpec,
    When,
    WindowWhen,
)
from andon.observability.alerts.silencing import matcher_problem, moment_ns, zone_of
from andon.store.model import Record

DAY_S = 86_400.0
ABSENT_S_MAX = 92 * DAY_S
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # Prometheus' own form
_EVENT = re.compile(r"[a-z_]+(\.[a-z_]*)+")
_WAYS = ("webhook", "email", "slack", "alertmanager")
_ABSENT = ("requests", "label", "feedback", "kpi", "evaluation")


def check_alert(spec: Any, record: Record, world: World) -> list[Problem]:
    """References that do not exist, and settings that cannot be enforced."""
    assert isinstance(spec, AlertSpec)
    found = _when(spec.when, world)
    for path, text, most_s in (
        ("for", spec.for_, DAY_S),
        ("keepFiringFor", spec.keep_firing_for or "0s", 7 * DAY_S),
        ("every", spec.every or "10s", DAY_S),
        ("groupWait", spec.group_wait, DAY_S),
        ("groupInterval", spec.group_interval, DAY_S),
        ("repeatInterval", spec.repeat_interval, 31 * DAY_S),
    ):
        least_s = 1.0 if path in ("every", "groupInterval") else 60.0 if path == "repeatInterval" else 0.0
        found += _duration(f"spec.{path}", text, least_s, most_s)
    for at, receiver in enumerate(spec.receivers):
        if (RECEIVER, receiver) not in world:
            found.append(_problem(f"spec.receivers[{at}]", f"There is no receiver '{receiver}'."))
        elif not any(world[RECEIVER, receiver].spec.get(way) for way in _WAYS):
            message = f"Receiver '{receiver}' is a heartbeat only: it can be told nothing."
            found.append(_problem(f"spec.receivers[{at}]", message))
    for at, other in enumerate(spec.inhibited_by):
        if (ALERT, other.alert) not in world:
            found.append(_problem(f"spec.inhibitedBy[{at}].alert", f"There is no alert '{other.alert}'."))
        elif other.alert == record.name:
            found.append(_problem(f"spec.inhibitedBy[{at}].alert", "An alert cannot inhibit itself."))
    return found + _labels(spec)


def _labels(spec: AlertSpec) -> list[Problem]:
    found = []
    if len(spec.labels) > LABELS_MAX:
        found.append(_problem("spec.labels", f"At most {LABELS_MAX} labels are taken."))
    for name in spec.labels:
        if not _LABEL.fullmatch(name):
            found.append(
                _problem(f"spec.labels.{name}", "A label is letters, digits and '_', no digit first.")
            )
        if name in ("alertname", "severity"):
            found.append(_problem(f"spec.labels.{name}", "This label is set by Andon."))
    return found


def _when(when: When, world: World) -> list[Problem]:
    if not when.kind:
        names = ", ".join(when.__struct_fields__)
        return [_problem("spec.when", f"Give exactly one of {names}.")]
    found = _named(when, world)
    if when.window is not None:
        found += _window(when.window, world)
    if when.metric is not None:
        found += _bounds("spec.when.metric", when.metric)
    if when.query is not None:
        found += _duration("spec.when.query.over", when.query.over, 1.0, 31 * DAY_S)
    if when.absent is not None:
        found += _absent(when.absent, world)
    if when.event is not None:
        for at, name in enumerate((*when.event.names, *when.event.until)):
            if not _EVENT.fullmatch(name):
                found.append(_problem(f"spec.when.event.names[{at}]", f"'{name}' is no name of an event."))
            if name.startswith("alert."):
                message = "An alert about alerts would fire for ever."
                found.append(_problem(f"spec.when.event.names[{at}]", message))
    return found


def _named(when: When, world: World) -> list[Problem]:
    """Resources that a condition names and that are not there."""
    wanted = (
        ("objective.name", "Objective", when.objective.name if when.objective is not None else ""),
        ("drift.monitor", "DriftMonitor", when.drift.monitor if when.drift is not None else ""),
        ("quality.monitor", "Monitor", when.quality.monitor if when.quality is not None else ""),
    )
    return [
        _problem(f"spec.when.{path}", f"There is no {kind} '{name}'.")
        for path, kind, name in wanted
        if name and (kind, name) not in world
    ]


def _window(window: WindowWhen, world: World) -> list[Problem]:
    at = "spec.when.window"
    found = _bounds(at, window) + _duration(f"{at}.over", window.over, 10.0, DAY_S)
    if window.metric not in METRICS:
        message = f"There is no metric '{window.metric}'; there are {', '.join(METRICS)}."
        found.append(_problem(f"{at}.metric", message))
    if window.endpoint and ("Endpoint", window.endpoint) not in world:
        found.append(_problem(f"{at}.endpoint", f"There is no endpoint '{window.endpoint}'."))
    if window.release and not window.endpoint:
        found.append(_problem(f"{at}.endpoint", "A release is one of an endpoint: name it too."))
    return found


def _absent(absent: AbsentWhen, world: World) -> list[Problem]:
    at = "spec.when.absent"
    given = [name for name in _ABSENT if getattr(absent, name) is not None]
    found = _duration(f"{at}.during", absent.during, 10.0, ABSENT_S_MAX)
    if len(given) != 1:
        found.append(_problem(at, f"Give exactly one of {', '.join(_ABSENT)}."))
    if absent.requests and ("Endpoint", absent.requests) not in world:
        found.append(_problem(f"{at}.requests", f"There is no endpoint '{absent.requests}'."))
    return found


def _bounds(at: str, when: WindowWhen | MetricWhen) -> list[Problem]:
    if (when.above is None) == (when.below is None):
        return [_problem(at, "Give either `above` or `below`.")]
    return []


def check_receiver(spec: Any, record: Record, world: World) -> list[Problem]:
    """One way to be told, over a URL that may be used, and no secret in the file."""
    assert isinstance(spec, ReceiverSpec)
    ways = [name for name in _WAYS if getattr(spec, name) is not None]
    found: list[Problem] = []
    if len(ways) > 1 or (not ways and spec.heartbeat is None):
        message = "Give exactly one of webhook, email, slack and alertmanager, or a heartbeat alone."
        found.append(_problem("spec", message))
    if spec.webhook is not None:
        found += _url("spec.webhook.url", spec.webhook.url, insecure=spec.allow_insecure)
        found += _reference("spec.webhook.secret", spec.webhook.secret)
        found += _reference("spec.webhook.authorization", spec.webhook.authorization)
    if spec.alertmanager is not None:
        found += _url("spec.alertmanager.url", spec.alertmanager.url, insecure=spec.allow_insecure)
        found += _reference("spec.alertmanager.authorization", spec.alertmanager.authorization)
    if spec.slack is not None and parse_reference(spec.slack.url) is None:
        found.append(_secret("spec.slack.url"))
    if spec.email is not None:
        found += _email(spec.email)
    if spec.heartbeat is not None:
        found += _url("spec.heartbeat.url", spec.heartbeat.url, insecure=spec.allow_insecure)
        found += _duration("spec.heartbeat.every", spec.heartbeat.every, 5.0, DAY_S)
    return found


def _email(email: EmailSpec) -> list[Problem]:
    found = _reference("spec.email.password", email.password)
    for at, address in enumerate((email.sender, *email.to)):
        if "@" not in address or any(letter.isspace() for letter in address):
            path = "spec.email.sender" if at == 0 else f"spec.email.to[{at - 1}]"
            found.append(_problem(path, f"'{address}' is no address."))
    if email.tls == "none" and not (email.allow_insecure or is_loopback(email.host)):
        message = f"Mail to {email.host} would travel in the open."
        found.append(_problem("spec.email.tls", message, "Use starttls, or set allowInsecure: true."))
    if bool(email.user) != bool(email.password):
        found.append(_problem("spec.email.user", "Give user and password together, or neither."))
    return found


def _reference(path: str, text: str) -> list[Problem]:
    return [_secret(path)] if text and parse_reference(text) is None else []


def _secret(path: str) -> Problem:
    # The value is not repeated: it may be the secret itself.
    return _problem(path, "This is a reference, never the secret itself.", WRITE_AS)


def _url(path: str, text: str, *, insecure: bool) -> list[Problem]:
    if parse_reference(text) is not None:
        return []
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        return [_problem(path, f"This is no URL: {error}.")]
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return [_problem(path, "This is no http(s) URL.", "Write https://host/path, or secret:NAME.")]
    if parts.username is not None or parts.password is not None:
        return [_problem(path, "The URL carries a user or password.", WRITE_AS)]
    if parts.scheme == "http" and not insecure and not is_loopback(parts.hostname):
        message = f"http to {parts.hostname} would send alerts in the open."
        return [_problem(path, message, "Use https, or set allowInsecure: true on a network that you trust.")]
    return []


def check_silence(spec: Any, record: Record, world: World) -> list[Problem]:
    """Moments, zones and expressions that mean something."""
    assert isinstance(spec, SilenceSpec)
    found: list[Problem] = []
    for at, matcher in enumerate(spec.matchers):
        fault = matcher_problem(matcher)
        if fault:
            found.append(_problem(f"spec.matchers[{at}].value", f"{fault}."))
    for at, window in enumerate(spec.windows):
        found += _duration(f"spec.windows[{at}].length", window.length, 60.0, DAY_S)
        try:
            zone_of(window)
        except ValueError as error:
            found.append(_problem(f"spec.windows[{at}].zone", f"{error}."))
    try:
        starts_ns, ends_ns = moment_ns(spec.starts), moment_ns(spec.ends)
    except ValueError as error:
        return [*found, _problem("spec.ends", f"{error}.", "Write 2026-11-01T08:00:00Z.")]
    if ends_ns and ends_ns <= starts_ns:
        found.append(_problem("spec.ends", "It ends before it starts."))
    if not ends_ns and not spec.windows:
        found.append(_problem("spec.ends", "A silence ends, or comes again: give `ends` or `windows`."))
    return found


def _duration(path: str, text: str, least_s: float, most_s: float) -> list[Problem]:
    try:
        seconds = duration_s(text)
    except ValueError as error:
        return [_problem(path, f"{error}.")]
    if not least_s <= seconds <= most_s:
        return [_problem(path, f"'{text}' is not between {least_s:g} s and {most_s:g} s.")]
    return []


def _problem(path: str, message: str, hint: str = "") -> Problem:
    return Problem(path=path, message=message, hint=hint)


ALERT_KIND = Kind(
    name=ALERT,
    plural="alerts",
    spec=AlertSpec,
    summary="A rule over the ledger and what is measured now: when it is true, people are told once.",
    check=check_alert,
    columns=(
        ("SEVERITY", "spec.severity"),
        ("STATE", "status.state"),
        ("FIRING", "status.firing"),
        ("SINCE", "status.sinceNs"),
    ),
)
RECEIVER_KIND = Kind(
    name=RECEIVER,
    plural="receivers",
    spec=ReceiverSpec,
    summary="Who is told of alerts, and how: webhook, e-mail, Slack or Alertmanager; or a dead man's switch.",
    check=check_receiver,
    columns=(("SENT", "status.sent"), ("FAILED", "status.failed"), ("LAST FAILURE", "status.lastFailure")),
)
SILENCE_KIND = Kind(
    name=SILENCE,
    plural="silences",
    spec=SilenceSpec,
    summary="What matches tells nobody: until a moment, or within maintenance windows that come again.",
    check=check_silence,
    columns=(("ENDS", "spec.ends"), ("AUTHOR", "spec.author"), ("REASON", "spec.reason")),
)
