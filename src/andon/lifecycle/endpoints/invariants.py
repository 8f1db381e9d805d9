"""What must always hold of an endpoint and its rollouts; run by the controller before it acts, in tests and simulation.

Each function returns sentences, one for each thing broken; an empty list is health. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from andon.kernel.events import Event
from andon.lifecycle.endpoints.model import EndpointStatus
from andon.lifecycle.endpoints.rules import standings
from andon.lifecycle.rollouts.model import ENDED, STOPPED, Course
from andon.lifecycle.rollouts.rules import WHOLE


def broken(status: EndpointStatus, latest: Course | None) -> list[str]:
    """What does not hold of one endpoint and its latest rollout."""
    found = []
    under_way = latest if latest is not None and latest.spec.number > status.absorbed else None
    shares = standings(status, under_way)
    total = sum(share.weight for share in shares)
    if shares and total != WHOLE:
        found.append(f"the weights add up to {total}, not {WHOLE}")
    if any(share.weight < 0 for share in shares):
        found.append("a weight is negative")
    if latest is not None and latest.status.phase in STOPPED:
        if latest.status.weight != 0:
            found.append(f"{latest.name} was aborted and has weight {latest.status.weight}")
        if any(
            share.id == latest.spec.target.id and share.arm != "stable" and share.weight for share in shares
        ):
            found.append(f"{latest.spec.target.id} was aborted and gets traffic")
    return found


def broken_history(courses: Iterable[Course], events: Iterable[Event]) -> list[str]:
    """What does not hold over all rollouts and the journal: one at a time, aborted at most once."""
    found = []
    running: dict[str, list[str]] = {}
    for course in courses:
        if course.status.phase not in ENDED:
            running.setdefault(course.spec.endpoint, []).append(course.name)
    for endpoint, names in running.items():
        if len(names) > 1:
            found.append(
                f"endpoint '{endpoint}' has {len(names)} rollouts under way: {', '.join(sorted(names))}"
            )
    aborts: dict[str, int] = {}
    for event in events:
        if event.name == "rollout.aborted":
            aborts[event.subject] = aborts.get(event.subject, 0) + 1
    found += [f"{subject} was aborted {count} times" for subject, count in aborts.items() if count > 1]
    return found
