"""How the processes of a factory reach one another and are reached: plain on loopback, TLS everywhere else.

One value per process, made from settings and home before it listens. With TLS on, every TCP listener speaks nothing
else, and processes show one another certificates of the factory's own authority.
"""

from __future__ import annotations

import ssl
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from andon.app.addresses import reachable, speaks_tls
from andon.app.home import Home
from andon.app.settings import Settings
from andon.kernel.clock import Clock
from andon.security.certificates.authority import ROLES, Authority, Names
from andon.security.certificates.contexts import client_context, server_context
from andon.security.certificates.watching import Pair, watch

LOCAL = ("localhost", "127.0.0.1", "::1")


class Transport:
    """TLS contexts of one process, or none of them. `role` is "gateway", "control", "observer" or "client"."""

    def __init__(self, home: Home, settings: Settings, role: str, clock: Clock) -> None:
        self.secure = speaks_tls(settings)
        self._settings = settings
        self._clock = clock
        self._authority = Authority(home.certificates, clock)
        self._names = Names(role=role, factory=home.root.name, hosts=_hosts(settings))
        self._pairs: dict[Path, Pair] = {}
        self.internal: ssl.SSLContext | None = None  # for calls to other processes of the factory
        if self.secure:
            self.renew()
            certificate, private = self._authority.files(role)
            self.internal = client_context(self._authority.root_file, certificate, private)
            # A process may stand behind a certificate that everybody trusts, such as one got by ACME.
            if settings.gateway_certificate or settings.control_certificate:
                self.internal.load_default_certs()
            self._pair(certificate, private).contexts.append(self.internal)

    @property
    def scheme(self) -> str:
        """Of the addresses of every listener."""
        return "https" if self.secure else "http"

    def listener(self, certificate: str = "", private: str = "") -> ssl.SSLContext | None:
        """The context of a listener: with the files given, else with the process's own certificate; None if plain.

        Raises Refused if they cannot be used.
        """
        if not self.secure:
            return None
        own = self._authority.files(self._names.role)
        files = (Path(certificate), Path(private)) if certificate else own
        context = server_context(*files, self._authority.root_file)
        self._pair(*files).contexts.append(context)
        return context

    def renew(self) -> None:
        """Make what is missing and renew what ends soon, where this home holds the authority's key."""
        if self.secure and (not self._authority.exists() or self._authority.can_issue()):
            self._authority.create(self._names.factory)
            self._authority.renew(self._names)

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """What keeps certificates fresh until it is cancelled; nothing where there are none."""
        if not self.secure:
            return ()
        return (watch(list(self._pairs.values()), self._clock, self.renew),)

    def _pair(self, certificate: Path, private: Path) -> Pair:
        found = self._pairs.get(certificate)
        if found is None:
            found = self._pairs[certificate] = Pair(certificate, private)
            found.look()
        return found


def _hosts(settings: Settings) -> tuple[str, ...]:
    named = tuple(name.strip() for name in settings.tls_names.split(",") if name.strip())
    listening = tuple(reachable(host) for host in (settings.host, settings.control_host))
    return tuple(dict.fromkeys((*LOCAL, *listening, *named)))


def prepare(home: Home, settings: Settings, clock: Clock) -> None:
    """Make the authority and the certificate of every process, where they are missing. Raises Refused, OSError."""
    authority = Authority(home.certificates, clock)
    authority.create(home.root.name)
    if authority.can_issue():
        for role in ROLES:
            authority.renew(Names(role=role, factory=home.root.name, hosts=_hosts(settings)))
