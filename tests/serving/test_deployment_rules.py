"""Deployments, decided: whatever was seen, plans keep the invariants, and left alone they reach what is wanted."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.kernel.random import SeededRandom
from andon.serving.deployments.invariants import broken_by, broken_in
from andon.serving.deployments.model import Crash, Facts, ServingStatus
from andon.serving.deployments.rules import ALERT, CRASHED, FAILED, START, STOP, due_ns, plan
from andon.serving.deployments.status import conclude
from andon.serving.executors.port import Observed
from andon.serving.replica.model import ReplicaSpec
from andon.testing.executor import FakeExecutor, Fate, Odds
from andon.testing.loop import VirtualClock, run_virtual

SECOND = 1_000_000_000
NOW = 1_000_000 * SECOND
TEMPLATE = ReplicaSpec(
    id="",
    deployment="credit-1",
    model="credit",
    version="1",
    source="/m",
    fingerprint="new",
    start_timeout_s=30.0,
)


def replica(number: int, phase: str, *, fingerprint: str = "new", slot: int = 0, **more: Any) -> Observed:
    spec = msgspec.structs.replace(TEMPLATE, id=f"credit-1-r{number}", fingerprint=fingerprint, slot=slot)
    if phase == "starting":
        more.setdefault("unready_since_ns", NOW)
    return Observed(spec=spec, phase=phase, url=f"unix:///{number}", **more)  # type: ignore[arg-type]  # a phase


def facts(wanted: int, *observed: Observed, **more: Any) -> Facts:
    more.setdefault("template", TEMPLATE)
    return Facts(name="credit-1", generation=1, wanted=wanted, observed=observed, **more)


def verbs(made: Facts, now_ns: int = NOW) -> list[str]:
    return [step.verb for step in plan(made, now_ns).steps]


OBSERVED = st.lists(
    st.tuples(
        st.sampled_from(["starting", "ready", "stopping", "exited"]),
        st.sampled_from(["new", "old"]),
        st.integers(0, 3),  # slot
        st.integers(0, 100),  # seconds ago
        st.booleans(),  # was ready
        st.booleans(),  # permanent
    ),
    max_size=8,
)
CRASHES = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3), st.integers(0, 900)), max_size=12)


@settings(deadline=None)
@given(OBSERVED, CRASHES, st.integers(0, 4), st.booleans())
def test_no_plan_breaks_an_invariant(
    seen: list[tuple[str, str, int, int, bool, bool]],
    crashes: list[tuple[int, int, int]],
    wanted: int,
    has_template: bool,
) -> None:
    observed = tuple(
        msgspec.structs.replace(
            replica(
                number, phase, fingerprint=fingerprint, slot=slot, was_ready=was_ready, permanent=permanent
            ),
            unready_since_ns=NOW - ago * SECOND if phase == "starting" else 0,
            ended_ns=NOW - ago * SECOND if phase == "exited" else 0,
            reason="why" if phase == "exited" else "",
        )
        for number, (phase, fingerprint, slot, ago, was_ready, permanent) in enumerate(seen)
    )
    before = ServingStatus(
        crashes=tuple(
            Crash(replica=f"credit-1-r{number}", slot=slot, at_ns=NOW - ago * SECOND, reason="")
            for number, slot, ago in crashes
        )
    )
    made = facts(wanted, *observed, before=before, template=TEMPLATE if has_template else None)
    decided = plan(made, NOW)
    assert broken_by(made, decided) is None
    status = conclude(made, decided, NOW)
    assert broken_in(status) is None
    again = msgspec.convert(
        msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(status))), ServingStatus
    )
    assert again == status


def test_the_wanted_number_is_started_each_in_its_slot() -> None:
    made = facts(3, replica(4, "ready", slot=1))
    steps = plan(made, NOW).steps
    assert [(step.verb, step.subject, step.data["slot"]) for step in steps] == [
        (START, "Replica/credit-1-r5", 0),
        (START, "Replica/credit-1-r6", 2),
    ]


def test_a_changed_spec_surges_before_it_stops() -> None:
    old = replica(1, "ready", fingerprint="old")
    assert verbs(facts(1, old)) == [START]
    assert verbs(facts(1, old, replica(2, "starting"))) == []
    made = facts(1, old, replica(2, "ready"))
    steps = plan(made, NOW).steps
    assert [(step.verb, step.subject) for step in steps] == [(STOP, "Replica/credit-1-r1")]
    status = conclude(made, plan(made, NOW), NOW)
    assert [target.id for target in status.targets] == ["credit-1-r2"]


def test_surplus_and_unwanted_replicas_stop_the_useless_first() -> None:
    made = facts(1, replica(1, "ready", slot=0), replica(2, "starting", slot=1))
    assert [step.subject for step in plan(made, NOW).steps] == ["Replica/credit-1-r2"]
    assert verbs(facts(0, replica(1, "ready"))) == [STOP]


def test_a_crash_is_said_then_waited_for_then_forgotten() -> None:
    dead = replica(1, "exited", ended_ns=NOW, code=-9, reason="It was killed by SIGKILL.")
    made = facts(1, dead)
    assert verbs(made) == [CRASHED]
    status = conclude(made, plan(made, NOW), NOW)
    assert [one.phase for one in status.replicas] == ["backoff"]
    later = facts(1, dead, before=status)
    assert verbs(later) == ["replica.forget"]
    gone = facts(1, before=conclude(later, plan(later, NOW), NOW))
    assert verbs(gone, NOW + SECOND // 4) == []
    assert plan(gone, NOW).wake_after_s == 0.5
    assert verbs(gone, NOW + SECOND // 2) == [START]


def test_the_wait_doubles_to_a_minute_and_is_the_slots_own() -> None:
    waits = []
    for count in range(1, 11):
        crashes = tuple(Crash(replica=f"r{n}", slot=0, at_ns=NOW, reason="") for n in range(count))
        waits.append((due_ns(crashes, 0, NOW) - NOW) / SECOND)
        assert due_ns(crashes, 1, NOW) == 0
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_the_third_crash_raises_one_alert() -> None:
    def crash(number: int, ago_s: int) -> Crash:
        return Crash(replica=f"credit-1-r{number}", slot=0, at_ns=NOW - ago_s * SECOND, reason="x")

    dead = replica(9, "exited", ended_ns=NOW, reason="x")
    for old, expected in (
        ((crash(1, 100),), False),
        ((crash(1, 100), crash(2, 50)), True),
        ((crash(1, 700), crash(2, 50)), False),
        ((crash(1, 100), crash(2, 50), crash(3, 20)), False),
    ):
        made = facts(1, dead, before=ServingStatus(crashes=old))
        assert (ALERT in verbs(made)) is expected


def test_a_model_that_cannot_be_served_fails_once_until_something_changes() -> None:
    dead = replica(1, "exited", ended_ns=NOW, permanent=True, reason="digest", error="digest_mismatch")
    made = facts(1, dead)
    assert verbs(made) == [CRASHED, FAILED]
    status = conclude(made, plan(made, NOW), NOW)
    assert status.failed == "digest"
    later = NOW + 3600 * SECOND
    assert verbs(facts(1, before=status), later) == []
    changed = msgspec.structs.replace(TEMPLATE, fingerprint="newer")
    assert verbs(facts(1, before=status, template=changed), later) == [START]
    applied = msgspec.structs.replace(facts(1, before=status), generation=2)
    assert verbs(applied, later) == [START]


def test_a_failed_change_leaves_what_serves_alone() -> None:
    dead = replica(2, "exited", ended_ns=NOW, permanent=True, reason="digest")
    made = facts(1, replica(1, "ready", fingerprint="old"), dead)
    assert verbs(made) == [CRASHED, FAILED]
    assert conclude(made, plan(made, NOW), NOW).ready == 1


def test_replicas_that_hang_or_never_start_are_replaced() -> None:
    hung = replica(1, "starting", was_ready=True, unready_since_ns=NOW - 11 * SECOND)
    assert verbs(facts(1, hung)) == [CRASHED, STOP]
    slow = replica(1, "starting", unready_since_ns=NOW - 29 * SECOND)
    assert verbs(facts(1, slow)) == []
    late = replica(1, "starting", unready_since_ns=NOW - 31 * SECOND)
    assert verbs(facts(1, late)) == [CRASHED, STOP]


def test_without_its_version_a_deployment_keeps_what_it_has() -> None:
    made = facts(2, replica(1, "ready"), template=None, problem="There is no ModelVersion credit-1.")
    assert verbs(made) == []
    status = conclude(made, plan(made, NOW), NOW)
    assert status.failed.startswith("There is no ModelVersion")
    assert status.ready == 1


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), wanted=st.integers(0, 3))
def test_left_alone_it_reaches_the_wanted_number(seed: int, wanted: int) -> None:
    """The loop of the driver in short, over imagined replicas that crash, hang at start and are killed."""

    async def main(clock: VirtualClock) -> None:
        executor = FakeExecutor(
            clock, SeededRandom(seed), Odds(load_crashes=0.3, never_ready=0.2, crashes=0.3, crash_s_max=20.0)
        )
        template = TEMPLATE
        status = ServingStatus()
        serving_before = 0
        for turn in range(3000):
            if turn == 1500:
                template = msgspec.structs.replace(TEMPLATE, fingerprint="newer")
            if turn == 2000:
                executor.fate_of_versions["credit-1"] = Fate()  # from now on all goes well
            observed = tuple(await executor.list("credit-1"))
            made = Facts(
                name="credit-1",
                generation=1,
                wanted=wanted,
                template=template,
                observed=observed,
                before=status,
            )
            decided = plan(made, clock.now_ns())
            assert broken_by(made, decided) is None
            for step in decided.steps:
                id_ = step.subject.removeprefix("Replica/")
                if step.verb == START:
                    await executor.start(msgspec.structs.replace(template, id=id_, slot=step.data["slot"]))
                elif step.verb == STOP:
                    await executor.stop(id_, step.data["graceS"])
                elif step.verb == "replica.forget":
                    await executor.forget(id_)
            status = conclude(made, decided, clock.now_ns())
            assert broken_in(status) is None
            serving_before = status.ready
            await clock.sleep(min(decided.wake_after_s or 1.0, 1.0))
        ids = [spec.id for spec in executor.started]
        assert len(set(ids)) == len(ids)
        assert serving_before == wanted
        assert all(one.spec.fingerprint == "newer" for one in await executor.list())

    run_virtual(main)


def test_nothing_runs_when_nothing_is_wanted() -> None:
    async def main() -> None:
        assert verbs(facts(0)) == []

    asyncio.run(main())
