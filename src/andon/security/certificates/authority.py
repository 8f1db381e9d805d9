"""The factory's own certificate authority: makes itself, issues certificates of processes, renews them in time.

For one machine and for fleets without a PKI of their own; who has one puts their files in place instead. P-256 keys,
names in the subject alternative name only (RFC 9525), no certificate without an end. The authority's key signs nothing
but certificates.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from andon.kernel.clock import Clock
from andon.kernel.errors import Refused

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 90
RENEW_AT = 1 / 3  # of its life left
BACKDATED_S = 300  # clocks of a fleet differ by less
NAMES_MAX = 100
ROLES = ("gateway", "control", "observer", "client")  # whose certificates are made by themselves
SCHEME = "andon"  # of the URI that says which process a certificate stands for: andon://factory/role

_SECOND_NS = 1_000_000_000


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """What a certificate says of its holder."""

    role: str  # "gateway", "control", …
    factory: str
    hosts: tuple[str, ...] = ()  # DNS names and addresses that it may be reached by


class Authority:
    """The authority in one folder: `ca.pem`, `ca.key`, and `<role>.pem`, `<role>.key` beside them."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock

    @property
    def root_file(self) -> Path:
        """The authority's own certificate: what everybody who calls this factory trusts."""
        return self._folder / "ca.pem"

    def files(self, role: str) -> tuple[Path, Path]:
        """The certificate and the private key of a process."""
        return self._folder / f"{role}.pem", self._folder / f"{role}.key"

    def exists(self) -> bool:
        """Whether there is an authority here."""
        return self.root_file.exists()

    def can_issue(self) -> bool:
        """Whether the authority's key is here, and not only its certificate."""
        return (self._folder / "ca.key").exists()

    def create(self, factory: str) -> None:
        """Make the authority, once; nothing happens if it is there. Raises OSError."""
        if self.exists():
            return
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Andon authority of {factory}"[:64])])
        built = (
            self._begun(name, name, key, AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
        )
        _write(self._folder / "ca.key", _pem_key(key))
        _write(self.root_file, built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(self, names: Names, by: Authority | None = None) -> None:
        """A new certificate for a process, in the place of its old one, signed here or `by` another home's authority.

        Raises Refused for unusable names or an unusable authority.
        """
        root, root_key = (by or self).signer()
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names.role[:64])])
        built = (
            self._begun(subject, root.subject, key, CERTIFICATE_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=False)
            .add_extension(_issued_by(root), critical=False)
        )
        certificate, private = self.files(names.role)
        # The key first: whoever loads both in between finds two that do not fit, and looks again.
        _write(private, _pem_key(key))
        _write(certificate, built.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def renew(self, names: Names) -> bool:
        """Issue if there is none, it names other hosts, or its life is nearly over; whether one was issued."""
        certificate, private = self.files(names.role)
        if certificate.exists() and private.exists():
            found = x509.load_pem_x509_certificate(certificate.read_bytes())
            if self._is_fresh(found) and _hosts(found) >= frozenset(names.hosts) and self._is_ours(found):
                return False
        self.issue(names)
        return True

    def _is_fresh(self, certificate: x509.Certificate) -> bool:
        begun, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        return ends - self._now() > (ends - begun) * RENEW_AT

    def _is_ours(self, certificate: x509.Certificate) -> bool:
        root = x509.load_pem_x509_certificate(self.root_file.read_bytes())
        return certificate.issuer == root.subject

    def _now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self._clock.now_ns() / _SECOND_NS, dt.UTC)

    def _begun(
        self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
    ) -> x509.CertificateBuilder:
        now = self._now()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(seconds=BACKDATED_S))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )

    def signer(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """The authority's certificate and its key; raises Refused if they cannot be used."""
        path = self._folder / "ca.key"
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
            root = x509.load_pem_x509_certificate(self.root_file.read_bytes())
        except (OSError, ValueError) as error:
            raise Refused(
                "authority_unusable",
                f"The certificate authority in {self._folder} cannot be used: {type(error).__name__}.",
                hint="Restore ca.pem and ca.key from a backup, or make a new one: andon certs create.",
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != root.public_key():
            raise Refused(
                "authority_unusable",
                f"The key and the certificate of the authority in {self._folder} do not belong together.",
                hint="Restore both from one backup.",
            )
        return root, key


def _alternatives(names: Names) -> list[x509.GeneralName]:
    """Subject alternative names; raises Refused for what is neither a DNS name nor an address."""
    if len(names.hosts) > NAMES_MAX:
        raise Refused("certificate_names", f"A certificate holds at most {NAMES_MAX} names.")
    found: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(f"{SCHEME}://{_label(names.factory)}/{_label(names.role)}")
    ]
    for host in names.hosts:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(host)))
            continue
        except ValueError:  # then it is a name
            pass
        if not host.isascii() or not host or len(host) > 253 or any(c in host for c in " /@:\\\n"):
            raise Refused(
                "certificate_names",
                f"'{host[:100]}' is neither a DNS name nor an address.",
                hint="Write names as in DNS, international ones in punycode.",
            )
        found.append(x509.DNSName(host))
    return found


def _label(text: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-._") else "-" for c in text) or "factory"


def _hosts(certificate: x509.Certificate) -> frozenset[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(found.get_values_for_type(x509.DNSName)) | frozenset(
        str(address) for address in found.get_values_for_type(x509.IPAddress)
    )


def _issued_by(root: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes) -> None:
    """A file of mode 0600, whole or not at all."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
