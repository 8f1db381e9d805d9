"""Recognisers by form: a pattern, a check where the number has one, and words that must stand nearby where it has none.

Pure. Every pattern is linear: no nested repetition. Words of context are whole words, so that "lic" in "public" says
nothing. A recogniser's score is what it is worth with and without such a word; below a guard's threshold it is silent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from andon.security.guards.model import Finding
from andon.security.guards.pii import checksums

CONTEXT_CHARACTERS = 60  # before a number, and 24 after it
_AFTER = 24
_DOTTED = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_DIGIT = re.compile(r"\d")
_TOLD = re.compile(r"[\d@:/]")  # without one of these, or a digit, nothing has any of the forms
_BLANKS = re.compile(r"[\s.\-/()]")


class Recogniser(NamedTuple):
    """One form."""

    entity: str
    pattern: re.Pattern[str]
    check: Callable[[str], bool] | None  # of the number without blanks and hyphens
    alone: float  # score without a word of context
    near: float  # score with one
    words: frozenset[str] = frozenset()
    digits: int = 0  # as many has every match, at least
    literals: tuple[str, ...] = ("",)  # one of them stands in every match


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _always(number: str) -> bool:
    return True


def phone(number: str) -> bool:
    """As many digits as a number of a telephone has (ITU-T E.164: at most 15), and no address of the Internet."""
    digits = sum(character.isdigit() for character in number)
    return 7 <= digits <= 15 and len(set(number)) > 3 and not _DOTTED.fullmatch(number)


_CARD_WORDS = _words("card cards credit debit visa mastercard amex maestro discover cc pan")
_PHONE_WORDS = _words(
    "phone telephone tel mobile cell cellphone fax call called calling number reach text sms whatsapp desk "
    "telefon handy téléphone teléfono contact ring dial answering"
)
_ID_WORDS = _words("id identity national identification document dni nie nif")

RECOGNISERS: Final = (
    Recogniser(
        "EMAIL_ADDRESS",
        re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])"),
        None, 0.99, 0.99, literals=("@",)
    ),
    Recogniser(
        "DOMAIN_NAME",
        re.compile(r"\b(?:https?://|www\.)[^\s<>\"'|]{3,256}(?<![.,;:!?)])"),
        None, 0.9, 0.9, literals=("://", "www.")
    ),
    Recogniser(
        "CREDIT_CARD",
        re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])"), checksums.card, 0.95, 0.99, _CARD_WORDS, digits=13
    ),
    Recogniser(
        "CREDIT_CARD",
        re.compile(r"(?<![\w.-])\d(?:[ -]?\d){11}(?![\w-])"), checksums.card, 0.3, 0.9, _CARD_WORDS, digits=12
    ),
    Recogniser(
        "IBAN_CODE",
        re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b"), checksums.iban, 0.99, 0.99, digits=2
    ),
    Recogniser(
        "IBAN_CODE", re.compile(r"\b[a-z]{2}\d{2}[a-z0-9]{11,30}\b"), checksums.iban, 0.99, 0.99, digits=2,
    ),
    Recogniser(
        "US_SSN", re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"), checksums.us_ssn, 0.9, 0.99,
        _words("ssn social security ss"), digits=9
    ),
    Recogniser(
        "US_SSN",
        re.compile(r"(?<![\w-])\d{9}(?![\w-])"), checksums.us_ssn, 0.1, 0.85, _words("ssn social security"), digits=9
    ),
    Recogniser(
        "IP_ADDRESS",
        re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d)"),
        checksums.ip_address, 0.85, 0.95, _words("ip address host client"), digits=4, literals=(".",)
    ),
    Recogniser(
        "IP_ADDRESS", re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){3,7}[0-9A-Fa-f]{1,4}(?![\w:])"),
        checksums.ip_address, 0.85, 0.95, literals=(":",)
    ),
    Recogniser(
        "MAC_ADDRESS", re.compile(r"(?<![\w:-])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?![\w:-])"), None, 0.8, 0.9
    ),
    Recogniser(
        "PHONE_NUMBER",
        re.compile(
            r"(?<![\w.+-])\+\d{1,3}[ .-]?(?:\(0?\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){5,12}(?: ?x ?\d{1,6})?(?![\w-])"
        ),
        phone, 0.9, 0.95, _PHONE_WORDS, digits=7, literals=("+",)
    ),
    Recogniser(
        "PHONE_NUMBER",
        re.compile(r"(?<![\w.+-])(?:001-|1-)?(?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4}(?: ?x ?\d{1,6})?(?![\w-])"),
        phone, 0.8, 0.95, _PHONE_WORDS, digits=10
    ),
    Recogniser(
        "PHONE_NUMBER",
        re.compile(r"(?<![\w.+-])(?:\(\d{1,4}\) ?)?\d{1,5}(?:[ .-]\d{1,5}){1,5}(?: ?x ?\d{1,6})?(?![\w-])"),
        phone, 0.35, 0.85, _PHONE_WORDS, digits=7
    ),
    Recogniser(
        "PHONE_NUMBER",
        re.compile(r"(?<![\w.+-])0?\d{7,11}(?![\w-])"), phone, 0.1, 0.75, _PHONE_WORDS, digits=7
    ),
    Recogniser(
        "US_DRIVER_LICENSE",
        re.compile(r"(?<![\w-])(?:[A-Z]{1,2}\d{5,14}|\d{7,9}|\d{4}-\d{2}-\d{4}|[A-Z]\d{3}-\d{4}-\d{4})(?![\w-])"),
        None, 0.05, 0.85, _words("driver's driver drivers driving license licence licenses"), digits=5
    ),
    Recogniser(
        "PASSPORT", re.compile(r"(?<![\w-])(?:[A-Z]{1,2}\d{6,8}|\d{9})(?![\w-])"), None, 0.05, 0.8,
        _words("passport passports reisepass passeport pasaporte"), digits=6
    ),
    Recogniser(
        "UK_NHS",
        re.compile(r"(?<![\w-])\d{3}[ -]?\d{3}[ -]?\d{4}(?![\w-])"), checksums.nhs, 0.2, 0.95, _words("nhs"), digits=10
    ),
    Recogniser(
        "ES_DNI",
        re.compile(r"(?<![\w-])[XYZxyz\d]\d{7}-?[A-Za-z](?![\w-])"), checksums.dni, 0.8, 0.97, _ID_WORDS, digits=7
    ),
    Recogniser(
        "IN_AADHAAR", re.compile(r"(?<![\w-])[2-9]\d{3} ?\d{4} ?\d{4}(?![\w-])"), checksums.aadhaar, 0.3, 0.95,
        _words("aadhaar aadhar uidai uid"),
        digits=12,
    ),
    Recogniser(
        "ZIP_CODE", re.compile(r"(?<![\w-])\d{4,5}(?:-\d{3,4})?(?![\w-])"), None, 0.05, 0.85,
        _words("zip zipcode postcode postal plz"), digits=4
    ),
    Recogniser(
        "DATE_TIME",
        re.compile(r"(?<![\w/.-])(?:\d{1,2}/\d{1,2}/\d{2,4}|\d{4}-\d{2}-\d{2}|\d{1,2}\.\d{1,2}\.\d{4})(?![\w/-])"),
        None, 0.6, 0.9, _words("born birth birthday dob geboren née"), digits=4
    ),
    Recogniser(
        "CRYPTO_ADDRESS", re.compile(r"\b(?:bc1[02-9ac-hj-np-z]{25,60}|0x[0-9a-fA-F]{40})\b"), None, 0.8, 0.9,
        literals=("bc1", "0x"),
    ),
)  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+(?:'[a-z]+)?")


def find(text: str) -> Iterator[Finding]:
    """Everything of a known form, in no order and overlapping where forms do."""
    if _TOLD.search(text) is None and (text.isascii() or not any(one.isdigit() for one in text)):
        return
    digits = len(_DIGIT.findall(text))
    for recogniser in RECOGNISERS:
        if digits < recogniser.digits or not any(literal in text for literal in recogniser.literals):
            continue
        for match in recogniser.pattern.finditer(text):
            if recogniser.check is not None and not _passes(recogniser.check, match[0]):
                continue
            score = recogniser.alone
            if recogniser.words and _stands_near(recogniser.words, text, match.start(), match.end()):
                score = recogniser.near
            yield Finding(match.start(), match.end(), recogniser.entity, score)


def _passes(check: Callable[[str], bool], number: str) -> bool:
    if check is checksums.ip_address or check is phone:
        return check(number)
    return check(_BLANKS.sub("", number))


def _stands_near(words: frozenset[str], text: str, start: int, end: int) -> bool:
    """Whether one of the words stands, whole, shortly before or after."""
    before = text[max(0, start - CONTEXT_CHARACTERS) : start]
    around = before + " " + text[end : end + _AFTER]
    return any(word.lower() in words for word in _WORD.findall(around))
