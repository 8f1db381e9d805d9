"""What TLS accepts on every listener and every call between processes: one place, one policy.

TLS 1.2 with forward secrecy and authenticated encryption, or TLS 1.3 (RFC 9325 §3.1, §4.2). A context is made once and
keeps its place in the listeners; renewed certificates are loaded into it and hold from the next handshake on.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from andon.kernel.errors import Refused

# Those of TLS 1.3 are all good and not configurable here.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK:!SHA1"


def server_context(certificate: Path, private: Path, client_roots: Path | None = None) -> ssl.SSLContext:
    """For listeners. With `client_roots`, callers may show a certificate of one of these; a wrong one is refused.

    Raises Refused if the files are missing, damaged or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
    load_chain(context, certificate, private)
    if client_roots is not None:
        _trust(context, client_roots)
        context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


def client_context(
    roots: Path | None, certificate: Path | None = None, private: Path | None = None
) -> ssl.SSLContext:
    """For calls: `roots` None = the system's. With a certificate, the caller shows it where it is asked for."""
    context = ssl.create_default_context()
    if roots is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody but these
        _trust(context, roots)
    _restrict(context)
    if certificate is not None and private is not None:
        load_chain(context, certificate, private)
    context.set_alpn_protocols(["http/1.1"])
    return context


def load_chain(context: ssl.SSLContext, certificate: Path, private: Path) -> None:
    """Put a certificate in force for handshakes to come; raises Refused and changes nothing if it cannot be."""
    try:
        # Loaded into a spare one first: a failed load would leave the context in use with half of it.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private)
        context.load_cert_chain(certificate, private)
    except (OSError, ssl.SSLError) as error:
        raise Refused(
            "certificate_unusable",
            f"The certificate {certificate} and the key {private} cannot be used: {_reason(error)}.",
            hint="Give a PEM chain, leaf first, and its own unencrypted key; or make both: andon certs create.",
        ) from error


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    # A client that renegotiates or compresses has nothing to gain here, and others have something to lose.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE


def _trust(context: ssl.SSLContext, roots: Path) -> None:
    try:
        context.load_verify_locations(roots)
    except (OSError, ssl.SSLError) as error:
        raise Refused(
            "certificate_unusable",
            f"The trusted certificates in {roots} cannot be read: {_reason(error)}.",
            hint="Give a PEM file of certificates.",
        ) from error


def _reason(error: OSError) -> str:
    """What is wrong, in the words of OpenSSL or of the operating system, never with content of a file."""
    reason = getattr(error, "reason", None)
    return str(reason or error.strerror or type(error).__name__).replace("_", " ").lower()
