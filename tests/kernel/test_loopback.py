"""Which hosts are surely this machine."""

from __future__ import annotations

import pytest

from andon.kernel.loopback import is_loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.10", "::1"])
def test_this_machine_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "10.0.0.1", "localhost.example.com", "example.com", "[::1"]
)
def test_all_else_is_not(host: str) -> None:
    assert not is_loopback(host)
