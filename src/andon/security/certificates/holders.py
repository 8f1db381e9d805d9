"""Which process a verified certificate stands for: the URI `andon://factory/role` among its names.

Read where a caller that holds a process's key must also show that process's certificate. The chain has been verified
by TLS before; nothing here trusts a certificate by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

SCHEME = "andon"


def role_of(peer: Mapping[str, Any] | None) -> str:
    """The role in a peer's certificate as `ssl.SSLObject.getpeercert` gives it; empty if there is none."""
    for kind, value in (peer or {}).get("subjectAltName", ()):
        if kind == "URI":
            parts = urlsplit(str(value))
            if parts.scheme == SCHEME:
                return parts.path.strip("/")
    return ""
