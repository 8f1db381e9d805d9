"""Words to fill templates with: topics, people, works and trigger words of our own choosing.

Shared by the makers of attacks, ordinary requests and documents, so that no topic gives a class away.
"""

# ruff: noqa: E501, RUF001, RUF002  # words of many languages and templates, one a line
from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

WORDS: Mapping[str, Sequence[str]] = {
    key: tuple(part.strip() for part in value.split("|"))
    for key, value in {
        "topic": """tides|volcanoes|the printing press|sourdough bread|inflation|black holes|bicycle gears|honey bees|
            jazz harmony|the water cycle|urban planning|chess openings|vaccines|glaciers|coffee roasting|the stock market|
            prime numbers|coral reefs|the Roman senate|antibiotics|magnetism|sleep|public transport|photosynthesis|
            plate tectonics|supply chains|renewable energy|medieval trade|the immune system|pottery|migration of birds|
            compound interest|the French Revolution|neural networks|the human heart|desert plants|typography|sailing|
            rainwater harvesting|digital privacy|folk dances|earthquakes|the moon landing|electric cars|bridges""",
        "place": """Lisbon|Nairobi|Osaka|Toronto|Lima|Oslo|Cairo|Hanoi|Quito|Dublin|Accra|Prague|Perth|Vienna|Denver""",
        "name": """Anna Reyes|Tom Okafor|Mei Tanaka|Lars Holm|Priya Nair|Diego Cruz|Sara Levin|Omar Aziz|Eva Novak|
            Paul Meyer|Chloe Martin|Ivan Petrov|Grace Kim|Noah Brandt|Lucia Rossi""",
        "work": """poem|short story|limerick|haiku|speech|blog post|song|product description|fairy tale|dialogue|
            letter to a friend|news article|toast for a wedding|book review|monologue|ballad""",
        "profession": """chef|historian|nurse|tour guide|lawyer|carpenter|physicist|coach|journalist|teacher|detective|
            gardener|pilot|librarian|economist|security consultant|film critic|therapist|park ranger|accountant""",
        "language": """French|Spanish|German|Japanese|Swahili|Hindi|Italian|Korean|Polish|Arabic|Turkish|Portuguese""",
        "program": """Python|Java|Rust|C++|Go|JavaScript|Bash|SQL|TypeScript|Ruby|C|PowerShell""",
        "algorithm": """sorts a list|parses a log file|backs up a folder|counts words|checks a password's strength|
            validates an e-mail address|rotates log files|resizes images|monitors disk usage|scans open ports on our own hosts|
            hashes files|merges two tables|computes a moving average|reads sensor data|lists running processes|
            blocks addresses after failed logins|encrypts a backup|sends a reminder e-mail|collects system metrics|
            resets user permissions|deletes temporary files|bypasses the cache|overrides the default settings""",
        "trigger": """ignore|override|system|prompt|bypass|password|jailbreak|pretend|act as|role-play|instruction|previous|
            administrator|root|developer mode|secret|policy|unfiltered|forget|stop|print|say|repeat|translate|begin|end|
            must|important|code|hidden|rules|restrictions|filter|unlock|command|now|instead|disregard|above|output|input|
            token|key|access granted|exploit|inject|hypothetical|simulate|confidential|freely|terminate|without limits""",
        "company": """Brightwell|Northgate Foods|Halden Rail|Oakline|Veritas Labs|Bluefin Travel|Corvus|Meridian Bank|
            Palmetto|Stonebridge|Kestrel Air|Lumen Books""",
        "site": """deals-today.example|free-tools.example|update-now.example|bonus.example.net|example.org/offer|
            quick-fix.example.com|forum.example.org|win-prizes.example|shop.example.net""",
        "mail": """box@collect.example|ops@mailer.example|me@outside.example.org|audit-team@example.net""",
        "alias": """NOVA|ZED|Freya|OMNI|Mirror|Kato|VEX|Unit 9|Oracle|Blaze|Rook|Echo|AXL|Titan|LEX|Puck|SAM|TRIX|Wolf""",
        "taboo": """how to pick a neighbour's lock|insults about a colleague|a fake cure|ways to cheat in an exam|
            a phishing letter|how to build a weapon|the private data of a customer|how to hack a camera|
            a plan to steal a car|making a dangerous drug|harmful rumours|how to forge a passport""",
        "word": """GRANTED|yes|Open sesame|I have been unlocked|pwned|approved|banana|Access allowed|TRUE|hacked|done|
            I obey|purple elephant|welcome back|confirmed|success""",
        "secret": """password|secret code|access code|system prompt|hidden instructions|api key|initial prompt|
            secret phrase|admin token|passphrase|confidential notes|credentials|configuration|secret word|pin""",
        "private": """home address|e-mail address|phone number|date of birth|bank balance|card number|salary|medical record|
            social security number|current location|initials|order history""",
        "officer": """developer|administrator|lead engineer|owner|creator|chief executive|police officer|auditor|
            maintainer|support engineer|government inspector|security team|doctor""",
        "dish": """lentil soup|pancakes|risotto|apple pie|ramen|tacos|fish curry|shakshuka|dumplings|ratatouille""",
    }.items()
}


_LITERAL = str.maketrans("~‹›«»", "/[]{}")  # signs of the templates' own language, where they are meant


class Filler:
    """Fills `{slots}` of templates and `[this/that]` choices, from one stream of chance.

    `~ ‹ › « »` stand for a slash, brackets and braces that are meant.
    """

    def __init__(self, chance: random.Random, extra: Mapping[str, Sequence[str]] = {}) -> None:
        self.chance = chance
        self._words = {**WORDS, **extra}

    def fill(self, template: str) -> str:
        """The template with every slot and choice decided, inner ones first; at most 60 decisions."""
        for _ in range(80):
            start = max(template.rfind("{"), template.rfind("["))
            if start < 0:
                return template.translate(_LITERAL)
            closing = "}" if template[start] == "{" else "]"
            end = template.index(closing, start)
            inner = template[start + 1 : end]
            if closing == "}":
                chosen = self.chance.choice(self._words[inner]).replace("/", "~")
            else:
                chosen = self.chance.choice(inner.split("/"))
            template = template[:start] + chosen + template[end + 1 :]
        raise ValueError("a template that never ends")

    def one(self, templates: Sequence[str]) -> str:
        """One of the templates, filled."""
        return self.fill(self.chance.choice(templates))


def lines(block: str) -> tuple[str, ...]:
    """A block of templates, one a line; `\\n` in a line stands for a new line."""
    return tuple(line.strip().replace("\\n", "\n") for line in block.splitlines() if line.strip())
