"""Lists of words and patterns: what they find, and which patterns are refused before they are ever run."""

from __future__ import annotations

import time
from typing import Any

import pytest

from andon.kernel.errors import Refused
from andon.security.guards.patterns import PatternDetector, PatternSettings
from andon.security.guards.regex_safety import width_of


def found(text: str, **settings: Any) -> list[tuple[str, str]]:
    detector = PatternDetector("pattern", PatternSettings(**settings))
    return [(one.entity, text[one.start : one.end]) for one in detector.scan(text)]


def test_words_are_whole_and_seen_through_their_disguises() -> None:
    words = {"animal": ("zebra", "sea  lion")}
    assert found("A Zebra, not zebras; a sea\nlion", words=words) == [
        ("animal", "Zebra"),
        ("animal", "sea\nlion"),
    ]
    disguised = "\uff5a\uff45\uff42\uff52\uff41 z\u00e9bra z\u0435br\u0430"
    assert [text for _, text in found(disguised, words=words)] == disguised.split()
    assert found("zébra", words=words, fold=False) == []
    assert found("Zebra", words=words, case_sensitive=True) == []


def test_patterns_are_looked_for_at_every_place() -> None:
    assert [text for _, text in found("12345", patterns={"n": r"\d{4}"})] == ["1234", "2345"]
    assert found("code ABC-12", patterns={"code": r"[A-Z]{3}-\d{2}"}) == [("code", "ABC-12")]
    assert found("abab", patterns={"p": r"(a)(b)|x"}) == [("p", "ab"), ("p", "ab")]


SLOW = [
    r"(a+)+b",
    r"(a{1,9}){1,9}b",
    r"(a|a){1,30}b",
    r"(ab|a.){1,30}c",
    r"\w{1,90}\w{1,90}\d",
    r"a.{0,2000}b",
    r"x*",
    r"\d+",
    r"(a)\1",
    r"(?:a{1,64}){1,64}$",
    r"(?=a{1,60}a{1,60}a{1,60}a{1,60}b)a",
    "(",
    r"^",
    r"(\w{0,80} ?){0,10}x",
]


@pytest.mark.parametrize("pattern", SLOW)
def test_a_pattern_that_could_be_slow_or_endless_is_refused(pattern: str) -> None:
    with pytest.raises(Refused):
        width_of(pattern)


FINE = [
    r"[A-Z]{3}-\d{2}",
    r"\b\d{1,4}(?:[ -]\d{1,4}){1,4}\b",
    r"\w{1,64}@\w{1,64}\.[a-z]{2,12}",
    r"(?i:secret|hidden) plan",
    r"(?<!\w)project (?:alpha|beta)(?!\w)",
    r"a.{0,40}b",
]


@pytest.mark.parametrize("pattern", FINE)
def test_a_pattern_that_is_taken_is_quick_on_texts_made_to_slow_it(pattern: str) -> None:
    detector = PatternDetector("pattern", PatternSettings(patterns={"p": pattern}))
    began = time.perf_counter()
    for text in ("a" * 20_000, "1" * 20_000, "1 " * 10_000, "a@" * 10_000, "project " * 2_500):
        detector.scan(text)
    assert time.perf_counter() - began < 20  # seconds; what is refused above takes years


def test_an_empty_list_is_refused() -> None:
    for settings in ({}, {"words": {"x": ()}}, {"words": {"x": (" ",)}}):
        with pytest.raises(Refused):
            PatternDetector("pattern", PatternSettings(**settings))
