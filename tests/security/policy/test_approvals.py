"""A second person's yes: to exactly one thing, for a time, never one's own."""

from __future__ import annotations

import pytest

from andon.kernel.principals import Principal
from andon.security.policy.approvals import ApprovalSpec, approvers_of
from andon.security.policy.text import built_in, statements

NOW = 1_000
ANN = Principal(kind="user", id="ann")


def given(**changed: object) -> ApprovalSpec:
    told = {"subject": "Plan/p", "digest": "d", "approver": "user:bea", "at_ns": 1, "expires_ns": NOW + 1}
    return ApprovalSpec(**(told | changed))  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    ("approval", "principal", "counts"),
    [
        (given(), ANN, True),
        (given(digest="other"), ANN, False),
        (given(expires_ns=NOW), ANN, False),
        (given(approver="user:ann"), ANN, False),
        (given(approver="user:ann"), Principal(kind="key", id="k", owner="ann"), False),
        (given(approver="user:ann"), Principal(kind="service", id="s", owner="user:ann"), False),
        (given(approver="key:k", owner="ann"), ANN, False),
    ],
)
def test_whose_yes_counts(approval: ApprovalSpec, principal: Principal, counts: bool) -> None:
    assert bool(approvers_of([approval, approval], "d", principal, NOW)) is counts
    assert len(approvers_of([approval, approval], "d", principal, NOW)) == counts


def test_text_is_cut_where_policies_end_and_lines_are_counted() -> None:
    text = (
        '// a; b\n@id("x;\\"y")\npermit (principal, action, resource); // z;\n\n@id("z") forbid\n(x);\nrest'
    )
    found = [(one.line, one.id, one.text[-5:]) for one in statements(text)]
    assert found == [(2, 'x;\\"y', "rce);"), (5, "z", "\n(x);"), (7, "", "rest")]
    assert len(list(statements(built_in()))) >= 9
    assert list(statements('"' * 10_001)) != []
