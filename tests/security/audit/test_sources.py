"""Where a log is read from: what an address may be, and with what."""

from __future__ import annotations

import pytest

from andon.kernel.errors import Refused
from andon.security.audit.sources import HttpSource


def test_a_key_is_sent_in_the_open_to_this_machine_only() -> None:
    for url in ("http://log.example.com/v1/audit/log", "http://127.0.0.1.example.com/x", "ftp://127.0.0.1/x"):
        with pytest.raises(Refused):
            HttpSource(url, "a key")
    for url in (
        "http://127.0.0.1:8791/x",
        "http://[::1]:8791/x",
        "http://localhost/x",
        "https://log.example.com/x",
    ):
        HttpSource(url, "a key")
    HttpSource("http://log.example.com/x")
