"""Delivery: how often and how long it tries, circuits, mail over a real SMTP server, and a real Alertmanager."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from andon.kernel.clock import SystemClock
from andon.kernel.random import SeededRandom
from andon.observability.alerts.delivery import OPENS_AFTER, PATIENCE_S, Delivery, Ended
from andon.observability.alerts.groups import Alerted, Notification
from andon.observability.alerts.model import (
    AlertmanagerSpec,
    EmailSpec,
    ReceiverSpec,
    SlackSpec,
    WebhookSpec,
)
from andon.observability.alerts.payloads import slack_body, webhook_body
from andon.observability.alerts.rules import NS
from andon.observability.alerts.sending import Attempt, Sending
from andon.testing.loop import VirtualClock, run_virtual
from andon.wire.client import Client
from tests.ledger.conftest import InlineRunner
from tests.observability.alerts.references import reading

NOW_NS = 1_800_000_000 * NS
HOOK = ReceiverSpec(webhook=WebhookSpec(url="http://127.0.0.1:1/"))


def note(number: int = 1, receiver: str = "crew", **fields: Any) -> Notification:
    alert = Alerted(
        rule="errors",
        fingerprint=f"{number:016x}",
        labels={"alertname": "errors", "severity": "page", "endpoint": f"e{number}"},
        annotations={"summary": f"e{number} <fails> & burns"},
        severity="page",
        value=0.5,
        starts_ns=NOW_NS,
    )
    given = {"firing": (alert,), "made_ns": NOW_NS, "until_ns": NOW_NS + 3600 * NS, **fields}
    return Notification(
        id=f"n-{receiver}-{number}",
        group="g",
        receiver=receiver,
        labels={"alertname": "errors"},
        reason="new",
        **given,
    )


class Script:
    """A sender that answers as it is told, and remembers when it was asked."""

    def __init__(self, clock: VirtualClock, *words: str) -> None:
        self._clock = clock
        self._words = list(words)
        self.asked: list[float] = []

    async def send(self, name: str, spec: ReceiverSpec, note: Notification) -> Attempt:
        self.asked.append(self._clock.monotonic())
        return Attempt(word=self._words.pop(0) if len(self._words) > 1 else self._words[0], why="so")  # type: ignore[arg-type]  # tests name words


async def pumped(
    delivery: Delivery, clock: VirtualClock, notes: Sequence[Notification], seconds: int
) -> list[Ended]:
    """What ended, pumped each second as the observer does; what has ended is not wanted any more."""
    wanted, found = {one.id: one for one in notes}, []
    for _ in range(seconds):
        for ended in delivery.pump(list(wanted.values()), {"crew": HOOK}):
            found.append(ended)
            wanted.pop(ended.note.id)
        await clock.sleep(1.0)
    return found


def test_it_tries_again_ever_slower_and_then_gives_up() -> None:
    async def main(clock: VirtualClock) -> None:
        script = Script(clock, "failed")
        delivery = Delivery(script.send, clock, SeededRandom(1))
        (ended,) = await pumped(delivery, clock, [note()], int(PATIENCE_S) + 60)
        assert not ended.ok
        assert not ended.unknown
        gaps = [b - a for a, b in zip(script.asked, script.asked[1:], strict=False)]
        assert gaps[0] < 3
        assert max(gaps) <= 35
        assert delivery.failed == {"crew": len(script.asked)}
        await delivery.close()

    run_virtual(main)


def test_a_refusal_is_not_tried_again_and_doubt_is_told() -> None:
    async def main(clock: VirtualClock) -> None:
        script = Script(clock, "unknown", "refused")
        delivery = Delivery(script.send, clock, SeededRandom(1))
        (ended,) = await pumped(delivery, clock, [note()], 20)
        assert (ended.ok, ended.unknown, len(script.asked)) == (False, True, 2)

    run_virtual(main)


def test_a_receiver_that_fails_is_left_alone_for_a_while() -> None:
    async def main(clock: VirtualClock) -> None:
        script = Script(clock, *["failed"] * OPENS_AFTER, "sent")
        delivery = Delivery(script.send, clock, SeededRandom(1))
        notes = [note(number) for number in range(OPENS_AFTER)]
        ended = await pumped(delivery, clock, notes, 120)
        assert sum(one.ok for one in ended) == OPENS_AFTER
        assert min(at for at in script.asked if at > 5) >= 30
        assert delivery.sent == {"crew": OPENS_AFTER}

    run_virtual(main)


def test_what_is_no_longer_wanted_is_dropped() -> None:
    async def main(clock: VirtualClock) -> None:
        script = Script(clock, "failed")
        delivery = Delivery(script.send, clock, SeededRandom(1))
        delivery.pump([note()], {"crew": HOOK})
        await clock.sleep(0.5)
        assert delivery.pump([], {"crew": HOOK}) == []
        (gone,) = delivery.pump([note(2, "elsewhere")], {"crew": HOOK})
        assert gone.why == "There is no such receiver any more."

    run_virtual(main)


def test_the_webhook_is_alertmanagers_and_signed() -> None:
    body = json.loads(webhook_body(note()))
    assert body["version"] == "4"
    assert body["status"] == "firing"
    assert body["commonLabels"]["endpoint"] == "e1"
    (alert,) = body["alerts"]
    assert (alert["startsAt"], alert["endsAt"]) == ("2027-01-15T08:00:00Z", "0001-01-01T00:00:00Z")
    slack = json.loads(slack_body(note()))
    assert slack["blocks"][1]["text"]["text"].startswith("PAGE e1 &lt;fails&gt; &amp; burns")


def asked(spec: ReceiverSpec, environment: dict[str, str], given: Notification | None = None) -> Attempt:
    """One attempt over real sockets."""

    async def main() -> Attempt:
        clock = SystemClock()
        client = Client(clock)
        try:
            return await Sending(client, InlineRunner(), clock, reading(environment)).send(
                "crew", spec, given or note()
            )
        finally:
            await client.close()

    return asyncio.run(main())


def served(status: int) -> tuple[int, list[tuple[dict[str, str], bytes]], Any]:
    """A server on a free port that answers one status."""
    got: list[tuple[dict[str, str], bytes]] = []
    listener = socket.create_server(("127.0.0.1", 0))

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:]) if name
        }
        got.append(
            (
                {**headers, ":path": head[0].split()[1]},
                await reader.readexactly(int(headers["content-length"])),
            )
        )
        writer.write(f"HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    return int(listener.getsockname()[1]), got, (listener, handle)


@pytest.mark.parametrize(
    ("status", "word"), [(204, "sent"), (400, "refused"), (429, "failed"), (503, "failed"), (302, "refused")]
)
def test_answers_mean_what_they_say(status: int, word: str) -> None:
    port, got, (listener, handle) = served(status)
    url = f"http://127.0.0.1:{port}/page?team=a"
    spec = ReceiverSpec(webhook=WebhookSpec(url="env:URL", secret="env:KEY", authorization="env:AUTH"))

    async def main() -> Attempt:
        clock = SystemClock()
        client = Client(clock)
        async with await asyncio.start_server(handle, sock=listener):
            environment = {"URL": url, "KEY": "k", "AUTH": "Bearer t"}
            attempt = await Sending(client, InlineRunner(), clock, reading(environment)).send(
                "crew", spec, note()
            )
        await client.close()
        return attempt

    assert asyncio.run(main()).word == word
    headers, body = got[0]
    assert headers["x-andon-signature"] == "sha256=" + hmac.new(b"k", body, hashlib.sha256).hexdigest()
    assert headers["idempotency-key"] == note().id
    assert headers["authorization"] == "Bearer t"
    assert headers[":path"] == "/page?team=a"


def test_nobody_there_surely_got_nothing_and_a_missing_secret_is_named() -> None:
    port = free_port()
    assert (
        asked(ReceiverSpec(slack=SlackSpec(url="env:URL")), {"URL": f"http://127.0.0.1:{port}/"}).word
        == "failed"
    )
    attempt = asked(ReceiverSpec(slack=SlackSpec(url="env:URL")), {})
    assert attempt.word == "refused"
    assert "env:URL" in attempt.why


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Box:
    """What an SMTP server got."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.messages.append(envelope.content)
        return "250 taken"


