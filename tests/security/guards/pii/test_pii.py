"""Personal data: forms and their check digits, names, hostile texts, the weights that are shipped."""

from __future__ import annotations

import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.kernel.errors import Refused
from andon.security.guards.pii import checksums
from andon.security.guards.pii.detector import ENTITIES, IDENTIFYING, PiiDetector
from andon.security.guards.pii.features import tokenise
from andon.security.guards.pii.tagger import Tagger
from andon.security.guards.pii.weights import Weights, load_weights
from tools.pii_texts import Maker, Sample
from tools.train_pii import examples, material_of, pack, read_samples, train

ALL = PiiDetector(ENTITIES)
DATA = Path(__file__).resolve().parents[4].parent / "shared/data/pii/presidio_synth_v2_dev.json.gz"


def found(text: str) -> list[tuple[str, str]]:
    return [(finding.entity, text[finding.start : finding.end]) for finding in ALL.scan(text)]


@pytest.mark.parametrize(
    ("text", "entity", "value"),
    [
        ("write to ann.lee+x@mail.example.co.uk today", "EMAIL_ADDRESS", "ann.lee+x@mail.example.co.uk"),
        ("card 4111 1111 1111 1111 please", "CREDIT_CARD", "4111 1111 1111 1111"),
        ("pay to DE89 3704 0044 0532 0130 00 now", "IBAN_CODE", "DE89 3704 0044 0532 0130 00"),
        ("my ssn is 219-09-9998", "US_SSN", "219-09-9998"),
        ("from 203.0.113.77 at noon", "IP_ADDRESS", "203.0.113.77"),
        ("from 2001:db8:85a3::8a2e:370:7334 at noon", "IP_ADDRESS", "2001:db8:85a3::8a2e:370:7334"),
        ("call me on +44 20 7946 0958 tonight", "PHONE_NUMBER", "+44 20 7946 0958"),
        ("ring (212) 555-0187", "PHONE_NUMBER", "(212) 555-0187"),
        ("her driver's license is F1234567", "US_DRIVER_LICENSE", "F1234567"),
        ("NHS 943 476 5919", "UK_NHS", "943 476 5919"),
        ("DNI 12345678Z", "ES_DNI", "12345678Z"),
        ("Aadhaar 2341 2341 2346", "IN_AADHAAR", "2341 2341 2346"),
        ("zip code 90210", "ZIP_CODE", "90210"),
    ],
)
def test_what_has_a_form_is_found(text: str, entity: str, value: str) -> None:
    assert (entity, value) in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "card 4111 1111 1111 1112 please",  # Luhn's digit is wrong
        "pay to DE89 3704 0044 0532 0130 01 now",
        "version 10.2.3 of the public library",
        "listen on 127.0.0.1 and 0.0.0.0",
        "order H1 is public, number 88231 of 120000",
        "the order number is 1234567890123456",
        "a commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "netmask 255.255.255.0",
    ],
)
def test_what_only_looks_like_it_is_not(text: str) -> None:
    named = {entity for entity, _ in found(text)}
    forms = {
        "CREDIT_CARD",
        "IBAN_CODE",
        "US_SSN",
        "IP_ADDRESS",
        "PHONE_NUMBER",
        "US_DRIVER_LICENSE",
        "EMAIL_ADDRESS",
    }
    assert not named & forms


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Hi, my name is Maria Petersen and I forgot my password.", "Maria Petersen"),
        ("Please change the name on the card to Jonas Bergström.", "Jonas Bergström"),
        ("Dear Mrs. Anna van der Berg,", "Anna van der Berg"),
    ],
)
def test_names_are_found_by_how_they_stand(text: str, value: str) -> None:
    assert any(entity == "PERSON" and value in text for entity, text in found(text))


@pytest.mark.parametrize(
    "text",
    [
        "What is the weather like on Tuesday?",
        "Please summarise the attached report in five points.",
        "The Gateway writes a row to the Ledger before the answer leaves.",
        "SELECT name FROM users WHERE id = 7",
        "",
        "\n\n\n",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert not PiiDetector(IDENTIFYING).scan(text)


@given(st.text(max_size=300))
def test_findings_are_in_order_apart_and_inside(text: str) -> None:
    findings = ALL.scan(text)
    assert findings == ALL.scan(text)
    at = 0
    for finding in findings:
        assert at <= finding.start < finding.end <= len(text)
        assert finding.entity in ENTITIES
        at = finding.end


@pytest.mark.parametrize(
    "piece", ["1-", "A ", "a@", "1 ", "+1 ", "A.", "0:", "https://a.", "aa11", "(", "x" * 50 + "@"]
)
def test_hostile_texts_take_time_in_proportion(piece: str) -> None:
    # Not timed: what would be worse than proportional would not end within the test's own limit.
    ALL.scan(piece * (60_000 // len(piece)))


@given(st.integers(min_value=0, max_value=10**15))
def test_luhns_digit_finds_every_single_wrong_digit(number: int) -> None:
    body = str(number)
    check = next(digit for digit in "0123456789" if checksums.luhn(body + digit))
    right = body + check
    for place, digit in enumerate(right):
        wrong = right[:place] + str((int(digit) + 1) % 10) + right[place + 1 :]
        assert not checksums.luhn(wrong)


def test_check_digits_of_known_numbers() -> None:
    assert checksums.iban("GB82WEST12345698765432")
    assert not checksums.iban("GB82WEST1234569876543")  # the country's are longer
    assert not checksums.iban("XX82WEST12345698765432")
    assert checksums.aadhaar("234123412346")
    assert not checksums.aadhaar("234123412364")  # two digits changed places: Verhoeff sees that
    assert checksums.dni("X1234567L")
    assert not checksums.us_ssn("000121234")
    assert not checksums.card("0000000000000000")


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    weights, version = load_weights()
    assert len(version) == 12
    assert "B-PERSON" in weights.tags
    path = tmp_path / "x"
    for content in (
        b"",
        b"rubbish",
        zlib.compress(b"\x91\x01"),
        zlib.compress(msgspec.msgpack.encode({"tags": 1})),
    ):
        path.write_bytes(content)
        with pytest.raises(Refused) as refused:
            load_weights(path)
        assert refused.value.code == "guard_weights_damaged"
    path.write_bytes(pack(weights))
    with pytest.raises(Refused):
        load_weights(path, digest="0" * 64)


def test_training_gives_the_same_weights_each_time_and_learns() -> None:
    samples = list(Maker(3).samples(150))
    first, second = train(examples(samples), rounds=3), train(examples(samples), rounds=3)
    assert pack(first) == pack(second)
    tagger = Tagger(first)
    sample = Sample("My name is Otto Berg.", [(11, 20, "PERSON")], "x")
    assert len(tagger.tag(tokenise(sample.text))) == 6
    assert isinstance(first, Weights)


def test_generated_texts_say_truly_what_is_personal_in_them() -> None:
    for sample in Maker(5).samples(300):
        for start, end, entity in sample.spans:
            assert sample.text[start:end].strip()
            assert entity in ENTITIES


def test_the_shipped_weights_are_those_of_the_data() -> None:
    if not DATA.exists():
        pytest.skip("the data that the weights were trained on is not here")
    weights, _ = load_weights()
    assert pack(train(material_of(read_samples(DATA)))) == pack(weights)
