"""The life of alerts under a clock set by hand: waiting, firing, telling once, repeating, ending."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from andon.observability.alerts.book import Book, Receiving
from andon.observability.alerts.groups import Notification
from andon.observability.alerts.model import AlertSpec, InhibitedBy, Matcher, SilenceSpec, When, WindowWhen
from andon.observability.alerts.rules import NS, Evaluation, Observation, compile_rule
from andon.observability.alerts.silencing import compile_silence

T0 = 1_800_000_000 * NS
WHEN = When(window=WindowWhen(metric="errorRate", above=0.1))
QUIET = Evaluation()


def seen(*names: str, value: float = 0.5) -> Evaluation:
    return Evaluation(seen=tuple(Observation(labels={"endpoint": name}, value=value) for name in names))


class Desk:
    """A book, a clock and a receiver that takes everything at once."""

    def __init__(self, **specs: dict[str, Any]) -> None:
        self.book = Book()
        self.now_s = 0
        self.told: list[tuple[int, Notification]] = []
        for name, fields in specs.items():
            self.rule(name, **fields)
        self.book.receivers = {"crew": Receiving(), "other": Receiving(send_resolved=False)}

    def rule(self, name: str, **fields: Any) -> None:
        spec = AlertSpec(**{"when": WHEN, "receivers": ("crew",), **fields})
        self.book.rules[name] = compile_rule(name, spec)

    def at(self, now_s: int, deliver: bool = True, **looks: Evaluation) -> list[Notification]:
        """What is told at this second."""
        self.now_s = now_s
        self.book.tick(looks, T0 + now_s * NS)
        notes = list(self.book.waiting())
        if deliver:
            for note in notes:
                self.book.deliver(note, T0 + now_s * NS)
        self.told += [(now_s, note) for note in notes]
        return notes

    def run(self, until_s: int, step_s: int = 10, **looks: Evaluation) -> list[Notification]:
        """The same looks until a second; everything told meanwhile."""
        found: list[Notification] = []
        for now_s in range(self.now_s + step_s, until_s + 1, step_s):
            found += self.at(now_s, **looks)
        return found

    def phases(self, name: str) -> list[str]:
        return [one.phase for one in self.book.instances.get(name, {}).values()]

    def events(self) -> list[str]:
        return [event.name for event in self.book.take().events]


def test_it_fires_after_for_and_is_told_once_after_group_wait() -> None:
    desk = Desk(errors={"for_": "60s"})
    desk.at(0, errors=seen("a"))
    assert desk.phases("errors") == ["pending"]
    assert desk.run(50, errors=seen("a")) == []
    desk.at(60, errors=seen("a"))
    assert desk.phases("errors") == ["firing"]
    told = desk.run(3600, errors=seen("a"))
    assert [note.reason for note in told] == ["new"]
    assert desk.told[0][0] == 90
    assert desk.events() == ["alert.fired", "alert.notified"]


def test_it_repeats_after_repeat_interval_until_acknowledged() -> None:
    desk = Desk(errors={})
    desk.at(0, errors=seen("a"))
    told = desk.run(9 * 3600, step_s=30, errors=seen("a"))
    assert [note.reason for note in told] == ["new", "repeat", "repeat"]
    desk.book.acknowledge("errors", "", "user:ann", T0)
    assert desk.run(24 * 3600, step_s=60, errors=seen("a")) == []
    over = desk.run(25 * 3600, step_s=60, errors=QUIET)
    assert [note.reason for note in over] == ["resolved"]


def test_what_ends_within_group_wait_is_never_told() -> None:
    desk = Desk(errors={})
    desk.at(0, errors=seen("a"))
    assert desk.run(3600, errors=QUIET) == []
    assert desk.events() == ["alert.fired", "alert.resolved"]


def test_flapping_within_group_interval_is_one_page() -> None:
    desk = Desk(errors={})
    for now_s in range(0, 300, 10):
        desk.at(now_s, errors=seen("a") if (now_s // 40) % 2 == 0 else QUIET)
    assert len(desk.told) <= 1
    desk.run(900, errors=seen("a"))
    assert [note.reason for _, note in desk.told] == ["new"]


def test_one_group_is_one_notification() -> None:
    desk = Desk(errors={})
    desk.at(0, errors=seen("a"))
    desk.at(10, errors=seen("a", "b", "c"))
    told = desk.run(200, errors=seen("a", "b", "c"))
    assert [len(note.firing) for note in told] == [3]
    later = desk.run(700, errors=seen("a", "b", "c", "d"))
    assert [len(note.firing) for note in later] == [4]
    assert desk.told[-1][0] >= 30 + 300


def test_rules_with_the_same_labels_are_told_together() -> None:
    desk = Desk(errors={"group_by": ("endpoint",)}, slow={"group_by": ("endpoint",)})
    desk.at(0, errors=seen("a"), slow=seen("a", "b"))
    told = desk.run(100, errors=seen("a"), slow=seen("a", "b"))
    assert sorted(len(note.firing) for note in told) == [1, 2]


def test_keep_firing_for_bridges_a_gap() -> None:
    desk = Desk(errors={"keep_firing_for": "2m"})
    desk.at(0, errors=seen("a"))
    desk.run(100, errors=QUIET)
    assert desk.phases("errors") == ["firing"]
    desk.run(200, errors=QUIET)
    assert desk.phases("errors") == ["resolved"]


def test_a_look_that_cannot_see_ends_nothing() -> None:
    desk = Desk(errors={})
    desk.at(0, errors=seen("a"))
    desk.run(600, errors=Evaluation(unknown=True))
    desk.run(900, errors=Evaluation(error="the engine is away"))
    assert desk.phases("errors") == ["firing"]
    assert [note.reason for _, note in desk.told] == ["new"]


def test_kept_labels_stay_as_they_were() -> None:
    desk = Desk(errors={})
    desk.at(0, errors=seen("a", "b"))
    desk.run(60, errors=Evaluation(kept=({"endpoint": "a"},)))
    assert sorted(desk.phases("errors")) == ["firing", "resolved"]


def test_a_silence_tells_nobody_and_its_end_does() -> None:
    desk = Desk(errors={})
    spec = SilenceSpec(matchers=(Matcher(label="endpoint", value="a"),), ends="2027-01-15T08:10:00Z")
    desk.book.silences = (compile_silence("works", spec),)
    ends_s = (compile_silence("works", spec).ends_ns - T0) // NS
    assert ends_s == 600
    desk.at(0, errors=seen("a"))
    assert desk.run(590, errors=seen("a")) == []
    assert desk.book.mutes
    assert [note.reason for note in desk.run(700, errors=seen("a"))] == ["new"]


def test_what_ends_in_silence_is_forgotten_without_a_word() -> None:
    desk = Desk(errors={})
    desk.at(0, errors=seen("a"))
    desk.run(60, errors=seen("a"))
    silence = SilenceSpec(matchers=(Matcher(label="alertname", op="=~", value="err.*"),))
    desk.book.silences = (compile_silence("s", silence),)
    desk.run(1000, errors=QUIET)
    desk.book.silences = ()
    assert desk.run(2000, errors=QUIET) == []
    assert len(desk.told) == 1
    assert desk.book.groups == {}


def test_inhibition_needs_equal_labels() -> None:
    by = (InhibitedBy(alert="down", equal=("endpoint",)),)
    desk = Desk(down={}, slow={"inhibited_by": by})
    desk.at(0, down=seen("a"), slow=seen("a", "b"))
    desk.run(100, down=seen("a"), slow=seen("a", "b"))
    named = sorted((alert.rule, alert.labels["endpoint"]) for _, note in desk.told for alert in note.firing)
    assert named == [("down", "a"), ("slow", "b")]


def test_a_failed_notification_is_made_anew_after_group_interval() -> None:
    desk = Desk(errors={})
    desk.at(0, errors=seen("a"))
    (note,) = desk.at(30, deliver=False, errors=seen("a"))
    desk.book.give_up(note, "refused", T0 + 90 * NS, unknown=False)
    assert desk.run(320, errors=seen("a")) == []
    (again,) = desk.run(400, errors=seen("a"))
    assert again.id == note.id
    assert again.reason == "new"


def test_a_doubtful_page_is_followed_by_its_end() -> None:
    desk = Desk(errors={})
    desk.at(0, errors=seen("a"))
    (note,) = desk.at(30, deliver=False, errors=seen("a"))
    desk.book.give_up(note, "no answer", T0 + 90 * NS, unknown=True)
    assert [one.reason for one in desk.run(600, errors=QUIET)] == ["resolved"]


def test_what_was_surely_not_told_is_not_told_to_be_over() -> None:
    desk = Desk(errors={})
    desk.at(0, errors=seen("a"))
    (note,) = desk.at(30, deliver=False, errors=seen("a"))
    desk.book.give_up(note, "refused", T0 + 90 * NS, unknown=False)
    assert desk.run(600, errors=QUIET) == []
    assert desk.book.groups == {}


def test_a_rule_that_is_removed_tells_that_it_is_over() -> None:
    desk = Desk(errors={})
    desk.at(0, errors=seen("a"))
    desk.run(60, errors=seen("a"))
    del desk.book.rules["errors"]
    assert [note.reason for note in desk.run(900)] == ["resolved"]
    assert desk.book.groups == {}
    assert desk.book.instances == {}


def test_resolved_is_not_sent_where_it_is_not_wanted() -> None:
    desk = Desk(errors={"receivers": ("other",)})
    desk.at(0, errors=seen("a"))
    desk.run(60, errors=seen("a"))
    desk.run(900, errors=QUIET)
    assert [note.reason for _, note in desk.told] == ["new"]


def test_a_restart_neither_pages_again_nor_forgets() -> None:
    desk = Desk(errors={})
    desk.at(0, errors=seen("a"))
    desk.run(60, errors=seen("a"))
    taken = desk.book.take()
    raw = msgspec.json.encode([list(taken.rules["errors"]), [g for g in taken.groups.values() if g]])
    instances, groups = msgspec.json.decode(raw, type=tuple[list[Any], list[Any]])
    again = Desk(errors={})
    again.book.restore(
        msgspec.convert(instances, list[type(next(iter(taken.rules["errors"])))]),  # type: ignore[misc]  # computed
        msgspec.convert(groups, list[type(next(g for g in taken.groups.values() if g))]),  # type: ignore[misc]  # same
        T0 + 70 * NS,
    )
    again.now_s = 70
    assert again.run(3600, errors=seen("a")) == []
    assert [note.reason for note in again.run(4000, errors=QUIET)] == ["resolved"]


def test_instances_of_a_rule_are_bounded_and_those_seen_before_stay() -> None:
    desk = Desk(errors={})
    desk.at(0, errors=seen(*(f"e{number:04}" for number in range(100, 300))))
    desk.at(10, errors=seen(*(f"e{number:04}" for number in range(300))))
    assert len(desk.book.instances["errors"]) == 200
    assert desk.book.left_out["errors"] == 100
    assert all(one.labels["endpoint"] >= "e0100" for one in desk.book.instances["errors"].values())


@pytest.mark.parametrize(
    ("text", "filled"), [("{endpoint} at {value}", "a at 0.5"), ("{nobody}", "{nobody}")]
)
def test_annotations_are_filled_in(text: str, filled: str) -> None:
    desk = Desk(errors={"annotations": {"summary": text}})
    desk.at(0, errors=seen("a"))
    (one,) = desk.book.instances["errors"].values()
    assert one.annotations["summary"] == filled


def test_time_alone_is_told_beforehand() -> None:
    desk = Desk(errors={"for_": "60s"})
    desk.at(0, errors=seen("a"))
    assert desk.book.due_ns(T0) == T0 + 60 * NS
    desk.at(60, errors=seen("a"))
    assert desk.book.due_ns(T0 + 60 * NS) == T0 + 90 * NS
    desk.at(90, errors=seen("a"))
    assert desk.book.due_ns(T0 + 90 * NS) == T0 + (90 + 4 * 3600) * NS
