"""What a snapshot says of the secrets that its targets refer to: which version each reference means now. Pure.

Never a value, and nothing derived from one: versions are numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from andon.kernel.references import parse_reference
from andon.kernel.snapshot import EndpointEntry, LeaseEntry
from andon.security.secrets.model import OUTSIDE
from andon.security.secrets.service import latest_of
from andon.store.model import Unit


def lease_entries(unit: Unit, endpoints: Iterable[EndpointEntry], now_ns: int) -> tuple[LeaseEntry, ...]:
    """One entry for each reference that a target holds and control resolves, by name."""
    references = {
        target.credential
        for endpoint in endpoints
        for release in endpoint.releases
        for target in release.targets
        if target.credential
    }
    found = ((reference, version_of(unit, reference, now_ns)) for reference in sorted(references))
    return tuple(LeaseEntry(reference=one, version=version) for one, version in found if version is not None)


def version_of(unit: Unit, reference: str, now_ns: int) -> int | None:
    """The version that a reference means; 0 where it may not be used; None for one that gateways read themselves."""
    parsed = parse_reference(reference)
    if parsed is None or not parsed.leased:
        return None
    if parsed.form == "secret":
        return latest_of(unit, parsed.place, parsed.version, now_ns)
    record = unit.get(OUTSIDE, outside_name(reference))
    return int(record.spec.get("version", 0)) if record is not None else 0


def outside_name(reference: str) -> str:
    """The name of the record that remembers what was found behind a reference to somebody else's store."""
    return sha256(reference.encode()).hexdigest()[:40]
