"""Attempts: what is retried, where it goes, who is blamed, and what stops it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.gateway.breakers import Breaker
from andon.gateway.settings import GatewaySettings
from andon.kernel.errors import Transient
from andon.kernel.exchange import Exchange
from tests.gateway.world import (
    ANSWER,
    CHAT,
    STREAM,
    FakeAnswer,
    FakeStage,
    World,
    chat_endpoint,
    release,
    target,
    transient,
)

OK = FakeAnswer()


def answer(status: int, *headers: tuple[bytes, bytes]) -> FakeAnswer:
    return FakeAnswer(status, b"no", headers)


@pytest.mark.parametrize(
    ("failure", "sends", "status", "code", "blamed"),
    [
        (transient("upstream_connect"), 3, 502, "upstream_connect", True),
        (transient("upstream_reset"), 3, 502, "upstream_reset", True),
        (transient("upstream_timeout"), 1, 504, "upstream_timeout", True),
        (transient("upstream_malformed"), 1, 502, "upstream_malformed", True),
        (FakeAnswer(200, b"{"), 1, 502, "upstream_malformed", True),
        (answer(500), 1, 500, "upstream_error", True),
        (answer(502), 3, 502, "upstream_error", True),
        (answer(503), 3, 503, "upstream_error", True),
        (answer(429), 3, 429, "upstream_rate_limited", True),
        (answer(400), 1, 400, "upstream_refused", False),
        (answer(422), 1, 422, "upstream_refused", False),
        (answer(401), 1, 502, "upstream_misconfigured", True),
        (answer(404), 1, 502, "upstream_misconfigured", True),
        (answer(302), 1, 502, "upstream_misconfigured", True),
    ],
)
def test_what_becomes_of_each_failure(failure: Any, sends: int, status: int, code: str, blamed: bool):
    async def main() -> None:
        world = World(failure)
        reply = await world.chat()
        assert (reply.status, len(world.upstream.sent)) == (status, sends)
        assert set(reply.json["error"]) == {"message", "type", "param", "code"}
        assert reply.headers["x-andon-attempts"] == str(sends)
        rows = world.log.outcomes
        assert [row.final for row in rows] == [False] * (sends - 1) + [True]
        assert [row.attempt for row in rows] == list(range(sends))
        assert {(row.error_code, row.provider_error) for row in rows} == {(code, blamed)}
        assert world.stages[0].settled[0][1:] == (status, blamed)
        world.assert_whole()

    asyncio.run(main())


def test_other_targets_come_first_and_without_a_wait():
    async def main() -> None:
        world = World(
            answer(503, (b"retry-after", b"30")), OK, endpoints=[chat_endpoint(target("a"), target("b"))]
        )
        assert (await world.chat()).status == 200
        assert len({sent.target.id for sent in world.upstream.sent}) == 2
        assert world.clock.slept == []

    asyncio.run(main())


def test_retry_after_is_honoured_within_the_deadline_only():
    async def main() -> None:
        world = World(answer(429, (b"retry-after", b"3")), OK)
        assert (await world.chat()).status == 200
        assert 3 <= world.clock.slept[0] < 3.1
        world = World(answer(429, (b"retry-after", b"61")), OK)
        reply = await world.chat()
        assert (reply.status, reply.headers["retry-after"]) == (429, "61")

    asyncio.run(main())


def test_a_canary_that_fails_is_blamed_although_the_stable_release_served():
    async def main() -> None:
        stable = release("chat@1", "stable", 9000, target("s"))
        canary = release("chat@2", "canary", 1000, target("c"))

        def choose(x: Exchange) -> None:
            x.release, x.arm = canary, "canary"

        world = World(
            answer(503), answer(503), answer(503), OK,
            endpoints=[chat_endpoint(releases=(stable, canary))],
            stages=[FakeStage("identify"), FakeStage("release", choose)],
        )  # fmt: skip
        reply = await world.chat()
        assert (reply.status, reply.headers["x-andon-release"]) == (200, "chat@1")
        assert [sent.target.id for sent in world.upstream.sent] == ["c", "c", "c", "s"]
        assert [(row.release, row.provider_error) for row in world.log.outcomes] == [
            ("chat@2", True), ("chat@2", True), ("chat@2", True), ("chat@1", False),
        ]  # fmt: skip
        assert world.stages[1].settled[0][1:] == (200, True)
        world.assert_whole()

    asyncio.run(main())


def test_a_lost_connection_is_forgiven_once_a_retry_succeeds():
    async def main() -> None:
        world = World(transient("upstream_reset"), OK)
        assert (await world.chat()).status == 200
        assert world.stages[0].settled[0][1:] == (200, False)

    asyncio.run(main())


def test_fallback_endpoints_serve_when_every_target_fails():
    async def main() -> None:
        other = chat_endpoint(target("z", model="zed"), name="other")
        other = type(other)(
            name="other",
            protocol="openai",
            releases=(release("other@1", "stable", 10000, target("z", model="zed")),),
        )
        world = World(
            transient("upstream_connect"), transient("upstream_connect"), OK,
            endpoints=[chat_endpoint(retries=1, fallbacks=("other",)), other],
        )  # fmt: skip
        reply = await world.chat()
        assert (reply.status, reply.headers["x-andon-release"]) == (200, "other@1")
        assert b'"model":"zed"' in world.upstream.sent[-1].body
        assert world.stages[0].settled[0][1:] == (200, True)
        world.assert_whole()

    asyncio.run(main())


def test_a_breaker_opens_fails_fast_and_closes_by_a_probe():
    async def main() -> None:
        world = World(
            transient("upstream_connect"), endpoints=[chat_endpoint(retries=0)],
            settings=GatewaySettings(breaker_failures=3),
        )  # fmt: skip
        for _ in range(3):
            assert (await world.chat()).status == 502
        reply = await world.chat()
        assert (reply.status, reply.json["error"]["code"], len(world.upstream.sent)) == (503, "no_target", 3)
        assert reply.headers["retry-after"] == "2"
        assert world.stages[0].settled[-1][2] is True
        world.clock.t += 2
        world.upstream.script = [OK]
        assert (await world.chat()).status == 200
        assert [report.healthy for report in world.reports.sent] == [False, True]
        world.assert_whole()

    asyncio.run(main())


def test_retries_stay_within_their_budget():
    async def main() -> None:
        world = World(answer(503), settings=GatewaySettings(retry_reserve=3, breaker_failures=1000))
        for _ in range(10):
            await world.chat()
        assert len(world.upstream.sent) <= 10 + 3 + 2
        assert world.gateway.meters.events["retry_budget_spent"] > 0

    asyncio.run(main())


def test_an_open_breaker_lets_one_probe_through_at_a_time():
    breaker = Breaker(GatewaySettings(breaker_failures=1))
    assert breaker.fail(0.0)
    assert not breaker.admits(1.9)
    assert breaker.admits(2.0)
    breaker.begin()
    assert not breaker.admits(2.0)
    breaker.abandon()
    assert breaker.admits(2.0)
    breaker.begin()
    assert not breaker.fail(2.0)
    assert breaker.opens_in_s(2.0) == 4.0
    breaker.begin()
    assert breaker.succeed()
    assert breaker.closed


STEPS: list[Any] = [
    OK, answer(500), answer(503), answer(429), answer(400), answer(401), FakeAnswer(200, b"{"),
    transient("upstream_connect"), transient("upstream_reset"), transient("upstream_timeout"),
    transient("upstream_malformed"), RuntimeError("bug"), asyncio.CancelledError(), ConnectionResetError(),
]  # fmt: skip
CHUNKS: list[Any] = [
    b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', b"data: [DONE]\n\n", b": ping\n\n", b"data: {\n\n",
    transient("upstream_reset"), transient("upstream_timeout"), ConnectionResetError(), RuntimeError("bug"),
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(st.sampled_from(STEPS), st.lists(st.sampled_from(CHUNKS), max_size=4)),
        min_size=1,
        max_size=6,
    ),
    st.lists(st.booleans(), min_size=1, max_size=4),
    st.sampled_from(["", "full", "fails"]),
    st.integers(0, 3),
)
def test_whatever_happens_everything_is_settled_once_and_recorded_once(
    script: list[Any], streams: list[bool], trouble: str, refuser: int
):
    async def main() -> None:
        stages = [FakeStage(name) for name in ("identify", "limits", "release")]
        if refuser < 3:
            turns = iter([False, True] * 10)
            stages[refuser].verdict = lambda x: Transient("busy", "No.") if next(turns) else None
        world = World(
            *[copy(step) for step in script],
            endpoints=[chat_endpoint(target("a"), target("b"), on_full_disk="shed" if trouble else "refuse")],
            stages=stages,
        )
        if trouble:
            setattr(world.log, trouble, True)
        for stream in streams:
            is_list = isinstance(world.upstream.script[0], list)
            try:
                reply = await world.chat(STREAM if stream or is_list else CHAT)
                assert len(reply.calls) in (0, 1, 2)
            except (asyncio.CancelledError, AssertionError) as error:
                assert isinstance(error, asyncio.CancelledError)
        for stage in stages:
            assert sorted(stage.admitted) == sorted(id_ for id_, _, _ in stage.settled)
        if trouble != "full":
            world.assert_whole()

    asyncio.run(main())


def copy(step: Any) -> Any:
    """Exceptions are changed when raised: each run needs its own."""
    if isinstance(step, list):
        return [copy(chunk) for chunk in step]
    if isinstance(step, Transient):
        return transient(step.code)
    return type(step)(*step.args) if isinstance(step, BaseException) else step


def test_a_shadow_gets_a_copy_that_nobody_feels():
    async def main() -> None:
        stable = release("chat@1", "stable", 10000, target("s"))
        canary = release("chat@2", "canary", 0, target("c"))

        def choose(x: Exchange) -> None:
            x.release, x.arm, x.shadow = stable, "stable", canary

        stage = FakeStage("release", choose)
        stage.settles_copies = True  # type: ignore[attr-defined]  # what the rollout stage declares
        world = World(OK, answer(500), endpoints=[chat_endpoint(releases=(stable, canary))],
                      stages=[FakeStage("identify"), stage])  # fmt: skip
        assert (await world.chat()).body == ANSWER
        for _ in range(5):
            await asyncio.sleep(0)
        shadows = [row for row in world.log.outcomes if row.arm == "shadow"]
        assert [(row.release, row.status, row.final, row.provider_error) for row in shadows] == [
            ("chat@2", 500, False, True)
        ]
        assert [settled[1:] for settled in stage.settled] == [(200, False), (500, True)]

    asyncio.run(main())
