"""Error streams of releases: a rise is told at once, quiet ones are left alone, memory is bounded."""

from __future__ import annotations

from random import Random

from andon.kernel.clock import SystemClock
from andon.ledger.reader import Entry
from andon.ledger.row import Outcome
from andon.observability.quality.streams import watching
from andon.observability.quality.streams.watching import ChangeSettings, ChangeWatch

SETTINGS = ChangeSettings(expected_run=20_000.0, learn_requests=500)


def entries(flags: list[bool], endpoint: str = "credit", arm: str = "stable") -> list[Entry]:
    return [
        Entry(
            number,
            Outcome(
                "r", endpoint=endpoint, release=f"{endpoint}@1", arm=arm, provider_error=failed, status=200
            ),
        )
        for number, failed in enumerate(flags, 1)
    ]


def figures(watch: ChangeWatch, name: str) -> dict[str, float]:
    family = next(one for one in watch.families() if one.name == name)
    return {dict(sample.labels)["endpoint"]: sample.value for sample in family.samples}


def test_a_rise_is_told_within_some_requests_and_a_steady_rate_is_not() -> None:
    chance, watch = Random(7), ChangeWatch(SystemClock(), SETTINGS)
    watch.take_rows(entries([chance.random() < 0.01 for _ in range(5_000)]))
    watch.take_rows(entries([chance.random() < 0.01 for _ in range(5_000)], "quiet"))
    assert figures(watch, "andon_error_changes_total") == {"credit": 0.0, "quiet": 0.0}
    watch.take_rows(entries([chance.random() < 0.3 for _ in range(60)]))
    assert figures(watch, "andon_error_changed") == {"credit": 1.0, "quiet": 0.0}


def test_shadows_intents_and_refusals_are_no_errors_of_a_release() -> None:
    watch = ChangeWatch(SystemClock(), ChangeSettings(learn_requests=1))
    watch.take_rows(entries([True] * 50, arm="shadow"))
    watch.take_rows([Entry(1, Outcome("r", status=429))])
    assert figures(watch, "andon_error_changes_total") == {}


def test_releases_beyond_the_limit_are_counted_and_not_kept() -> None:
    watch = ChangeWatch(SystemClock(), SETTINGS)
    for number in range(watching.SUBJECTS_MAX + 3):
        watch.take_rows(entries([False], f"e{number}"))
    assert figures(watch, "andon_error_unwatched_total") == {"other": 3.0}
