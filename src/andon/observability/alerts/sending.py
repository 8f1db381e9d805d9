"""How one notification reaches one receiver: HTTP through the observer's client, mail by SMTP in a thread.

An attempt ends in one of four words: `sent`, `failed` (it surely did not arrive), `unknown` (it may have), `refused`
(the receiver will not take it: trying again at once is useless). Secrets are read at each attempt, from references
only; neither they nor answers' bodies are told.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Awaitable, Callable
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Refused
from andon.kernel.ports import Runner, Upstream
from andon.kernel.references import parse_reference
from andon.kernel.snapshot import TargetEntry
from andon.observability.alerts.groups import Notification
from andon.observability.alerts.model import EmailSpec, ReceiverSpec
from andon.observability.alerts.payloads import (
    alertmanager_body,
    mail_of,
    signature,
    slack_body,
    webhook_body,
)

_AGAIN = frozenset({408, 425, 429})

Word = Literal["sent", "failed", "unknown", "refused"]
Secrets = Callable[[str], Awaitable[str]]  # the value behind a reference; raises AndonError, never naming it
Headers = tuple[tuple[bytes, bytes], ...]


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt ended."""

    word: Word
    why: str = ""


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request to be made."""

    url: str
    body: bytes
    headers: Headers = ()


class Sending:
    """Makes attempts."""

    def __init__(self, upstream: Upstream, runner: Runner, clock: Clock, secrets: Secrets) -> None:
        self._upstream = upstream
        self._runner = runner
        self._clock = clock
        self._secrets = secrets

    async def send(self, name: str, spec: ReceiverSpec, note: Notification) -> Attempt:
        """One attempt to tell a receiver; never raises what a receiver can cause."""
        try:
            if spec.email is not None:
                email = spec.email
                password = await self._secret(email.password)
                return await self._runner.run(
                    lambda: send_mail(email, password, note, self._clock.now_ns(), spec.timeout_s)
                )
            post = await self._post_of(spec, note)
        except Refused as error:
            return Attempt(word="refused", why=error.message)
        except AndonError as error:
            return Attempt(word="failed", why=error.message)
        return await self.post(name, spec, post)

    async def beat(self, name: str, spec: ReceiverSpec) -> Attempt:
        """One heartbeat."""
        assert spec.heartbeat is not None
        try:
            url = await self._secret(spec.heartbeat.url)
        except Refused as error:
            return Attempt(word="refused", why=error.message)
        except AndonError as error:
            return Attempt(word="failed", why=error.message)
        return await self.post(f"{name}-heartbeat", spec, Post(url=url, body=b""))

    async def post(self, name: str, spec: ReceiverSpec, post: Post) -> Attempt:
        """One POST; redirects are not followed."""
        parts = urlsplit(post.url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        place = f"{parts.scheme}://{parts.netloc}"
        try:
            answer = await self._upstream.send(
                TargetEntry(id=f"receiver-{name}", url=place, protocol="oip"),
                b"POST",
                path.encode(),
                ((b"content-type", b"application/json"), (b"user-agent", b"andon"), *post.headers),
                post.body,
                connect_timeout_s=min(5.0, spec.timeout_s),
                first_byte_timeout_s=spec.timeout_s,
                idle_timeout_s=spec.timeout_s,
                deadline_at=self._clock.monotonic() + spec.timeout_s,
            )
        except AndonError as error:
            return Attempt(
                word="failed" if error.code == "upstream_connect" else "unknown", why=error.message
            )
        except ValueError:
            # What the error says may be a part of the URL, which may be a secret.
            return Attempt(word="refused", why="The URL cannot be used.")
        if 200 <= answer.status < 300:
            return Attempt(word="sent")
        again = answer.status >= 500 or answer.status in _AGAIN
        return Attempt(word="failed" if again else "refused", why=f"It answered {answer.status}.")

    async def _secret(self, reference: str) -> str:
        if parse_reference(reference) is None:
            return reference  # empty, or a URL that is no secret
        return await self._secrets(reference)

    async def _post_of(self, spec: ReceiverSpec, note: Notification) -> Post:
        read = self._secret
        key = (b"idempotency-key", note.id.encode())
        if spec.webhook is not None:
            body = webhook_body(note)
            headers = [key]
            if spec.webhook.secret:
                headers.append(
                    (b"x-andon-signature", signature(await read(spec.webhook.secret), body).encode())
                )
            if spec.webhook.authorization:
                headers.append((b"authorization", (await read(spec.webhook.authorization)).encode()))
            return Post(url=await read(spec.webhook.url), body=body, headers=tuple(headers))
        if spec.slack is not None:
            return Post(url=await read(spec.slack.url), body=slack_body(note), headers=(key,))
        if spec.alertmanager is not None:
            there = spec.alertmanager
            headers = [key]
            if there.authorization:
                headers.append((b"authorization", (await read(there.authorization)).encode()))
            url = there.url.rstrip("/") + "/api/v2/alerts"
            return Post(url=url, body=alertmanager_body(note), headers=tuple(headers))
        raise Refused(
            "receiver_mute", f"Receiver '{note.receiver}' has no way to be told.", hint="Give it one."
        )


def send_mail(spec: EmailSpec, password: str, note: Notification, now_ns: int, timeout_s: float) -> Attempt:
    """One message over SMTP (RFC 5321), STARTTLS (RFC 3207) unless said otherwise. Blocks."""
    message = mail_of(note, spec.sender, spec.to, now_ns)
    context = ssl.create_default_context()
    sending = False
    try:
        opened = (
            smtplib.SMTP_SSL(spec.host, spec.port, timeout=timeout_s, context=context)
            if spec.tls == "implicit"
            else smtplib.SMTP(spec.host, spec.port, timeout=timeout_s)
        )
        with opened as server:
            if spec.tls == "starttls":
                server.starttls(context=context)
            if spec.user:
                server.login(spec.user, password)
            sending = True
            refused = server.send_message(message)
            # What the server says after it has taken the message changes nothing any more.
            return Attempt(word="sent", why=f"refused for {', '.join(refused)}" if refused else "")
    except smtplib.SMTPRecipientsRefused:
        return Attempt(word="refused", why="The server takes mail for none of the addresses.")
    except smtplib.SMTPResponseException as error:
        permanent = 500 <= error.smtp_code < 600
        return Attempt(word="refused" if permanent else "failed", why=f"SMTP answered {error.smtp_code}.")
    except smtplib.SMTPNotSupportedError as error:
        return Attempt(word="refused", why=str(error))
    except (smtplib.SMTPException, OSError) as error:
        return Attempt(
            word="unknown" if sending else "failed", why=f"{type(error).__name__} at the mail server."
        )
