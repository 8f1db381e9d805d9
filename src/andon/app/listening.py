"""How a process with an admin API listens, and whom it lets in: the one server of control and observer.

Pure set-up; it opens no socket before it is served and starts nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from andon.app.home import Home
from andon.kernel.principals import Principal
from andon.kernel.random import Random
from andon.security.identity.secret_files import load_or_create_key
from andon.web.authentication import Credential, keyed_digest


class ApiServer(uvicorn.Server):
    """uvicorn without its own signal handlers: the process stops its parts in order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield


def serve_api(application: ASGIApp, host: str, port: int) -> ApiServer:
    """A server of `application`; it listens once its `serve` runs."""
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
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
