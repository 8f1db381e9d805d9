"""The admin API over the real factory on SQLite."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from andon.app.api import build_routes
from andon.app.services import Services
from andon.kernel.access import OPEN
from andon.kernel.reports import TargetHealth
from andon.web.openapi import document
from tests.web.calls import Caller
from tests.web.house import ADMIN, GATEWAY, house

GOLDEN = Path(__file__).parent / "golden" / "openapi.json"


def widget(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "andon/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}


def run(work: Callable[[Caller, Services], Awaitable[None]]) -> None:
    async def main() -> None:
        async with house() as (app, services):
            await work(Caller(app, ADMIN), services)

    asyncio.run(main())


async def apply(caller: Caller, *documents: dict[str, Any]) -> dict[str, Any]:
    plan = (await caller.call("POST", "/v1/plans", {"documents": list(documents)})).json()
    done = await caller.call("POST", "/v1/applies", {"plan": plan, "message": "why"})
    assert done.status == 200, done.body
    return done.json()


def test_a_plan_is_applied_exactly_and_read_back() -> None:
    async def work(caller: Caller, _: Services) -> None:
        plan = await caller.call("POST", "/v1/plans", {"documents": [widget("a", size=3)]})
        assert [action["verb"] for action in plan.json()["actions"]] == ["create"]
        assert (await caller.call("GET", "/v1/resources/widgets")).json() == {"items": []}
        revision = await apply(caller, widget("a", size=3))
        assert (revision["number"], revision["author"], revision["message"]) == (1, "user:admin", "why")
        item = (await caller.call("GET", "/v1/resources/wi/a")).json()
        assert (item["apiVersion"], item["kind"], item["spec"]["size"]) == ("andon/v1", "Widget", 3)
        assert item["metadata"]["generation"] == 1

    run(work)


def test_a_plan_of_yesterdays_world_is_a_conflict() -> None:
    async def work(caller: Caller, _: Services) -> None:
        old = (await caller.call("POST", "/v1/plans", {"documents": [widget("a")]})).json()
        await apply(caller, widget("b"))
        got = await caller.call("POST", "/v1/applies", {"plan": old})
        assert (got.status, got.json()["code"]) == (409, "world_moved")

    run(work)


def test_a_plan_that_was_changed_on_the_way_is_refused() -> None:
    async def work(caller: Caller, _: Services) -> None:
        plan = (await caller.call("POST", "/v1/plans", {"documents": [widget("a")]})).json()
        plan["actions"][0]["content"]["spec"]["size"] = 9
        got = await caller.call("POST", "/v1/applies", {"plan": plan})
        assert (got.status, got.json()["code"]) == (400, "plan_tampered")

    run(work)


def test_everything_wrong_in_files_is_told_by_line() -> None:
    text = (
        "apiVersion: andon/v1\nkind: Widgit\nmetadata: {name: a}\n---\n"
        "apiVersion: andon/v1\nkind: Widget\nmetadata: {name: b}\nspec:\n  colr: red\n"
    )

    async def work(caller: Caller, _: Services) -> None:
        got = await caller.call("POST", "/v1/plans", {"files": [{"file": "f.yaml", "text": text}]})
        assert (got.status, got.json()["code"]) == (422, "invalid_documents")
        assert [(fault["file"], fault["line"]) for fault in got.json()["errors"]] == [
            ("f.yaml", 2),
            ("f.yaml", 9),
        ]

    run(work)


def test_undo_plans_the_way_back_and_diff_shows_it() -> None:
    async def work(caller: Caller, _: Services) -> None:
        await apply(caller, widget("a", size=1))
        await apply(caller, widget("a", size=2), widget("b"))
        diff = (await caller.call("GET", "/v1/diff")).json()
        assert (diff["from"], diff["to"]) == (1, 2)
        assert {action["name"]: action["verb"] for action in diff["actions"]} == {
            "a": "update",
            "b": "create",
        }
        plan = (await caller.call("POST", "/v1/undo", {"to": 1})).json()
        assert plan["undo_of"] == 1
        done = await caller.call("POST", "/v1/applies", {"plan": plan})
        assert done.json()["number"] == 3
        assert (await caller.call("GET", "/v1/resources/Widget/a")).json()["spec"]["size"] == 1
        assert (await caller.call("GET", "/v1/resources/Widget/b")).status == 404
        numbers = [item["number"] for item in (await caller.call("GET", "/v1/revisions")).json()["items"]]
        assert numbers == [3, 2, 1]
        detail = (await caller.call("GET", "/v1/revisions/2")).json()
        assert len(detail["document"]) == detail["resources"] == 2

    run(work)


def test_events_come_in_pages() -> None:
    async def work(caller: Caller, _: Services) -> None:
        await apply(caller, widget("a"), widget("b"))
        first = (await caller.call("GET", "/v1/events?limit=1")).json()
        rest = (await caller.call("GET", f"/v1/events?after={first['next']}")).json()
        assert len(first["items"]) == 1
        assert [item["name"] for item in first["items"] + rest["items"]][-1] == "factory.applied"
        newest = (await caller.call("GET", "/v1/events?limit=1&newest=true")).json()
        assert newest["items"][0] == rest["items"][-1]
        only = (await caller.call("GET", "/v1/events?subject=Widget/a")).json()
        assert [item["subject"] for item in only["items"]] == ["Widget/a"]

    run(work)


def test_kinds_and_their_fields_are_described() -> None:
    async def work(caller: Caller, _: Services) -> None:
        kinds = (await caller.call("GET", "/v1/kinds")).json()["items"]
        assert [kind["name"] for kind in kinds] == ["Widget", "Gadget"]
        schema = (await caller.call("GET", "/v1/kinds/wi/schema")).json()
        assert schema["title"] == "Widget"
        topic = (await caller.call("GET", "/v1/explanations?path=widget.size")).json()
        assert topic["description"].startswith("How large")
        got = await caller.call("GET", "/v1/resources/widgit")
        assert (got.status, got.json()["hint"]) == (404, "Did you mean Widget?")

    run(work)


def test_rollout_verbs_carry_who_and_why() -> None:
    async def work(caller: Caller, services: Services) -> None:
        got = await caller.call("POST", "/v1/rollouts/credit-3/abort", {"reason": "looks wrong"})
        assert got.json() == {"name": "credit-3", "phase": "Aborting"}
        assert services.rollouts.done == [("abort", "credit-3", "user:admin", "looks wrong")]
        assert (await caller.call("POST", "/v1/rollouts/credit-3/resume")).status == 409
        assert (await caller.call("POST", "/v1/rollouts/none/pause", {})).status == 404
        explained = (await caller.call("GET", "/v1/rollouts/credit-3/explanation")).json()
        assert explained["readings"][0]["verdict"] == "breach"

    run(work)


def test_keys_are_made_listed_rotated_and_revoked() -> None:
    async def work(caller: Caller, _: Services) -> None:
        made = (await caller.call("POST", "/v1/keys", {"team": "risk"})).json()
        assert made["secret"].startswith("sk-andon-")
        id_ = made["key"]["id"]
        assert (await caller.call("POST", f"/v1/keys/{id_}/rotate", {"overlap": "5m"})).status == 200
        wrong = await caller.call("POST", f"/v1/keys/{id_}/rotate", {"overlap": "soon"})
        assert (wrong.status, wrong.json()["param"]) == (400, "overlap")
        assert (await caller.call("POST", f"/v1/keys/{id_}/revoke")).json()["state"] == "revoked"
        listed = (await caller.call("GET", "/v1/keys")).body
        assert b"secret" not in listed

    run(work)


def test_gateways_and_people_have_routes_of_their_own() -> None:
    async def work(caller: Caller, services: Services) -> None:
        assert (await caller.call("GET", "/v1/snapshot")).status == 403
        gateway = Caller(caller.app, GATEWAY)
        assert (await gateway.call("GET", "/v1/snapshot?have=4")).json() == {"version": 5}
        unchanged = await gateway.call("GET", "/v1/snapshot?have=5&wait_s=0")
        assert (unchanged.status, unchanged.body) == (304, b"")
        health = TargetHealth(endpoint="e", target="t", gateway="0", at_ns=1, healthy=False, reason="r")
        report = msgspec.to_builtins(health)
        assert (await gateway.call("POST", "/v1/reports", {"reports": [report]})).json() == {"accepted": 1}
        assert services.gateways.reports == [health]
        assert (await gateway.call("GET", "/v1/resources/widgets")).status == 403

    run(work)


def test_readiness_says_what_does_not_hold() -> None:
    async def work(caller: Caller, services: Services) -> None:
        caller.key = ""
        assert (await caller.call("GET", "/readyz")).status == 200
        services.health.ok = False
        got = await caller.call("GET", "/readyz")
        assert (got.status, got.json()["checks"][0]["detail"]) == (503, "the disk is full")
        assert (await caller.call("GET", "/livez")).json() == {"alive": True}

    run(work)


# Who signs in has no key yet, who signs out may have none any more, and whoever asks who they are needs no permission.
SIGNING_IN = {"", "/acceptance", "/login", "/callback", "/collection", "/logout"}


def test_every_route_but_the_probes_the_metrics_and_signing_in_needs_a_key() -> None:
    async def work(caller: Caller, services: Services) -> None:
        routes = build_routes(services)
        # Control passes /metrics on; whether a key is wanted is a setting, and the observer holds it.
        signing_in = {"/v1/session" + path for path in SIGNING_IN}
        opened = {route.path for route in routes if route.action == OPEN}
        assert opened == {"/livez", "/readyz", "/metrics"} | signing_in
        caller.key = ""
        for route in routes:
            if route.action != OPEN:
                target = route.path.replace("{number}", "1").replace("{", "").replace("}", "")
                assert (await caller.call(route.method, target)).status == 401

    run(work)


def test_the_document_is_the_one_that_was_agreed() -> None:
    async def work(caller: Caller, services: Services) -> None:
        text = json.dumps(document(build_routes(services), "0.1.0"), indent=1) + "\n"
        if os.environ.get("ACCEPT"):
            GOLDEN.write_text(text)
        assert text == GOLDEN.read_text(), "the API changed; ACCEPT=1 rewrites the golden file"
        assert (await caller.call("GET", "/openapi.json")).json() == json.loads(text)

    run(work)