class Checked:
    """Takes one user with one password."""

    def __call__(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"andon", b"quiet")
        return AuthResult(success=good, handled=good)


@pytest.mark.parametrize(("password", "word"), [("quiet", "sent"), ("wrong", "refused")])
def test_mail_is_sent_once_with_a_login(password: str, word: str) -> None:
    box = Box()
    controller = Controller(
        box,
        hostname="127.0.0.1",
        port=free_port(),
        authenticator=Checked(),
        auth_require_tls=False,
    )
    controller.start()
    try:
        port = controller.port
        email = EmailSpec(
            to=("crew@example.com",),
            sender="andon@example.com",
            host="127.0.0.1",
            port=port,
            tls="none",
            user="andon",
            password="env:MAIL",
        )
        attempt = asked(ReceiverSpec(email=email), {"MAIL": password})
    finally:
        controller.stop()
    assert attempt.word == word, attempt
    if word == "sent":
        message = message_from_bytes(box.messages[0])
        assert message["Subject"] == "[FIRING:1] errors"
        assert message["Message-ID"] == f"<{note().id}@andon.invalid>"
        assert "e1 <fails> & burns" in str(message.get_payload())


def test_starttls_is_never_left_out() -> None:
    box = Box()
    controller = Controller(box, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        port = controller.port
        email = EmailSpec(to=("a@example.com",), sender="b@example.com", host="127.0.0.1", port=port)
        attempt = asked(ReceiverSpec(email=email), {})
    finally:
        controller.stop()
    assert attempt.word == "refused"
    assert box.messages == []


PROGRAM = shutil.which("prometheus-alertmanager")
TOOL = shutil.which("amtool")


@pytest.mark.skipif(not (PROGRAM and TOOL), reason="needs Debian's prometheus-alertmanager with amtool")
def test_a_real_alertmanager_takes_it_and_its_end(tmp_path: Path) -> None:
    assert PROGRAM is not None
    assert TOOL is not None
    port = free_port()
    (tmp_path / "am.yml").write_text("route:\n  receiver: none\nreceivers:\n- name: none\n")
    place = f"127.0.0.1:{port}"
    words = [PROGRAM, f"--config.file={tmp_path / 'am.yml'}", f"--storage.path={tmp_path / 'data'}"]
    words += [f"--web.listen-address={place}", "--cluster.listen-address="]
    url = f"http://{place}"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            _wait_ready(f"{url}/-/ready")
            spec = ReceiverSpec(alertmanager=AlertmanagerSpec(url=url))
            now_ns = SystemClock().now_ns()
            alert = note().firing[0]
            firing = _at(alert, now_ns - 60 * NS, 0)
            told = note(firing=(firing,), until_ns=now_ns + 3600 * NS)
            assert asked(spec, {}, told).word == "sent"
            assert _shown(TOOL, url) == [("errors", "e1 <fails> & burns")]
            over = note(firing=(), resolved=(_at(alert, now_ns - 60 * NS, now_ns - NS),))
            assert asked(spec, {}, over).word == "sent"
            assert _shown(TOOL, url) == []
        finally:
            process.terminate()
            process.wait(timeout=20)


def _at(alert: Alerted, starts_ns: int, ends_ns: int) -> Alerted:
    fields = {name: getattr(alert, name) for name in alert.__struct_fields__}
    return Alerted(**{**fields, "starts_ns": starts_ns, "ends_ns": ends_ns})


def _wait_ready(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "alertmanager does not start"
            time.sleep(0.1)


def _shown(tool: str, url: str) -> list[tuple[str, str]]:
    done = subprocess.run(
        [tool, "alert", "query", f"--alertmanager.url={url}", "-o", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [
        (one["labels"]["alertname"], one["annotations"]["summary"]) for one in json.loads(done.stdout or "[]")
    ]
