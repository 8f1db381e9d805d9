"""Everything that clients ask about models instead of asking models: lists, metadata, readiness; and what is not there.

Used by `gateway/gateway` for every path that is no inference. Pure but for the stage that says who asks.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from andon.gateway.dialects import oip
from andon.gateway.egress import dialect_of
from andon.gateway.routing import Routes
from andon.gateway.targets import Targets
from andon.kernel.errors import AndonError, Refused
from andon.kernel.exchange import Dialect, Exchange
from andon.kernel.redaction import calm
from andon.kernel.snapshot import EndpointEntry

VERSION: Final = "0.1.0"
_encode = msgspec.json.Encoder().encode

Answered = tuple[int, bytes]  # status and body


def open_answer(path: bytes, routes: Routes, *, draining: bool) -> Answered | None:
    """What anybody may ask without a key: the protocol's own health and name. None for other paths."""
    if path == b"/v2":
        return 200, oip.server_metadata(VERSION)
    if path == b"/v2/health/live":
        return 200, b'{"live":true}'
    if path == b"/v2/health/ready":
        ready = routes.snapshot is not None and not draining
        return (200, b'{"ready":true}') if ready else (503, b'{"ready":false}')
    return None


def known(path: bytes, method: bytes, routes: Routes) -> AndonError | None:
    """Why a path cannot be asked with this method: 405 where another one can, 404 otherwise; None if it can."""
    is_model = path.startswith((b"/v1/models/", b"/v2/models/"))
    is_infer = path in routes.paths or routes.find(path) is not None
    is_get = path in (b"/v1/models", b"/v2", b"/v2/health/live", b"/v2/health/ready") or (
        is_model and not is_infer
    )
    if is_infer and method != b"POST":
        return Refused(
            "method_not_allowed", f"This path takes POST, not {calm(_text(method[:40]))}.", status=405
        )
    if is_get and method != b"GET":
        return Refused(
            "method_not_allowed", f"This path takes GET, not {calm(_text(method[:40]))}.", status=405
        )
    if not is_infer and not is_get:
        return Refused("unknown_path", f"There is no path '{calm(_text(path[:200]))}'.", status=404)
    return None


def asked_about(path: bytes) -> tuple[str, str, bool]:
    """The model that a path names, its version, and whether its readiness is asked; empty where it names none."""
    if not path.startswith((b"/v1/models/", b"/v2/models/")):
        return "", "", False
    if dialect_of(path) is Dialect.OPENAI:
        return _text(unquote_to_bytes(path[len(b"/v1/models/") :])), "", False
    parts = [_text(unquote_to_bytes(part)) for part in path.split(b"/")][3:]
    ready = len(parts) in (2, 4) and parts[-1] == "ready"
    if ready:
        parts = parts[:-1]
    if len(parts) == 3 and parts[1] == "versions":
        return parts[0], parts[2], ready
    return (parts[0], "", ready) if len(parts) == 1 else ("", "", False)


def answer(path: bytes, x: Exchange, routes: Routes, targets: Targets) -> Answered | AndonError:
    """What a caller who is known may learn: only of endpoints that its key may call."""
    if path == b"/v1/models":
        listed = [_model(name, endpoint) for name, endpoint in routes.names.items() if _may(x, endpoint)]
        return 200, _encode({"object": "list", "data": listed})
    name, version, ready = asked_about(path)
    endpoint = routes.names.get(name)
    if endpoint is None or not _may(x, endpoint):
        return unknown_model(name)
    if dialect_of(path) is Dialect.OPENAI:
        return 200, _encode(_model(name, endpoint))
    if version and all(oip.version_of(release.id) != version for release in endpoint.releases):
        return unknown_version(name, version)
    if ready:
        able = any(
            target.breaker.closed and not target.broken
            for release in endpoint.releases
            if not version or oip.version_of(release.id) == version
            for target in targets.table.releases[endpoint.name, release.id].targets
        )
        return (200 if able else 503), _encode({"name": name, "ready": able})
    return 200, oip.model_metadata(endpoint, name)


def unknown_model(name: str) -> Refused:
    """No endpoint has this name, or the caller may not know that one has."""
    return Refused(
        "model_not_found",
        f"The model '{calm(name[:200])}' does not exist or you do not have access to it.",
        hint="List the models with GET /v1/models.",
        status=404,
        param="model",
    )


def unknown_version(name: str, version: str) -> Refused:
    """The endpoint has no such release."""
    return Refused(
        "version_not_found",
        f"The model '{calm(name[:200])}' has no version '{calm(version[:200])}'.",
        status=404,
    )


def _may(x: Exchange, endpoint: EndpointEntry) -> bool:
    return x.key is None or not x.key.endpoints or endpoint.name in x.key.endpoints


def _model(name: str, endpoint: EndpointEntry) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "andon"}


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
