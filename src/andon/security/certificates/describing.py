"""What a certificate file says, for people: holder, names, issuer, how long it lasts.

Reads files only; a file that is no certificate is told as that and never ends the list.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from cryptography import x509

from andon.kernel.clock import Clock

SOON_DAYS = 14


def describe(path: Path, clock: Clock) -> dict[str, Any]:
    """The first certificate of a PEM file, as JSON values; `state` is valid, ends soon, ended or unreadable."""
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        told = {"holder": "-", "names": [], "issuer": "-", "ends": "-", "days": 0}
        return {"file": str(path), **told, "state": f"unreadable: {type(error).__name__}"}
    now = dt.datetime.fromtimestamp(clock.now_ns() / 1e9, dt.UTC)
    left = found.not_valid_after_utc - now
    state = "valid" if left.days >= SOON_DAYS else "ends soon" if left.total_seconds() > 0 else "ended"
    if found.not_valid_before_utc > now:
        state = "not valid yet"
    return {
        "file": str(path),
        "holder": found.subject.rfc4514_string(),
        "names": _names(found),
        "issuer": found.issuer.rfc4514_string(),
        "ends": found.not_valid_after_utc.strftime("%Y-%m-%d"),
        "days": left.days,
        "state": state,
    }


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [
        *found.get_values_for_type(x509.DNSName),
        *(str(address) for address in found.get_values_for_type(x509.IPAddress)),
    ]
