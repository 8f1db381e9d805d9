"""The factory's own authority: what it issues, what it refuses, what holds without a restart."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from andon.kernel.errors import Refused
from andon.security.certificates.authority import CERTIFICATE_DAYS, Authority, Names
from andon.security.certificates.contexts import client_context, server_context
from andon.security.certificates.describing import describe
from andon.security.certificates.holders import role_of
from andon.security.certificates.watching import Pair

DAY_NS = 86_400 * 10**9
NOW_NS = 1_790_000_000 * 10**9
NAMES = Names(role="gateway", factory="shop", hosts=("localhost", "127.0.0.1", "gw.example.com"))


class Hands:
    """A clock that is set by hand."""

    def __init__(self, now_ns: int = NOW_NS) -> None:
        self.at_ns = now_ns

    def now_ns(self) -> int:
        return self.at_ns

    def monotonic(self) -> float:
        return self.at_ns / 1e9

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody waits here")


def made(folder: Path, clock: Hands | None = None) -> Authority:
    authority = Authority(folder, clock or Hands())
    authority.create("shop")
    authority.renew(NAMES)
    return authority


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_files_are_for_their_owner_only_and_names_stand_where_clients_look(tmp_path: Path) -> None:
    authority = made(tmp_path)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    leaf = load(authority.files("gateway")[0])
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "gw.example.com"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["andon://shop/gateway"]
    assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)
    root = load(authority.root_file)
    leaf.verify_directly_issued_by(root)
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_certificate_is_renewed_when_a_third_of_its_life_is_left_or_its_names_change(
    tmp_path: Path,
) -> None:
    clock = Hands()
    authority = made(tmp_path, clock)
    assert not authority.renew(NAMES)
    clock.at_ns += (CERTIFICATE_DAYS * 2 // 3 - 1) * DAY_NS
    assert not authority.renew(NAMES)
    clock.at_ns += 2 * DAY_NS
    assert authority.renew(NAMES)
    more = Names(role="gateway", factory="shop", hosts=(*NAMES.hosts, "10.0.0.7"))
    assert authority.renew(more)
    assert not authority.renew(NAMES)  # it names more than is asked for


def test_another_authority_is_not_renewed_by_the_old_one(tmp_path: Path) -> None:
    authority = made(tmp_path)
    for name in ("ca.pem", "ca.key"):
        (tmp_path / name).unlink()
    authority.create("other shop")
    assert authority.renew(NAMES)


@pytest.mark.parametrize("host", ["", "a b", "*/x", "x" * 300, "naïve.example", "user@host", "a\nb"])
def test_what_is_no_name_is_refused(tmp_path: Path, host: str) -> None:
    authority = made(tmp_path)
    with pytest.raises(Refused) as refused:
        authority.issue(Names(role="gateway", factory="shop", hosts=(host,)))
    assert refused.value.code == "certificate_names"


def test_a_key_of_another_authority_is_refused(tmp_path: Path) -> None:
    made(tmp_path / "a" if (tmp_path / "a").mkdir() is None else tmp_path)
    (tmp_path / "b").mkdir()
    made(tmp_path / "b")
    (tmp_path / "a" / "ca.key").write_bytes((tmp_path / "b" / "ca.key").read_bytes())
    with pytest.raises(Refused) as refused:
        Authority(tmp_path / "a", Hands()).issue(NAMES)
    assert refused.value.code == "authority_unusable"


def test_a_damaged_authority_is_refused_without_its_content(tmp_path: Path) -> None:
    authority = made(tmp_path)
    (tmp_path / "ca.key").write_text("-----BEGIN PRIVATE KEY-----\nSECRETSECRET\n")
    with pytest.raises(Refused) as refused:
        authority.issue(NAMES)
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("damage", ["missing", "empty", "swapped", "half", "encrypted"])
def test_a_pair_that_cannot_be_used_is_refused(tmp_path: Path, damage: str) -> None:
    authority = made(tmp_path)
    certificate, private = authority.files("gateway")
    if damage == "missing":
        private.unlink()
    elif damage == "empty":
        certificate.write_text("")
    elif damage == "swapped":
        certificate, private = private, certificate
    elif damage == "half":
        private.write_bytes(private.read_bytes()[:60])
    else:
        private.write_bytes((tmp_path / "ca.key").read_bytes())  # a key of somebody else
    with pytest.raises(Refused) as refused:
        server_context(certificate, private)
    assert refused.value.code == "certificate_unusable"


def test_contexts_take_nothing_old(tmp_path: Path) -> None:
    authority = made(tmp_path)
    files = authority.files("gateway")
    for context in (server_context(*files, authority.root_file), client_context(authority.root_file, *files)):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        for cipher in context.get_ciphers():
            assert cipher["aead"], cipher["name"]
            assert cipher["kea"] in ("kx-ecdhe", "kx-any"), cipher["name"]
    assert client_context(authority.root_file).check_hostname
    assert client_context(None).verify_mode == ssl.CERT_REQUIRED


def test_new_files_come_into_force_in_a_context_in_use_and_bad_ones_do_not(tmp_path: Path) -> None:
    clock = Hands()
    authority = made(tmp_path, clock)
    certificate, private = authority.files("gateway")
    server, client = server_context(certificate, private), client_context(authority.root_file)
    pair = Pair(certificate, private, [server])
    assert pair.look()
    assert not pair.look()
    before = shown(server, client)
    authority.issue(NAMES)
    assert pair.look()
    after = shown(server, client)
    assert before["serialNumber"] != after["serialNumber"]
    private.write_text("rubbish")
    with pytest.raises(Refused):
        pair.look()
    assert shown(server, client)["serialNumber"] == after["serialNumber"]


def shown(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, object]:
    """The certificate that a client sees in a handshake over memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(to_client, to_server, server_hostname="gw.example.com")
    listener = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(6):
        for side in (caller, listener):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:  # the other one is next
                continue
    found = caller.getpeercert()
    assert found
    return dict(found)


def test_the_role_is_read_from_a_verified_certificate_only() -> None:
    assert role_of({"subjectAltName": (("DNS", "x"), ("URI", "andon://shop/gateway"))}) == "gateway"
    assert (
        role_of({"subjectAltName": (("URI", "spiffe://shop/gateway"), ("DNS", "andon://shop/gateway"))}) == ""
    )
    assert role_of({}) == role_of(None) == ""


def test_what_is_no_certificate_is_told_as_that(tmp_path: Path) -> None:
    clock = Hands()
    authority = made(tmp_path, clock)
    (tmp_path / "x.pem").write_text("rubbish")
    assert describe(tmp_path / "x.pem", clock)["state"].startswith("unreadable")
    path = authority.files("gateway")[0]
    assert describe(path, clock)["state"] == "valid"
    clock.at_ns += (CERTIFICATE_DAYS - 3) * DAY_NS
    assert describe(path, clock)["state"] == "ends soon"
    clock.at_ns += 5 * DAY_NS
    assert describe(path, clock)["state"] == "ended"
    clock.at_ns = NOW_NS - DAY_NS
    assert describe(path, clock)["state"] == "not valid yet"
