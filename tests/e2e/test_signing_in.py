"""Signing in to a real factory: with an issuer in a browser, from a command line, with a password, and out again."""

from __future__ import annotations

import json
import stat
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPMessage
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest

from andon.testing.issuer import Issuer
from tests.e2e.factories import Factory, resource, running_factory, wait_for

PASSWORD = "seven quiet herons"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer(secret="from a file") as running:
        yield running


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Factory]:
    root = tmp_path_factory.mktemp("plant")
    (root / "client.secret").write_text("from a file\n")
    documents = [
        resource(
            "Issuer",
            "corp",
            issuer=issuer.url,
            audiences=["andon-admin"],
            claims={"subject": "preferred_username", "groups": "groups"},
            signIn={"clientId": "andon-console", "clientSecret": f"file:{root}/client.secret"},
        ),
        resource("RoleBinding", "crew", subject="group:crew", issuer="corp", roles=["operator"]),
        resource("RoleBinding", "dora-looks", subject="user:dora", roles=["auditor"]),
    ]
    with running_factory(root, documents, {"XDG_CONFIG_HOME": str(root / "config")}) as started:
        wait_for("the issuer", lambda: started.get("issuer", "corp").get("status", {}).get("tokenUrl"))
        yield started


@pytest.fixture(autouse=True)
def _nobody_is_signed_in(plant: Factory) -> Iterator[None]:
    yield
    (plant.root / "config" / "andon" / "sessions.json").unlink(missing_ok=True)


class Browser:
    """As much of one as signing in needs: cookies, redirects, and what it adds to requests by itself."""

    def __init__(self, factory: Factory) -> None:
        self.base = f"http://127.0.0.1:{factory.control_port}"
        self.jar = CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def send(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any, HTTPMessage]:
        request = urllib.request.Request(self.base + path, headers=headers)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("content-type", "application/json")
        try:
            with self.opener.open(request) as answer:
                return answer.status, json.load(answer), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, json.load(error), error.headers

    def cookies(self) -> dict[str, str]:
        return {cookie.name: str(cookie.value) for cookie in self.jar}


def test_the_first_administrator_comes_with_a_code_that_works_once(plant: Factory, tmp_path: Path) -> None:
    place = plant.root / ".andon" / "setup.code"
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    code = place.read_text().strip()
    word = tmp_path / "password"
    word.write_text("password1234\n")
    assert "will not do" in plant.andon("users", "setup", "ann", "--password-file", str(word), code=1).stderr
    word.write_text(PASSWORD + "\n")
    plant.andon("users", "setup", "ann", "--password-file", str(word))
    assert plant.read("whoami") | {"team": ""} == {
        "principal": "user:ann",
        "kind": "user",
        "roles": ["administrator"],
        "team": "",
        "label": "restricted",
        "issuer": "",
    }
    kept = plant.root / "config" / "andon" / "sessions.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert not place.exists()
    again = Browser(plant).send("/v1/session/acceptance", {"code": code, "user": "eve", "password": PASSWORD})
    never = Browser(plant).send("/v1/session/acceptance", {"code": "x", "user": "eve", "password": PASSWORD})
    assert again[0] == never[0] == 401
    assert again[1]["detail"] == never[1]["detail"]

    invited = plant.read("users", "invite", "dora", "--role", "viewer")
    answer = Browser(plant).send("/v1/session/acceptance", {"code": invited["code"], "password": PASSWORD})
    dora = {"authorization": f"Bearer {answer[1]['token']}"}
    assert Browser(plant).send("/v1/session", **dora)[1]["roles"] == ["auditor", "viewer"]
    assert Browser(plant).send("/v1/revisions", **dora)[0] == 200
    assert Browser(plant).send("/v1/keys", {"team": ""}, **dora)[0] == 403
    assert Browser(plant).send("/v1/users", {"name": "eve", "roles": ["administrator"]}, **dora)[0] == 403
    plant.andon("users", "remove", "dora")
    assert Browser(plant).send("/v1/revisions", **dora)[0] == 401

    plant.andon("logout", "--everywhere")
    plant.andon("login", "--user", "ann", "--password-file", str(word))
    assert plant.read("whoami")["principal"] == "user:ann"


def test_wrong_and_unknown_are_answered_in_the_same_words_and_not_for_long(plant: Factory) -> None:
    told = [
        Browser(plant).send("/v1/session", {"user": user, "password": "x" * 20})[:2]
        for user in ("ann", "nobody")
    ]
    assert told[0][0] == told[1][0] == 401
    assert told[0][1] | {"request_id": ""} == told[1][1] | {"request_id": ""}
    statuses = [Browser(plant).send("/v1/session", {"user": "zoe", "password": "x"})[0] for _ in range(7)]
    assert statuses == [401] * 5 + [429] * 2


