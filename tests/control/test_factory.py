"""Plan, apply and undo: what the plan says is what happens, or nothing does because the world has moved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.control.documents import Document
from andon.control.factory import Factory, Query
from andon.control.faults import InvalidDocuments
from andon.control.plan import (
    Base,
    ChangePlan,
    field_changes,
    load_plan,
    make_plan,
    plan_lines,
    resulting,
    save_plan,
)
from andon.control.resources import Content, canonical_spec
from andon.control.schemas import schema_of, schema_of_all
from andon.kernel.clock import SystemClock
from andon.kernel.errors import Conflict, Refused
from andon.store.model import Record, Unit
from andon.store.sql import SqlStore, open_store
from andon.testing.runner import InlineRunner
from tests.control.factory_kinds import CATALOGUE, parse, resource

Story = Callable[[Factory, SqlStore], Coroutine[Any, Any, None]]


@asynccontextmanager
async def opened(changed: Callable[[], None] = lambda: None) -> AsyncIterator[tuple[Factory, SqlStore]]:
    store = await open_store("sqlite://", SystemClock(), InlineRunner())
    try:
        yield Factory(store, CATALOGUE, changed), store
    finally:
        await store.close()


def run(story: Story) -> None:
    async def main() -> None:
        async with opened() as (factory, store):
            await story(factory, store)

    asyncio.run(main())


async def apply(factory: Factory, *texts: str, **options: Any) -> int:
    plan = await factory.plan(parse("---\n".join(texts)), **options)
    return (await factory.apply(plan, author="user:test", message="m")).number


M = resource("Model", "m", source="a")
E = resource("Endpoint", "e", model="m")


def test_a_plan_says_what_an_apply_does_in_order_of_dependency() -> None:
    async def story(factory: Factory, store: SqlStore) -> None:
        plan = await factory.plan(parse(E + "---\n" + M))
        assert [(action.symbol, action.subject) for action in plan.actions] == [
            ("+", "Model/m"),
            ("+", "Endpoint/e"),
        ]
        assert (await factory.apply(plan, author="user:a")).number == 1
        assert (await factory.plan(parse(E + "---\n" + M))).empty
        changed = resource("Model", "m", source="b") + "---\n" + E
        plan = await factory.plan(parse(changed))
        assert plan_lines(plan) == [
            "~ Model/m", '    ~ spec.source: "a" → "b"', "Plan: 0 to create, 1 to update, 0 to delete.",
        ]  # fmt: skip
        plan = await factory.plan([])
        assert [action.subject for action in plan.changes] == ["Endpoint/e", "Model/m"]

    run(story)


def test_what_the_file_no_longer_names_goes_and_what_no_file_named_stays() -> None:
    async def story(factory: Factory, store: SqlStore) -> None:
        await apply(factory, M, E)
        await store.transact(
            lambda unit: unit.put(Record(kind="Model", name="by-hand", spec={"source": "x"}))
        )
        await apply(factory, M, prune=False)
        assert [row.name for row in await factory.list("endpoints")] == ["e"]
        await apply(factory, M)
        assert await factory.list("ep") == ()
        assert [row.name for row in await factory.list("Model")] == ["by-hand", "m"]

    run(story)


def test_a_world_that_moved_is_a_conflict_that_says_what_moved() -> None:
    async def story(factory: Factory, store: SqlStore) -> None:
        await apply(factory, M, E)
        data = save_plan(await factory.plan(parse(M)))
        await store.transact(lambda unit: unit.put(Record(kind="Model", name="m", spec={"source": "z"})))
        await store.transact(lambda unit: unit.put(Record(kind="Model", name="n", spec={"source": "z"})))
        with pytest.raises(Conflict, match=r"Model/m was changed; Model/n was created"):
            await factory.apply_saved(data, author="user:a")
        stale = await factory.plan(parse(M))
        await apply(factory, M, E, resource("Model", "o"))
        with pytest.raises(Conflict, match="revision 2 is the latest, not 1"):
            await factory.apply(stale, author="user:a")
        assert [row.name for row in await factory.list("Endpoint")] == ["e"]

    run(story)


def test_status_writes_and_generated_resources_do_not_move_the_world() -> None:
    async def story(factory: Factory, store: SqlStore) -> None:
        await apply(factory, M, E)
        plan = await factory.plan(parse(M))

        def controllers(unit: Unit) -> None:
            unit.put_status("Endpoint", "e", {"ready": 1})
            unit.put(Record(kind="Rollout", name="e-1", spec={}, owner="Endpoint/e"))

        await store.transact(controllers)
        await factory.apply(plan, author="user:a")
        assert await factory.list("Rollout") == ()

    run(story)


def test_a_saved_plan_that_was_changed_is_refused() -> None:
    async def story(factory: Factory, store: SqlStore) -> None:
        plan = await factory.plan(parse(M))
        data = save_plan(plan)
        assert load_plan(data) == plan
        for bad in (
            data.replace(b'"a"', b'"b"'),
            data[:-20],
            b"",
            b"[]",
            b'{"digest":"x","plan":1}',
            b"\xff",
        ):
            with pytest.raises(Refused):
                load_plan(bad)
        with pytest.raises(Refused, match="format 9"):
            load_plan(data.replace(b'"format": 1', b'"format": 9'))
        with pytest.raises(Refused, match="not what was made"):
            await factory.apply(msgspec.structs.replace(plan, prune=False), author="user:a")

    run(story)


def test_checks_of_kinds_hold_at_plan_for_the_world_as_it_will_be() -> None:
    async def story(factory: Factory, store: SqlStore) -> None:
        with pytest.raises(InvalidDocuments, match=r"f0\.yaml:5: spec\.model: there is no Model 'm'"):
            await factory.plan(parse(E))
        await apply(factory, M, E)
        with pytest.raises(InvalidDocuments, match=r"there is no Model 'm'"):
            await factory.plan(parse(E))
        await store.transact(
            lambda unit: unit.put(Record(kind="Model", name="q", spec={}, owner="Endpoint/e"))
        )
        with pytest.raises(InvalidDocuments, match="is made and kept by Endpoint/e"):
            await factory.plan(parse("---\n".join([M, E, resource("Model", "q")])))

    run(story)


def test_drift_is_shown_and_put_right() -> None:
    async def story(factory: Factory, store: SqlStore) -> None:
        await apply(factory, M, E)
        await store.transact(lambda unit: unit.put(Record(kind="Model", name="m", spec={"source": "z"})))
        plan = await factory.plan(parse(M + "---\n" + E))
        assert [(item.subject, item.changes[0].path) for item in plan.drift] == [("Model/m", "spec.source")]
        assert plan_lines(plan)[0] == "! Model/m was changed outside of apply since revision 1"
        await factory.apply(plan, author="user:a")
        assert (await factory.get("model", "m")).spec["source"] == "a"

    run(story)


def test_undo_returns_the_whole_factory_and_is_a_revision_of_its_own() -> None:
    async def story(factory: Factory, store: SqlStore) -> None:
        with pytest.raises(Refused, match="no earlier revision"):
            await factory.undo(0)
        await apply(factory, M, E)
        await apply(factory, resource("Model", "m", source="b"), resource("Model", "n"))
        plan = await factory.undo(1)
        assert {(action.symbol, action.subject) for action in plan.changes} == {
            ("~", "Model/m"), ("+", "Endpoint/e"), ("-", "Model/n"),
        }  # fmt: skip
        revision = await factory.apply(plan, author="user:a")
        assert (revision.number, revision.parent, revision.message) == (3, 2, "undo to revision 1")
        assert await factory.diff(1, 3) == ()
        assert [action.symbol for action in await factory.diff(0, 2)] == ["+", "+"]
        assert (await factory.apply(await factory.undo(1), author="user:a")).number == 3
        with pytest.raises(Refused, match="no revision 9"):
            await factory.undo(9)

    run(story)


def test_an_apply_is_told_to_the_journal_and_the_driver() -> None:
    async def main() -> None:
        signals: list[int] = []
        async with opened(lambda: signals.append(1)) as (factory, _):
            await apply(factory, M, E)
            names = [row.event.name for row in await factory.events(Query())]
            assert names == ["resource.created", "resource.created", "factory.applied"]
            assert signals == [1]
            described = await factory.describe("ep", "e")
            assert [row.event.name for row in described.events] == ["resource.created"]
            with pytest.raises(Refused, match="There is no Endpoint 'x'"):
                await factory.get("ep", "x")
            with pytest.raises(Refused) as caught:
                await factory.list("endpont")
            assert caught.value.hint == "Did you mean Endpoint?"

    asyncio.run(main())


def test_explain_reads_the_types() -> None:
    async def story(factory: Factory, store: SqlStore) -> None:
        assert factory.explain("ep").description == "A name that clients call."
        field = factory.explain("endpoint.spec.strategy.steps.weight")
        assert (field.path, field.description) == ("Endpoint.spec.strategy.steps.weight", "Share in percent.")
        mode = {doc.name: doc for doc in factory.explain("ep.strategy").fields}["mode"]
        assert (mode.type, mode.default, mode.required) == ("one of: canary, blueGreen", "canary", False)
        with pytest.raises(Refused) as caught:
            factory.explain("ep.strategy.stesp")
        assert caught.value.hint == "Did you mean steps?"

    run(story)


def test_schemas_hold_the_envelope_and_the_descriptions() -> None:
    kind = CATALOGUE.find("endpoint")
    schema = schema_of(kind)
    assert schema["properties"]["kind"] == {"const": "Endpoint"}
    assert (
        schema["$defs"]["EndpointSpec"]["properties"]["retries"]["description"] == "Attempts after the first."
    )
    assert "spec" in schema["required"]
    assert len(schema_of_all(CATALOGUE)["oneOf"]) == 2


def test_a_field_that_is_new_with_a_default_is_no_change() -> None:
    async def story(factory: Factory, store: SqlStore) -> None:
        await apply(factory, M)
        await store.transact(lambda unit: unit.put(Record(kind="Model", name="m", spec={"source": "a"})))
        assert (await factory.plan(parse(M))).empty

    run(story)


models = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["x", "y"]), max_size=4)
endpoints = st.dictionaries(
    st.sampled_from("abc"), st.tuples(st.sampled_from("abcd"), st.integers(0, 2)), max_size=3
)


@st.composite
def factories(draw: st.DrawFn) -> list[Document]:
    made = draw(models)
    calls = {name: spec for name, spec in draw(endpoints).items() if spec[0] in made}
    texts = [resource("Model", name, source=source) for name, source in made.items()]
    texts += [
        resource("Endpoint", name, model=model, retries=retries) for name, (model, retries) in calls.items()
    ]
    return parse("---\n".join(texts))


async def _state(factory: Factory) -> dict[str, Any]:
    rows = [*await factory.list("Model"), *await factory.list("Endpoint")]
    return {f"{row.kind}/{row.name}": row.spec for row in rows}


@given(factories(), factories())
@settings(deadline=None, max_examples=40)
def test_apply_makes_it_so_and_undo_brings_it_back(a: list[Document], b: list[Document]) -> None:
    async def story(factory: Factory, store: SqlStore) -> None:
        for number, documents in ((1, a), (2, b)):
            await factory.apply(await factory.plan(documents), author="user:a")
            wanted = {document.content.subject: document.content.spec for document in documents}
            assert await _state(factory) == wanted
            again = await factory.plan(documents)
            assert again.empty
            assert again.drift == ()
            assert number >= again.parent
        await factory.apply(await factory.undo(1), author="user:a")
        assert await _state(factory) == {document.content.subject: document.content.spec for document in a}

    run(story)


values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("pqr"), inner, max_size=3),
    max_leaves=8,
)
contents = st.builds(
    Content,
    kind=st.just("Model"),
    name=st.just("m"),
    spec=st.dictionaries(st.sampled_from("pqr"), values, max_size=3),
)


@given(contents, contents)
def test_fields_differ_exactly_where_contents_do(a: Content, b: Content) -> None:
    same = msgspec.json.encode(a, order="sorted") == msgspec.json.encode(b, order="sorted")
    assert (field_changes(a, b) == ()) == same
    flipped = {"+": "-", "-": "+", "~": "~"}
    back = {(change.path, flipped[change.symbol]) for change in field_changes(b, a)}
    assert {(change.path, change.symbol) for change in field_changes(a, b)} == back


@given(st.lists(contents, max_size=1), st.booleans())
def test_a_plan_is_a_function_of_its_inputs(desired: list[Content], prune: bool) -> None:
    stored = Content(kind="Model", name="k", spec=canonical_spec(CATALOGUE.find("Model"), {}))
    base = Base(stored={stored.subject: stored}, managed={stored.subject: stored}, revision=3)
    plans: list[ChangePlan] = [make_plan(desired, base, CATALOGUE, prune=prune) for _ in range(2)]
    assert plans[0] == plans[1]
    after = resulting(plans[0], base)
    assert ("Model/k" in after) != prune
    assert all(content.subject in after for content in desired)
