"""How a process with an admin API listens, and whom it lets in: the one server of control and observer.

Pure set-up; it opens no socket before it is served and starts nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from typing import cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from andon.app.home import Home
from andon.kernel.principals import Principal
from andon.kernel.random import Random
from andon.security.certificates.holders import role_of
from andon.security.identity.secret_files import load_or_create_key
from andon.web.application import PEER
from andon.web.authentication import Credential, keyed_digest


class ApiServer(uvicorn.Server):
    """uvicorn without its own signal handlers: the process stops its parts in order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield


class Certified(HttpToolsProtocol):
    """uvicorn's protocol, which also tells the application which process its caller has shown to be."""

    peer_role = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Read the certificate that TLS has verified, once per connection."""
        super().connection_made(transport)
        self.peer_role = role_of(transport.get_extra_info("peercert"))

    def on_message_begin(self) -> None:
        """Add the role to what the application sees of each request."""
        super().on_message_begin()
        cast("dict[str, object]", self.scope)[PEER] = self.peer_role


def serve_api(application: ASGIApp, host: str, port: int, context: ssl.SSLContext | None = None) -> ApiServer:
    """A server of `application`; it listens once its `serve` runs, with TLS where there is a context."""
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        http=Certified,
        ssl_context_factory=None if context is None else lambda config, default: context,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    return ApiServer(config)


def factory_credentials(home: Home, random: Random, pepper: bytes) -> tuple[Credential, ...]:
    """The factory's own keys, made on the first start. Raises OSError."""
    return tuple(
        Credential(
            principal=principal,
            digest=keyed_digest(load_or_create_key(path, random), pepper),
        )
        for principal, path in (
            (Principal(kind="user", id="admin", roles=("administrator",)), home.admin_key),
            (Principal(kind="gateway", id="gateway", roles=("gateway",)), home.gateway_key),
        )
    )