def test_a_browser_signs_in_with_an_issuer(plant: Factory, issuer: Issuer) -> None:
    issuer.user = {"sub": "1", "preferred_username": "carl", "groups": ["crew"]}
    browser = Browser(plant)
    status, who, _ = browser.send("/v1/session/login?next=/v1/session")
    assert (status, who["principal"], who["roles"], who["issuer"]) == (
        200,
        "user:corp/carl",
        ["operator"],
        "corp",
    )
    cookie = next(cookie for cookie in browser.jar if cookie.name == "andon")
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "Lax"

    # What another page makes the browser send is not taken; what a page of this host sends is.
    other = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    own = {"origin": browser.base, "sec-fetch-site": "same-origin"}
    for headers, expected in (
        (other, "cross_site_refused"),
        ({}, "cross_site_refused"),
        (own, "no_documents"),
    ):
        assert browser.send("/v1/plans", {}, **headers)[1]["code"] == expected
    assert browser.send("/v1/session/logout", {}, **other)[0] == 403
    # The observer, to whom control forwards, knows the session too.
    assert browser.send("/v1/top?window_s=60")[0] == 200

    second = Browser(plant)
    second.send("/v1/session/login?next=/v1/session")
    assert second.cookies()["andon"] != browser.cookies()["andon"]
    stolen = browser.cookies()["andon"]
    assert browser.send("/v1/session/logout", {"everywhere": True}, **own)[1] == {"sessions": 2}
    assert second.send("/v1/session")[0] == 401
    assert Browser(plant).send("/v1/session", authorization=f"Bearer {stolen}")[0] == 401


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        """Stay here."""


def _location(opener: urllib.request.OpenerDirector, url: str) -> str:
    with pytest.raises(urllib.error.HTTPError) as caught:
        opener.open(url)
    caught.value.close()
    return str(caught.value.headers["location"])


def test_an_attempt_belongs_to_one_browser_and_works_once(plant: Factory, issuer: Issuer) -> None:
    mine = Browser(plant)
    walker = urllib.request.build_opener(_Stay, urllib.request.HTTPCookieProcessor(mine.jar))
    at_issuer = _location(walker, mine.base + "/v1/session/login")
    assert "code_challenge_method=S256" in at_issuer
    assert "nonce=" in at_issuer
    back = _location(walker, at_issuer).removeprefix(mine.base)
    assert Browser(plant).send(back)[1]["code"] == "sign_in_refused"  # somebody else's browser
    assert mine.send(back)[1]["code"] == "sign_in_refused"  # and now it is over
    assert mine.send("/v1/session/callback?code=x&state=y")[1]["code"] == "sign_in_refused"
    for place in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x"):
        assert mine.send(f"/v1/session/login?next={place}")[1]["code"] == "next_invalid"


def test_a_command_line_signs_in_through_the_browser(plant: Factory, issuer: Issuer, tmp_path: Path) -> None:
    issuer.user = {"sub": "2", "preferred_username": "fay", "groups": ["crew"]}
    script = tmp_path / "browse.py"
    script.write_text(
        "import sys, urllib.request as u, http.cookiejar as c\n"
        "u.build_opener(u.HTTPCookieProcessor(c.CookieJar())).open(sys.argv[1]).read()\n"
    )
    plant.environment["BROWSER"] = f"{sys.executable} {script} %s &"
    assert plant.read("login") == {"user": "corp/fay"}
    assert plant.read("whoami")["roles"] == ["operator"]
    assert plant.andon("keys", "create", code=1).stderr.startswith("Error: user:corp/fay may not")
    plant.andon("logout")
    assert plant.read("whoami")["principal"] == "user:admin"


def test_tokens_are_taken_on_the_admin_plane_and_explained_to_operators(
    plant: Factory, issuer: Issuer, tmp_path: Path
) -> None:
    browser = Browser(plant)

    def ask(token: str, path: str = "/v1/revisions") -> int:
        return browser.send(path, authorization=f"Bearer {token}")[0]

    good = issuer.token(aud="andon-admin", groups=["crew"])
    assert ask(good) == 200
    assert ask(issuer.token(aud="andon-admin", groups=[])) == 403
    assert ask(issuer.token(aud="andon-admin", groups=["crew"], roles=["gateway"]), "/v1/snapshot") == 403
    assert [ask(issuer.token()), ask(good[:-6] + "AAAAAA"), ask("nonsense")] == [401, 401, 401]
    issuer.rotate("rolled")
    assert ask(issuer.token(aud="andon-admin", groups=["crew"])) == 200

    file = tmp_path / "token"
    file.write_text(issuer.token())
    told = plant.andon("issuers", "test", str(file), code=1).stdout
    assert "Keycloak" in told
    assert "Audience mapper" in told
    file.write_text(good)
    assert "user:corp/fay (operator)" in plant.andon("issuers", "test", str(file)).stdout
