"""Where the listeners of a factory are, and whether they speak TLS: settings read, nothing opened.

Light on purpose: the supervisor and the command line need no cryptography to say where things are.
"""

from __future__ import annotations

from andon.app.settings import Settings
from andon.kernel.errors import Refused
from andon.kernel.loopback import is_loopback


def speaks_tls(settings: Settings) -> bool:
    """Whether listeners speak TLS: as said, else wherever others than this machine can reach one."""
    if settings.tls != "auto":
        return settings.tls == "on"
    return not all(is_loopback(host) for host in (settings.host, settings.control_host))


def reachable(host: str) -> str:
    """The address to call a listener on this machine by."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound


def address(settings: Settings, host: str, port: int) -> str:
    """The base address of one of this machine's listeners."""
    name = reachable(host)
    return f"{'https' if speaks_tls(settings) else 'http'}://{f'[{name}]' if ':' in name else name}:{port}"


def control_address(settings: Settings) -> str:
    """Where control answers: as said, else on this machine."""
    return settings.control_url.rstrip("/") or address(settings, settings.control_host, settings.control_port)


def check_certificates(settings: Settings) -> None:
    """Raises Refused for a certificate without its key, or the other way round."""
    for name in ("gateway", "control"):
        certificate, private = (
            getattr(settings, f"{name}_certificate"),
            getattr(settings, f"{name}_private_key"),
        )
        if bool(certificate) != bool(private):
            raise Refused(
                "settings_invalid",
                f"{name}_certificate and {name}_private_key go together, and one of them is missing.",
                hint="Give both files, or neither: then the factory's own authority makes them.",
            )
