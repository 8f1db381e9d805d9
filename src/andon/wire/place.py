"""Where a target's URL leads: TCP, TLS or a Unix socket, with a base path before every path.

Pure; parsed once per target, never per request.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from andon.kernel.errors import Permanent


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One address. `socket` is set for Unix sockets, `host` and `port` otherwise."""

    host: str = ""
    port: int = 0
    socket: str = ""
    is_tls: bool = False
    authority: bytes = b"localhost"  # of the Host header
    base: bytes = b""  # before every path, without a slash at its end


def parse_place(url: str) -> Place:
    """The place of `http://h:p/base`, `https://h/base` or `unix:///run/x.sock`; raises `Permanent` `target_url`."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _unusable(url, str(error)) from error
    if not url.isascii() or any(character <= " " or character == "\x7f" for character in url):
        raise _unusable(url, "it has characters that no URL has")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise _unusable(url, "it has a query, a fragment or a password")
    if parts.scheme == "unix":
        if parts.netloc or not parts.path.startswith("/"):
            raise _unusable(url, "a Unix socket is written unix:///its/absolute/path")
        return Place(socket=parts.path)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _unusable(url, "it must begin with http://, https:// or unix:///")
    is_tls = parts.scheme == "https"
    return Place(
        host=parts.hostname,
        port=port or (443 if is_tls else 80),
        is_tls=is_tls,
        authority=parts.netloc.encode(),
        base=parts.path.rstrip("/").encode(),
    )


def _unusable(url: str, why: str) -> Permanent:
    return Permanent(
        "target_url",
        "A target's URL cannot be used.",
        hint="Correct the url of the target or provider.",
        internal=f"{url!r}: {why}",
    )
