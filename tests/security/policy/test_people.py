"""Principals by name, as explanations and replays know them."""

from __future__ import annotations

from andon.security.identity.bindings import Bindings
from andon.security.identity.people import UserSpec
from andon.security.policy.people import Known

BEA = UserSpec(roles=("operator",), team="risk", label="confidential")
KNOWN = Known(keys={}, services={}, bindings=Bindings(()), users={"bea": BEA})


def test_a_user_of_the_factory_has_the_roles_that_a_session_would_give() -> None:
    found, is_known = KNOWN.find("user:bea", data=False)
    assert (is_known, found.roles, found.team, found.label) == (True, ("operator",), "risk", "confidential")


def test_a_person_of_an_issuer_is_somebody_else_than_the_user_of_that_name() -> None:
    found, is_known = KNOWN.find("user:corp/bea", data=False)
    assert (is_known, found.roles) == (False, ())


def test_a_slip_of_the_pen_is_known_as_one() -> None:
    assert KNOWN.find("key:4kq2m", data=True)[1] is False
    assert KNOWN.find("anonymous", data=True)[1] is True
