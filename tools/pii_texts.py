"""Texts with personal data that nobody has: templates of our own words, filled with made-up values, by a seed.

Part of what the tagger of names is trained on (`tools/train_pii.py`). Values come from lists of common names and from
syllables; whoever is called so is so by chance.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from andon.security.guards.pii.words import LISTS

Span = tuple[int, int, str]


class Sample(NamedTuple):
    """One text and what is personal in it."""

    text: str
    spans: list[Span]
    template: str


TEMPLATES = """
Hi, this is {PERSON} from {GPE}. Could somebody ring me back?
Good morning {PERSON}, thanks for your message. Kind regards, {PERSON}
Dear {TITLE} {PERSON},\\nwe have received your letter of {DATE_TIME}.\\nSincerely,\\n{PERSON}\\n{TITLE}, {ORGANIZATION}
Please ship it to {PERSON}, {STREET_ADDRESS}, {GPE}.
The parcel for {PERSON} went to {STREET_ADDRESS} by mistake.
Customer: {PERSON}\\nStreet: {STREET_ADDRESS}\\nCity: {GPE}\\nCountry: {GPE}
name: {PERSON}\\naddress: {STREET_ADDRESS}\\nphone: 555
Deliver to:\\n{PERSON}\\n{STREET_ADDRESS}\\n{ZIP_CODE} {GPE}
{PERSON}\\n{STREET_ADDRESS}\\n{GPE}, {GPE} {ZIP_CODE}
{PERSON}\\n{ORGANIZATION}\\n{STREET_ADDRESS}\\n{GPE}
> {PERSON}\\n> {STREET_ADDRESS}\\n> {GPE}
I live at {STREET_ADDRESS} in {GPE}, next to the station.
We are moving from {GPE} to {GPE} in spring.
My new address is {STREET_ADDRESS}, please change it.
Our branch is on {STREET_ADDRESS}, opposite the town hall.
Turn left at {STREET_ADDRESS} and walk on to {STREET_ADDRESS}.
{PERSON} works for {ORGANIZATION} as {TITLE}.
{PERSON}, {TITLE} at {ORGANIZATION}, will open the meeting.
{ORGANIZATION} has bought {ORGANIZATION}, a firm from {GPE}.
Shares of {ORGANIZATION} fell after {PERSON} left.
I was hired by {ORGANIZATION} on {DATE_TIME}.
My wife {PERSON} and our children {PERSON} and {PERSON} are insured too.
Has {PERSON} signed the contract yet? Ask {PERSON} about it.
{PERSON} told {PERSON} that {PERSON} would come later.
{PERSON}: I cannot log in.\\n{PERSON}: Which page do you see?
Agent: May I have your name? Customer: {PERSON}.
User: it is registered to {PERSON}\\nBot: thank you
The patient, a {AGE} year old {NRP} man, was seen by {TITLE} {PERSON}.
She is {AGE} and comes from {GPE}.
I am {AGE} years old, my sister is {AGE}.
He turned {AGE} on {DATE_TIME}.
A {AGE}-year-old woman was taken to hospital in {GPE}.
{PERSON} (born {DATE_TIME} in {GPE}) is a {NRP} painter.
The {NRP} government has denied it, said {PERSON}.
There is a good {NRP} restaurant near {STREET_ADDRESS}.
I speak {NRP} and a little {NRP}.
In {DATE_TIME} {PERSON} moved to {GPE} and joined {ORGANIZATION}.
The film, directed by {PERSON}, was shot in {GPE} in {DATE_TIME}.
{PERSON}'s latest book is set in {GPE}.
{PERSON}'s account has been closed.
"It was not my idea," said {PERSON}.
Have you met {PERSON}? She plays the cello.
Book a table for {PERSON} on {DATE_TIME}.
The flight from {GPE} to {GPE} is delayed.
Greetings from {GPE}!
{GPE} is lovely in autumn.
I grew up in {GPE} but studied in {GPE}.
ZIP {ZIP_CODE}
postcode {ZIP_CODE}, {GPE}
Send the invoice to {ORGANIZATION}, {STREET_ADDRESS}, {ZIP_CODE} {GPE}.
Signed: {PERSON}, {TITLE}
RE: {PERSON} / {ORGANIZATION}
From: {PERSON}\\nTo: {PERSON}\\nSubject: lunch
cc {PERSON} and {PERSON} please
i think {PERSON} has the key
my name is {PERSON} and i want to cancel
call me {PERSON}
It is {PERSON}.
Under {PERSON}, I believe.
{PERSON}
{PERSON}\\n{TITLE}
{GPE}, {GPE}
The corner of {STREET_ADDRESS} and {STREET_ADDRESS}
Is it {STREET_ADDRESS} or {STREET_ADDRESS}?
They met at {STREET_ADDRESS} on {DATE_TIME}.
The office of {ORGANIZATION} in {GPE} opens on {DATE_TIME}.
{TITLE} {PERSON} teaches at the University of {GPE}.
As a {TITLE} I know {PERSON} well.
Employment: {TITLE}, {ORGANIZATION}, {GPE}
As promised, {PERSON} sent {PERSON} the address: {STREET_ADDRESS}, {GPE}
A song by {PERSON} and {PERSON}, recorded in {GPE}.
{ORGANIZATION} was founded by {PERSON} and {PERSON} in {DATE_TIME}.
{ORGANIZATION}, {ORGANIZATION} and {ORGANIZATION} are our suppliers.
Thank you for calling {ORGANIZATION}, my name is {PERSON}, how can I help?
Contact {PERSON} ({TITLE}).
The claim of {PERSON} against {ORGANIZATION} was settled.
Please remove {PERSON} from the list.
No one told {PERSON}.
Hotel {ORGANIZATION}, {STREET_ADDRESS}, {GPE}
Stop at {STREET_ADDRESS}, then drive north.
Ring me on {PHONE_NUMBER} after six.
{PERSON}\n{ORGANIZATION}\n{STREET_ADDRESS}\nTel: {PHONE_NUMBER}\nFax: {PHONE_NUMBER}
Is {PHONE_NUMBER} still your number?
No reply from {PHONE_NUMBER} since {DATE_TIME}.
Phone:\n{PHONE_NUMBER}\nAddress:\n{STREET_ADDRESS}
Texts should go to {PHONE_NUMBER}, not to {PHONE_NUMBER}.
""".strip().split("\n")
# Texts with capitals and numbers in which nothing is personal.
PLAIN = """
Please restart the Gateway and check the Ledger afterwards.
Error 404: Not Found. Try again in 30 seconds.
The Quick Start Guide is in Chapter 3, Section 12.
Can you summarise the attached report in 5 points?
def main():\\n    Value = compute(42)\\n    return Value
SELECT Name, Total FROM Orders WHERE Year = 2024
Add 200 g of flour, 2 eggs and 1 cup of milk. Bake at 180 degrees.
Version 2.4.1 fixes 17 bugs and adds Dark Mode.
IMPORTANT: READ THIS FIRST!
How many planets have rings?
The meeting is in Room 204 at 15:30.
My order has not arrived, it is number 88231.
I want to change my PIN. Where do I click?
Terms and Conditions apply. See Annex B.
Wisdom is better than Gold, the old book says.
What is the balance of my account?
GET /v1/models HTTP/1.1
Fix the typo in README.md, line 12.
The Board approved the Budget for Marketing.
Windows and Linux are supported; Python 3.11 or newer is needed.
Write a poem about Winter and the Sea.
Why does my Pod restart every 5 minutes?
The invoice total is 1,250.00 plus 19 % tax.
Translate this sentence: The Cat sat on the Mat.
Monthly Active Users grew by 12 %.
My Card was declined twice. What Now?
Could you block my card as soon as possible?
I would like a statement of the last 3 months.
Awarded Employee of the Month two times.
Act 2, Scene 1. Enter the King with a Crown.
Step 1: Open Settings. Step 2: Press Save.
Comedy, Drama, Action & Adventure
Energetic salesperson with 10 years of experience in retail.
""".strip().split("\n")

_SYLLABLES = (
    "ka mi to ren sha lo vik bar dun fel gor han jor kel lan mar nor pol ras sen tor ul ver wil yan zem bri cho dra el "
    "fra gle hol is jan kra lud mol nik ost pra ros ska ste tra vla wes zor ad ber cas dom er fin gal hed ing"
).split()
_SURNAME_ENDS = (
    "son sen ov ova ski ska ez es ini elli man mann berg stein quist strom dottir wicz enko ian yan er es a o i son "
    "ton ley"
).split()
_STREET_FORMS = (
    "{n} {w} {s}", "{n} {w} {w} {s}", "{w}{t} {n}", "{w} {n}", "{s} {w} {n}", "{n} {s} {w}", "{n} {w} {s} Apt. {n}",
    "{w}{t} {n}, {n}", "{s} {w} {n}, apt. {n}", "{n} {w} {s}\\nSuite {n}", "{w} {s}", "{w}{t}", "{n}", "{s} {w}",
    "{n} {w}{t} Apt. {n}\\n{w}, {c} {z}", "Suite {n}", "Apt. {n}", "{w} {w}",
)  # fmt: skip
_TAILS = (
    "straße",
    "strasse",
    "gatan",
    "vägen",
    "gade",
    "vej",
    "weg",
    "laan",
    "straat",
    "katu",
    "tie",
    "gasse",
    "platz",
)
_FIRM_FORMS = (
    "{w} {f}", "{w} and {w}", "{w}, {w} and {w}", "{w}-{w}", "{w} {f} {F}", "{w}", "{g} {w} {f}", "{w} {w} {F}", "i{l}",
    "{w}{l}", "{W}", "{l} {f}",
)  # fmt: skip


class Maker:
    """Fills templates, from one seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - texts to train on, no secrets
        self._lists = {name: sorted(words) for name, words in LISTS.items()}
        self._kinds: dict[str, Callable[[], str]] = {
            "PERSON": self._person,
            "GPE": self._place,
            "STREET_ADDRESS": self._street,
            "ORGANIZATION": self._firm,
            "TITLE": self._title,
            "NRP": lambda: self._case(self._pick("people"), 0.9),
            "AGE": lambda: str(self._random.randint(1, 99)),
            "DATE_TIME": self._date,
            "ZIP_CODE": self._code,
            "PHONE_NUMBER": self._phone,
        }

    def samples(self, count: int) -> Iterator[Sample]:
        """So many texts, one in six of them without anything personal."""
        for _ in range(count):
            if self._random.random() < 1 / 6:
                text = self._random.choice(PLAIN).replace("\\n", "\n")
                yield Sample(text, [], text)
            else:
                yield self._fill(self._random.choice(TEMPLATES))

    def _fill(self, template: str) -> Sample:
        text, spans = "", []
        for part in re.split(r"(\{[A-Z_]+\})", template.replace("\\n", "\n")):
            if part.startswith("{"):
                entity = part[1:-1]
                value = self._kinds[entity]()
                spans.append((len(text), len(text) + len(value), entity))
                part = value
            text += part
        if self._random.random() < 0.06:
            text = text.lower() if self._random.random() < 0.5 else text.upper()
        return Sample(text, spans, template)

    def _pick(self, name: str) -> str:
        return self._random.choice(self._lists[name])

    def _case(self, word: str, share: float) -> str:
        return word.capitalize() if self._random.random() < share else word

    def _word(self) -> str:
        return "".join(self._random.choices(_SYLLABLES, k=self._random.randint(1, 3))).capitalize()

    def _surname(self) -> str:
        name = "".join(self._random.choices(_SYLLABLES, k=self._random.randint(1, 2)))
        return (name + self._random.choice(_SURNAME_ENDS)).capitalize()

    def _person(self) -> str:
        given = self._pick("given").capitalize() if self._random.random() < 0.6 else self._word()
        form = self._random.random()
        if form < 0.25:
            return given
        if form < 0.32:
            return self._surname()
        if form < 0.42:
            return f"{given} {chr(65 + self._random.randrange(26))}. {self._surname()}"
        if form < 0.48:
            return f"{given} {self._random.choice(('van', 'von', 'de', 'da', 'van der'))} {self._surname()}"
        if form < 0.54:
            return f"{given} {self._surname()}-{self._surname()}"
        if form < 0.6:
            return f"{given} {self._word()} {self._surname()}"
        return f"{given} {self._surname()}"

    def _place(self) -> str:
        form = self._random.random()
        if form < 0.5:
            word = self._pick("place")
            return word.upper() if len(word) < 4 or self._random.random() < 0.1 else word.capitalize()
        if form < 0.6:
            return self._word().upper()
        if form < 0.7:
            return f"{self._word()} {self._word()}"
        if form < 0.75:
            first = self._random.choice(("San", "Santa", "St.", "New", "North", "Port", "Bad", "Los"))
            return f"{first} {self._word()}"
        return self._word()

    def _street(self) -> str:
        form = self._random.choice(_STREET_FORMS).replace("\\n", "\n")
        return re.sub(r"\{(\w)\}", lambda match: self._street_part(match[1]), form)

    def _street_part(self, kind: str) -> str:
        if kind == "n":
            return str(self._random.randint(1, 10 ** self._random.randint(1, 5)))
        if kind == "s":
            return self._case(self._pick("street"), 0.8)
        if kind == "t":
            return self._random.choice(_TAILS)
        if kind == "c":
            return self._word()[:2].upper()
        return self._code() if kind == "z" else self._word()

    def _firm(self) -> str:
        form = self._random.choice(_FIRM_FORMS)
        parts: dict[str, Callable[[], str]] = {
            "w": self._surname, "W": lambda: self._word().upper(), "l": lambda: self._word().lower(),
            "f": lambda: self._pick("firm").capitalize(), "F": lambda: self._pick("firm").capitalize(),
            "g": lambda: self._pick("given").capitalize(),
        }  # fmt: skip
        return re.sub(r"\{(\w)\}", lambda match: parts[match[1]](), form)

    def _title(self) -> str:
        if self._random.random() < 0.4:
            return self._random.choice(("Mr.", "Mrs.", "Ms.", "Dr.", "mr.", "Prof."))
        word = self._pick("profession").capitalize()
        return word if self._random.random() < 0.5 else f"{self._pick('firm').capitalize()} {word.lower()}"

    def _date(self) -> str:
        draw = self._random.randint
        return self._random.choice(
            (
                str(draw(1930, 2026)), f"{draw(1, 12)}/{draw(1, 28)}/{draw(1930, 2026)}",
                f"{draw(1, 28)}.{draw(1, 12)}.{draw(1950, 2026)}", self._case(self._pick("date"), 0.95),
                f"{draw(1, 28)} {self._pick('date').capitalize()} {draw(1950, 2026)}",
            )
        )  # fmt: skip

    def _phone(self) -> str:
        forms = (
            "+## ## ### ## ##", "(###) ###-####", "###-###-####", "0### ## ## ##", "## ### ## ##",
            "+## (0)## ### ## ##",
            "### ####", "#### ####", "###.###.####x###", "001-###-###-####", "(##) ####-####", "0## ### ## ##",
            "##########",
        )  # fmt: skip
        return re.sub("#", lambda _: str(self._random.randint(0, 9)), self._random.choice(forms))

    def _code(self) -> str:
        draw = self._random.randint
        return self._random.choice(
            (str(draw(10000, 99999)), str(draw(1000, 9999)), f"{draw(1000, 99999)}-{draw(100, 999)}")
        )
