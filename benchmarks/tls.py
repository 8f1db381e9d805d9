"""Proof `tls`: with TLS on, no listener of a factory speaks plain or takes anything weak.

A real factory with every process; the listeners are found among the sockets of its processes, not by asking it. Each is
offered a plain request, old protocols and weak ciphers, and its certificate is looked at. Weak is what RFC 9325 forbids
or advises against (before TLS 1.2, no forward secrecy, no authenticated encryption), RSA under 2,048 or curves under
256 bits, SHA-1, a life over 398 days, no name.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from benchmarks.harness import ROOT, conclude, free_port, table

OLD = ("-ssl3", "-tls1", "-tls1_1")
# What OpenSSL itself calls weak, by family; one handshake each with TLS 1.2 and no floor of OpenSSL's own.
WEAK_CIPHERS = (
    "eNULL", "aNULL", "kRSA", "kDHE", "kPSK", "3DES", "RC4", "CAMELLIA", "ARIA", "SEED", "IDEA",
    "SHA1+kECDHE", "SHA256+kECDHE:!AESGCM:!CHACHA20", "SHA384+kECDHE:!AESGCM", "AESCCM8",
)  # fmt: skip
PATIENCE_S = 5.0


@contextlib.contextmanager
def factory() -> Iterator[tuple[Path, int]]:
    """A factory with TLS on; its folder and its supervisor's pid."""
    with tempfile.TemporaryDirectory() as folder:
        names = ("GATEWAY_PORT", "GATEWAY_ADMIN_PORT", "CONTROL_PORT", "OBSERVER_PORT")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANDON_")},
            "PYTHONPATH": str(ROOT / "src"),
            "ANDON_TLS": "on",
            **{f"ANDON_{name}": str(free_port()) for name in names},
        }
        command = [sys.executable, "-m", "andon.app.cli.main", "--home", folder]
        subprocess.run([*command, "up", "-d"], env=environment, check=True, capture_output=True)
        try:
            for _ in range(100):
                said = subprocess.run(
                    [*command, "status"], env=environment, capture_output=True, text=True, check=False
                )
                if (
                    said.stdout and "does not answer" not in said.stdout
                ):  # the observer answers: all listeners are there
                    break
            yield Path(folder), int((Path(folder) / ".andon/lock").read_text())
        finally:
            subprocess.run([*command, "down"], env=environment, check=False, capture_output=True)


def listeners(pid: int) -> list[tuple[str, str, int]]:
    """Every TCP listener of a process and its descendants: who, address, port."""
    root = psutil.Process(pid)
    found = []
    for process in (root, *root.children(recursive=True)):
        words = process.cmdline()
        name = next(
            (word.rpartition("andon.app.")[2] for word in words if word.startswith("andon.app.")), "?"
        )
        found += [
            (name, connection.laddr.ip, connection.laddr.port)
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        ]
    return found


def is_plain(port: int) -> bool:
    """Whether a request without TLS is answered in HTTP, or anything at all is said before TLS."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as plain:
        plain.settimeout(PATIENCE_S)
        plain.sendall(b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        try:
            said = plain.recv(64)
        except (ConnectionResetError, TimeoutError):
            return False
        return bool(said) and said[0] != 0x15  # a TLS alert is the only thing it may say


def shakes(port: int, *options: str) -> bool:
    """Whether OpenSSL's client completes a handshake with these options."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options],
        input=b"Q\n", capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    return b"Cipher is (NONE)" not in done.stdout and b"Cipher is" in done.stdout


def offers(port: int, cipher: str) -> bool:
    """Whether a weak cipher is taken. One that OpenSSL's client does not know cannot be offered by it."""
    known = subprocess.run(
        ["openssl", "ciphers", "-s", "-tls1_2", f"{cipher}:@SECLEVEL=0"], capture_output=True, check=False
    )
    if known.returncode or not known.stdout.strip():
        return False
    return shakes(port, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")


def certificate_faults(port: int) -> list[str]:
    """What is wrong with the certificate that a listener shows."""
    found = x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", port)).encode())
    faults = []
    key = found.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        faults += ["short key"] if key.key_size < 2048 else []
    elif isinstance(key, ec.EllipticCurvePublicKey):
        faults += ["short key"] if key.curve.key_size < 256 else []
    elif not isinstance(key, ed25519.Ed25519PublicKey):
        faults.append("unknown key")
    if isinstance(found.signature_hash_algorithm, hashes.SHA1 | hashes.MD5):
        faults.append("old digest")
    if found.not_valid_after_utc - found.not_valid_before_utc > dt.timedelta(days=398):
        faults.append("lives too long")
    try:
        found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        faults.append("no name")
    return faults


def weaknesses(port: int) -> list[str]:
    """Everything weak that one listener takes or shows."""
    found = [option for option in OLD if shakes(port, option, "-cipher", "ALL:@SECLEVEL=0")]
    found += [cipher for cipher in WEAK_CIPHERS if offers(port, cipher)]
    if not (shakes(port, "-tls1_2") and shakes(port, "-tls1_3")):
        found.append("a good protocol is missing")
    return found + certificate_faults(port)


def main() -> None:
    """Start, look, tell."""
    if shutil.which("openssl") is None:
        sys.exit("This proof needs openssl: install the Debian package openssl.")
    warnings.simplefilter("error")
    rows, plain, weak = [], 0, 0
    with factory() as (_, pid):
        for name, address, port in listeners(pid):
            is_open, found = is_plain(port), weaknesses(port)
            plain += is_open
            weak += len(found)
            rows.append(
                (name, f"{address}:{port}", "plain" if is_open else "TLS only", ", ".join(found) or "none")
            )
    if len(rows) < 4:
        sys.exit(f"Only {len(rows)} listeners were found; a factory has 4.")
    table(("process", "listener", "speaks", "weak"), rows)
    conclude({"plain_listeners": plain, "weak": weak})


if __name__ == "__main__":
    main()
