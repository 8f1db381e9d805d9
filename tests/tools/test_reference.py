"""The reference is current, and says what every error means."""

from __future__ import annotations

import pytest

from tools import reference


@pytest.mark.parametrize("name", ["kinds.md", "cli.md", "errors.md", "api.md", "ledger.md"])
def test_the_page_is_current(name: str) -> None:
    assert (reference.REFERENCE / name).read_text() == reference.pages()[name], "run make docs"


def test_every_error_code_has_a_meaning() -> None:
    missing, stale = reference.unexplained()
    assert not missing, "say in docs/errors.toml what these mean"
    assert not stale, "nothing raises these any more; remove them from docs/errors.toml"


def test_every_field_of_every_kind_has_a_meaning() -> None:
    rows = [line for line in reference.kinds_page().splitlines() if line.startswith("| `")]
    assert [row for row in rows if row.rstrip(" |").count("|") < 4] == []
