"""Tables for people: what callers sent cannot move a cursor, break a row or hide a column."""

from __future__ import annotations

import pytest

from andon.app.cli.query import render_story
from andon.app.cli.table import bold, paint, printable, render_table, shown


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("loan-17 Müller 人", "loan-17 Müller 人"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("one\ntwo\tthree", "one\\ntwo\\tthree"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202etxt", "\\u202etxt"),
    ],
)
def test_control_characters_are_spelt_out(given: str, shown: str) -> None:
    assert printable(given) == shown
    assert render_table(("A", "B"), [[given, "x"]]).splitlines()[1] == f"{shown}   x"


def test_the_story_of_a_request_says_what_was_predicted_and_nothing_that_moves_the_cursor() -> None:
    times = {"queue_us": 0, "guard_us": None, "overhead_us": 10, "first_byte_us": None, "upstream_us": 90}
    names = {"endpoint": "credit", "release": "credit@1", "arm": "stable", "target": "credit-1-r1"}
    attempt = {
        **times,
        **names,
        **dict.fromkeys(("error_code", "input_tokens", "output_tokens")),
        "attempt": 0,
        "final": True,
        "at_ns": 0,
        "status": 200,
        "duration_us": 100,
        "prediction": "bad",
        "score": 0.75,
        "reference": "loan\x1b[2J",
        "features": {"age": 1500},
    }
    fact = {"name": "label", "value": None, "text": "good\x1b[1A", "at_ns": 0}
    told = render_story(
        {
            "id": "a",
            "attempts": [attempt],
            "open_intents": [],
            "facts": {"labels": [fact], "feedback": [{"kind": "regenerate", "value": None, "at_ns": 0}]},
            "spans": [],
            "bodies": [],
        }
    )
    assert "prediction bad  score 0.75  reference loan\\x1b[2J" in told
    assert "features: age 1.50 ms" in told
    assert "label: good\\x1b[1A  known" in told
    assert "feedback regenerate  known" in told


def test_a_terminal_keeps_lines_and_our_colours_and_obeys_nothing_else() -> None:
    ours = f"{bold('NAME', True)}\n{paint('ready', 'ready', True)}\tand on\n"
    assert shown(ours) == ours
    theirs = "\x1b]0;owned\x07 \x1b[2J\x1b[1A \x9b2J over\rwritten \u202etxt"
    assert shown(theirs) == "\\x1b]0;owned\\x07 \\x1b[2J\\x1b[1A \\x9b2J over\\rwritten \\u202etxt"
