"""Vault over its HTTP API: tokens and AppRoles, what is not there, what is broken; and never a word of what it says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from andon.adapters.vault.store import Login, VaultStore
from andon.kernel.errors import AndonError, Refused, Transient
from andon.kernel.references import Reference
from tests.adapters.vault_imitation import Vault, imitating_vault

KEY = Reference(form="vault", place="team/openai", key="key")


class Hours:
    """A clock that stands until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def vault() -> Iterator[Vault]:
    with imitating_vault() as found:
        yield found


def store(vault: Vault, clock: Hours | None = None, **login: str) -> VaultStore:
    readers = {name: (lambda value=value: value) for name, value in login.items()}
    return VaultStore(vault.url, mount="kv", area="", login=Login(**readers), monotonic=clock or Hours())


def role(vault: Vault, clock: Hours | None = None) -> VaultStore:
    return store(vault, clock, role_id=vault.role[0], secret_id=vault.role[1])


def test_a_field_is_read_with_a_token(vault: Vault):
    assert store(vault, token="root").read(KEY) == "value-1"
    assert vault.asked == ["GET /v1/kv/data/team/openai"]


def test_an_approle_logs_in_once_renews_and_gives_back(vault: Vault):
    clock = Hours()
    found = role(vault, clock)
    assert [found.read(KEY) for _ in range(3)] == ["value-1"] * 3
    assert vault.asked.count("POST /v1/auth/approle/login") == 1
    clock.now = 40.0
    found.read(KEY)
    assert vault.asked.count("POST /v1/auth/token/renew-self") == 1
    clock.now = 400.0
    found.read(KEY)
    assert vault.asked.count("POST /v1/auth/approle/login") == 2
    found.close()
    assert vault.tokens == {"root", "token-1"}


def test_a_token_that_was_revoked_is_got_anew(vault: Vault):
    found = role(vault)
    found.read(KEY)
    vault.tokens.clear()
    assert found.read(KEY) == "value-1"


@pytest.mark.parametrize(
    ("place", "key"), [("team/none", "key"), ("team/openai", "none"), ("team/openai", "number")]
)
def test_what_is_not_there_is_refused(vault: Vault, place: str, key: str):
    with pytest.raises(Refused) as found:
        store(vault, token="root").read(Reference(form="vault", place=place, key=key))
    assert found.value.code == "secret_unknown"


@pytest.mark.parametrize(
    "broken",
    [(500, b"token root"), (503, b'{"errors":["root"]}'), (429, b""), (302, b""), (200, b"x" * 2_000_000)],
)
def test_a_server_in_trouble_is_told_without_its_words(vault: Vault, broken: tuple[int, bytes]):
    vault.broken = broken
    with pytest.raises(AndonError) as found:
        store(vault, token="root").read(KEY)
    assert found.value.code in ("secret_unreachable", "secret_unknown")
    assert "root" not in f"{found.value} {found.value.internal}"


@pytest.mark.parametrize("token", ["wrong-secret", "bad\r\nsecret: x"])
def test_a_wrong_token_is_refused_and_not_repeated(vault: Vault, token: str):
    with pytest.raises(AndonError) as found:
        store(vault, token=token).read(KEY)
    assert "secret" not in str(found.value).replace("The secret", "").replace("secret_", "")
    assert found.value.__cause__ is None


def test_a_wrong_role_and_an_absent_server_are_told(vault: Vault):
    with pytest.raises(Refused) as found:
        store(vault, role_id="role-1", secret_id="hidden-words").read(KEY)
    assert "hidden-words" not in str(found.value)
    away = VaultStore(
        "http://127.0.0.1:9", mount="kv", area="", login=Login(token=lambda: "t"), monotonic=Hours()
    )
    with pytest.raises(Transient):
        away.read(KEY)
