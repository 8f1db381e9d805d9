"""AWS KMS as the key that wraps, and Secrets Manager as an outside store, at an imitation of AWS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

boto3 = pytest.importorskip("boto3")
pytest.importorskip("moto.server")

from andon.adapters.aws.kms import Kms  # noqa: E402 - after the skip
from andon.adapters.aws.secretsmanager import AwsSecrets  # noqa: E402
from andon.adapters.aws.service import connect  # noqa: E402
from andon.kernel.errors import AndonError, Refused, Transient  # noqa: E402
from andon.kernel.random import SystemRandom  # noqa: E402
from andon.kernel.references import Reference  # noqa: E402
from andon.security.secrets.envelope import Context, rewrap, seal, unseal  # noqa: E402
from andon.security.secrets.keyring import DistantKeys, Keyring, parse_keys  # noqa: E402
from tests.adapters.imitation import imitating_aws  # noqa: E402

REGION = "eu-central-1"
RANDOM = SystemRandom()
ABOUT = Context(factory="f", kind="Secret", record="a@1")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with imitating_aws() as url:
        yield url


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")


@pytest.fixture
def kms(endpoint: str) -> Iterator[Kms]:
    maker = connect("kms", REGION, endpoint)
    found = Kms(maker.create_key()["KeyMetadata"]["Arn"], REGION, endpoint)
    maker.close()
    yield found
    found.close()


def test_kms_wraps_and_opens_and_its_context_holds(kms: Kms):
    keys = DistantKeys(kms)
    sealed = seal(b"hello", ABOUT, keys, RANDOM)
    assert unseal(sealed, ABOUT, keys) == b"hello"
    assert kms.key.encode() not in sealed
    with pytest.raises(Refused) as found:
        unseal(sealed, Context(factory="f", kind="Secret", record="b@1"), keys)
    assert found.value.code == "envelope_refused"
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(AndonError):
            unseal(bytes(changed), ABOUT, keys)


def test_a_factory_moves_from_a_file_to_kms_without_touching_its_data(kms: Kms):
    old = parse_keys("ab" * 32, "X", RANDOM)
    sealed = seal(b"hello", ABOUT, old, RANDOM)
    moved = rewrap(sealed, ABOUT, Keyring([DistantKeys(kms), old]))
    assert unseal(moved, ABOUT, DistantKeys(kms)) == b"hello"


def test_secrets_manager_gives_a_text_or_a_field_and_refuses_the_rest(endpoint: str):
    maker = connect("secretsmanager", REGION, endpoint)
    maker.create_secret(Name="plain", SecretString="value-1")
    arn = maker.create_secret(Name="team/json", SecretString='{"key": "value-2", "n": 1}')["ARN"]
    maker.create_secret(Name="bytes", SecretBinary=b"\0")
    maker.close()
    store = AwsSecrets(REGION, endpoint)

    def read(place: str, key: str = "") -> str:
        return store.read(Reference(form="aws-sm", place=place, key=key))

    assert read("plain") == "value-1"
    assert read("team/json", "key") == read(arn, "key") == "value-2"
    for place, key in (
        ("none", ""),
        ("team/json", "n"),
        ("team/json", "none"),
        ("plain", "key"),
        ("bytes", ""),
    ):
        with pytest.raises(Refused) as found:
            read(place, key)
        assert found.value.code == "secret_unknown"
        assert "value-" not in str(found.value)
    store.close()
    away = AwsSecrets(REGION, "http://127.0.0.1:9")
    with pytest.raises(Transient):
        away.read(Reference(form="aws-sm", place="plain"))
    away.close()
