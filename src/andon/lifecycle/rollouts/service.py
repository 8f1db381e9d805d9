"""What people may do to a rollout: promote, abort, pause, resume, retry. One unit of work each, actor journaled.

Called by the admin API. Each raises Refused 404 for an unknown rollout and Conflict where the verb no longer applies.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from andon.kernel.clock import Clock
from andon.kernel.errors import Conflict
from andon.lifecycle.rollouts.explanation import Explanation, explain
from andon.lifecycle.rollouts.model import STOPPED, Course, Transition
from andon.lifecycle.rollouts.repository import apply_move, get_course
from andon.lifecycle.rollouts.rules import abort, confirm, pause, resume
from andon.store.model import Store, Unit


class RolloutService:
    """The verbs of rollouts."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def promote(self, name: str, actor: str, *, full: bool = False) -> Explanation:
        """End the current step now; with `full`, hand over everything at once."""
        said = "promoted in full by a person" if full else "promoted by a person"
        return await self._do(
            name, actor, "promote", lambda c, now: confirm(c.spec.strategy, c.status, now, full, said)
        )

    async def abort(self, name: str, actor: str, reason: str = "") -> Explanation:
        """Take the new release out of the traffic for good."""
        return await self._do(
            name, actor, "abort", lambda c, now: abort(c.status, now, reason or "aborted by a person")
        )

    async def pause(self, name: str, actor: str, reason: str = "") -> Explanation:
        """Hold everything as it is."""
        return await self._do(
            name, actor, "pause", lambda c, now: pause(c.status, now, reason or "paused by a person")
        )

    async def resume(self, name: str, actor: str) -> Explanation:
        """Go on; after a gate's pause this overrules it."""
        return await self._do(
            name, actor, "resume", lambda c, now: resume(c.status, now, "resumed by a person")
        )

    async def retry(self, name: str, actor: str) -> Explanation:
        """Allow an aborted release another rollout, if the endpoint still wants it."""

        def again(course: Course, now_ns: int) -> Transition | None:
            if course.status.phase not in STOPPED or course.status.retried:
                return None
            status = replace(course.status, retried=True)
            return Transition(status=status, event="rollout.retried", reason="retried by a person")

        return await self._do(name, actor, "retry", again)

    async def explain(self, name: str) -> Explanation:
        """How a rollout stands and why; what `andon explain rollout NAME` prints."""
        now_ns = self._clock.now_ns()
        return await self._store.transact(lambda unit: explain(get_course(unit, name), now_ns))

    async def _do(
        self, name: str, actor: str, verb: str, move_of: Callable[[Course, int], Transition | None]
    ) -> Explanation:
        now_ns = self._clock.now_ns()

        def work(unit: Unit) -> Explanation:
            course = get_course(unit, name)
            move = move_of(course, now_ns)
            if move is None or not apply_move(unit, course, move, actor, now_ns):
                held = " after a cut; resume or abort it" if course.status.cut and verb == "promote" else ""
                raise Conflict(
                    f"cannot_{verb}",
                    f"Rollout '{name}' is {course.status.phase.lower()}{held}, so '{verb}' does not apply.",
                    hint=f"See: andon explain rollout {name}.",
                )
            return explain(get_course(unit, name), now_ns)

        return await self._store.transact(work)
