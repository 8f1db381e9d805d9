"""Whether a host is this machine: what may be spoken to without TLS, and what nobody else can hear.

Pure; names are never looked up, so only `localhost` and literal addresses can be. Asked wherever a URL or a listener
is checked.
"""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a host, as a URL or a setting names it, is surely this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: who knows where it leads
        return False
