"""The example policies through the real kind, and the table that says what they mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from andon.app.policy_tests import read_table
from andon.kernel.errors import Refused

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "policies"


def test_the_examples_mean_what_they_say() -> None:
    table = read_table((EXAMPLES / "expectations.yaml").read_text(), EXAMPLES)
    results = table.run()
    assert len(results) >= 12
    assert [result.as_text for result in results if not result.ok] == []


def test_a_wrong_expectation_is_told_with_what_was_found() -> None:
    text = "policies: [roles.yaml]\ncases: [{principal: 'user:x', action: factory.read, expect: allow}]"
    (result,) = read_table(text, EXAMPLES).run()
    assert not result.ok
    assert result.as_text.endswith("expected allow, got deny by nothing")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cases: []",
        "cases: [{principal: a}]",
        "[",
        "cases: [{principal: x:y, action: a, expect: deny}]\npolicies: []",
    ],
)
def test_what_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        read_table(text, EXAMPLES).run()
