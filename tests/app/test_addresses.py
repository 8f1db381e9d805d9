"""Where listeners are, and when they speak TLS."""

from __future__ import annotations

import pytest

from andon.app.addresses import address, check_certificates, control_address, speaks_tls
from andon.app.settings import Settings
from andon.kernel.errors import Refused


@pytest.mark.parametrize(
    ("host", "control_host", "tls", "expected"),
    [
        ("127.0.0.1", "127.0.0.1", "auto", False),
        ("localhost", "::1", "auto", False),
        ("0.0.0.0", "127.0.0.1", "auto", True),
        ("127.0.0.1", "control.example.com", "auto", True),
        ("127.0.0.1", "127.0.0.1", "on", True),
        ("0.0.0.0", "0.0.0.0", "off", False),
    ],
)
def test_tls_is_spoken_wherever_others_can_listen(
    host: str, control_host: str, tls: str, expected: bool
) -> None:
    settings = Settings(host=host, control_host=control_host, tls=tls)  # type: ignore[arg-type]  # a Literal
    assert speaks_tls(settings) is expected


def test_addresses_can_be_called() -> None:
    settings = Settings(host="0.0.0.0", control_host="::")
    assert address(settings, settings.host, 1) == "https://127.0.0.1:1"
    assert control_address(settings) == "https://[::1]:8791"
    assert control_address(Settings(control_url="https://c.example.com/")) == "https://c.example.com"


def test_a_certificate_without_its_key_is_refused() -> None:
    check_certificates(Settings())
    with pytest.raises(Refused, match="gateway_private_key"):
        check_certificates(Settings(gateway_certificate="a.pem"))
