"""Whose address a request comes from: the peer's, or what proxies that are trusted say in front of it.

Pure but for its cache of parsed texts. An address is what penalties count by, so one client must not have many: of IPv6
the network of 64 bits, which one host is given whole (RFC 6177).
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from andon.kernel.errors import Refused

PARSED_MAX: Final = 10_000  # texts remembered; at the limit all are forgotten
HOPS_MAX: Final = 16  # of X-Forwarded-For, from the right; what stands before is not read
_IPV6_BITS: Final = 64

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks and single addresses. Raises Refused."""
    try:
        return tuple(ip_network(text.strip()) for text in texts if text.strip())
    except ValueError as error:
        raise Refused(
            "settings_invalid",
            f"This is not a network: {error}.",
            hint="Write addresses and networks like 10.0.0.0/8, with commas between them.",
        ) from error


def host_of(peer: str) -> str:
    """The address in `host:port`; an IPv6 address may be without brackets."""
    return peer.rpartition(":")[0].strip("[]")


class Addresses:
    """Finds whom to count."""

    def __init__(self, trusted: Sequence[str] = (), exempt: Sequence[str] = ()) -> None:
        self._trusted = networks(trusted)
        self._exempt = networks(exempt)
        self._parsed: dict[str, Address | None] = {}

    def client(self, peer: str, headers: Sequence[tuple[bytes, bytes]]) -> str:
        """The nearest address that is not a trusted proxy; empty where nobody is to be counted."""
        found = self._parse(host_of(peer))
        if found is None:
            return ""
        if self._trusted and _within(found, self._trusted):
            # Each proxy adds at the right whom it saw; only what trusted ones added can be believed.
            told = b",".join(value for name, value in headers if name == b"x-forwarded-for")
            for hop in reversed(told.decode("latin-1").split(",")[-HOPS_MAX:] if told else []):
                nearer = self._parse(hop.strip())
                if nearer is None:
                    break  # not an address: whoever said so is as far as can be known
                found = nearer
                if not _within(found, self._trusted):
                    break
        if _within(found, self._exempt) or _within(found, self._trusted):
            return ""
        return subject_of(found)

    def _parse(self, text: str) -> Address | None:
        if text in self._parsed:
            return self._parsed[text]
        try:
            found: Address | None = ip_address(text.partition("%")[0]) if len(text) < 64 else None
        except ValueError:
            found = None
        if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        if len(self._parsed) >= PARSED_MAX:
            self._parsed = {}
        self._parsed[text] = found
        return found


def subject_of(address: Address) -> str:
    """What an address is counted as."""
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((int(address), _IPV6_BITS), strict=False))


def _within(address: Address, found: Sequence[Network]) -> bool:
    return any(address in network for network in found)
