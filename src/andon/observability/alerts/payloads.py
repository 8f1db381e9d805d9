"""A notification in the words of each receiver: Alertmanager's webhook (version 4) and API (v2), Slack, mail. Pure.

Bodies are bounded: at most `groups.MEMBERS_MAX` alerts, and text for people names the first few. Alertmanager forgets
what has no end after five minutes, so what fires ends, for it, when it would have been told again.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

import msgspec

from andon.observability.alerts.groups import Alerted, Notification

SHOWN = 10  # alerts that a text for people names
LINE_MAX = 500
_NEVER = "0001-01-01T00:00:00Z"  # of Go, whose programs read this payload
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(at_ns: int) -> str:
    """A moment with microseconds; Go's zero time for 0."""
    if not at_ns:
        return _NEVER
    return (_EPOCH + timedelta(microseconds=at_ns // 1000)).isoformat().replace("+00:00", "Z")


def status_of(note: Notification) -> str:
    """`firing` as long as one does."""
    return "firing" if note.firing else "resolved"


def webhook_body(note: Notification) -> bytes:
    """The webhook payload (prometheus/alertmanager docs/configuration.md, `webhook_config`), with `reason` and `id`."""
    alerts = [*note.firing, *note.resolved]
    return msgspec.json.encode(
        {
            "version": "4",
            "groupKey": note.group,
            "truncatedAlerts": note.left_out,
            "status": status_of(note),
            "receiver": note.receiver,
            "groupLabels": note.labels,
            "commonLabels": _common([one.labels for one in alerts]),
            "commonAnnotations": _common([one.annotations for one in alerts]),
            "externalURL": "",
            "alerts": [_alert(one) for one in alerts],
            "id": note.id,
            "reason": note.reason,
        }
    )


def signature(secret: str, body: bytes) -> str:
    """HMAC-SHA256 (RFC 2104) of the body, as `sha256=` and hexadecimal digits."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def alertmanager_body(note: Notification) -> bytes:
    """What POST /api/v2/alerts takes."""
    firing = [(one, note.until_ns) for one in note.firing]
    return msgspec.json.encode(
        [
            {
                "labels": one.labels,
                "annotations": one.annotations,
                "startsAt": rfc3339(one.starts_ns),
                "endsAt": rfc3339(ends_ns),
                "generatorURL": "",
            }
            for one, ends_ns in (*firing, *((one, one.ends_ns) for one in note.resolved))
        ]
    )


def slack_body(note: Notification) -> bytes:
    """`text` for notices on a phone, `blocks` for the channel."""
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": title(note)[:150]}}
    ]
    blocks += [
        {"type": "section", "text": {"type": "mrkdwn", "text": _escaped(_line(one))}}
        for one in [*note.firing, *note.resolved][:SHOWN]
    ]
    left = len(note.firing) + len(note.resolved) - SHOWN + note.left_out
    if left > 0:
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": f"and {left} more"}]})
    return msgspec.json.encode({"text": _escaped(title(note)), "blocks": blocks})


def mail_of(note: Notification, sender: str, to: Sequence[str], now_ns: int) -> EmailMessage:
    """A plain message; its Message-ID is of the notification, so that a repeated attempt is the same message."""
    message = EmailMessage()
    message["Subject"] = " ".join(title(note).split())[:200]
    message["From"] = sender
    message["To"] = ", ".join(to)
    message["Date"] = format_datetime(_EPOCH + timedelta(seconds=now_ns // 1_000_000_000))
    message["Message-ID"] = f"<{note.id}@andon.invalid>"
    lines = [_line(one) for one in [*note.firing, *note.resolved][:SHOWN]]
    left = len(note.firing) + len(note.resolved) - SHOWN + note.left_out
    message.set_content("\n\n".join([*lines, *([f"and {left} more"] if left > 0 else [])]) + "\n")
    return message


def title(note: Notification) -> str:
    """One line: how many fire, and which."""
    count = len(note.firing)
    head = f"[FIRING:{count}]" if count else f"[RESOLVED:{len(note.resolved)}]"
    names = list(dict.fromkeys(one.rule for one in note.firing or note.resolved))
    where = " ".join(f"{name}={value}" for name, value in note.labels.items() if name != "alertname")
    again = " (still)" if note.reason == "repeat" else " (test)" if note.reason == "test" else ""
    return f"{head} {', '.join(names[:3])}{f' {where}' if where else ''}{again}"


def _line(one: Alerted) -> str:
    parts = [
        f"{'RESOLVED' if one.ends_ns else one.severity.upper()} {one.annotations.get('summary', one.rule)}"
    ]
    parts += [one.annotations[name] for name in ("description", "runbook") if name in one.annotations]
    parts.append(
        f"since {rfc3339(one.starts_ns)}" + (f" until {rfc3339(one.ends_ns)}" if one.ends_ns else "")
    )
    return "\n".join(part[:LINE_MAX] for part in parts)


def _escaped(text: str) -> str:
    """Slack's three control characters."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _alert(one: Alerted) -> dict[str, Any]:
    return {
        "status": "resolved" if one.ends_ns else "firing",
        "labels": one.labels,
        "annotations": one.annotations,
        "startsAt": rfc3339(one.starts_ns),
        "endsAt": rfc3339(one.ends_ns),
        "generatorURL": "",
        "fingerprint": one.fingerprint,
    }


def _common(several: Sequence[dict[str, str]]) -> dict[str, str]:
    if not several:
        return {}
    return {
        name: value for name, value in several[0].items() if all(one.get(name) == value for one in several)
    }
