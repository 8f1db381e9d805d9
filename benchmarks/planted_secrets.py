"""Documents with secrets planted in them, among values that look like secrets and are none; all made by a seed.

Kept apart from the detector: nothing here imports it, and its forms follow the makers' own documentation. Documents are
chats, environment files, YAML, JSON, Python, shell, logs and URLs, as they are pasted into prompts.
"""

from __future__ import annotations

import base64
import json
import random
import string
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


class Document(NamedTuple):
    """A text and its secrets: start, end, kind."""

    text: str
    secrets: list[tuple[int, int, str]]


class Drawer:
    """Draws secrets and their look-alikes."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def letters(self, count: int, alphabet: str = ALNUM) -> str:
        return "".join(self.random.choices(alphabet, k=count))

    def checked(self, prefix: str) -> str:
        """GitHub's and npm's form, with its check sum."""
        body, number, spelt = self.letters(30), 0, ""
        number = zlib.crc32(body.encode())
        for _ in range(6):
            number, rest = divmod(number, 62)
            spelt = BASE62[rest] + spelt
        return f"{prefix}_{body}{spelt}"

    def token(self) -> str:
        """A JSON Web Token."""
        parts = [
            {"alg": "RS256", "typ": "JWT"},
            {"sub": self.letters(10), "exp": self.random.randrange(10**9)},
        ]
        coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
        return ".".join([*coded, self.letters(86, ALNUM + "-_")])

    def pem(self) -> str:
        """A private key as a file holds it."""
        lines = "\n".join(self.letters(64, ALNUM + "+/") for _ in range(self.random.randint(2, 25)))
        kind = self.random.choice(("RSA ", "EC ", "", "OPENSSH "))
        return f"-----BEGIN {kind}PRIVATE KEY-----\n{lines}\n-----END {kind}PRIVATE KEY-----"

    def password(self) -> str:
        """As a generator of passwords makes them."""
        return self.letters(self.random.randint(10, 24), ALNUM + "!#%&*+-_") + str(self.random.randint(0, 9))

    def word(self) -> str:
        return self.random.choice(
            "river table orange window garden silver monday random letter system number".split()
        )

    def secret(self) -> tuple[str, str]:
        """A secret with a form: kind and text."""
        kinds: dict[str, Callable[[], str]] = {
            "aws": lambda: "AKIA" + self.letters(16, string.ascii_uppercase + "234567"),
            "github": lambda: self.checked(self.random.choice(("ghp", "gho", "ghs"))),
            "npm": lambda: self.checked("npm"),
            "slack": lambda: (
                f"xoxb-{self.letters(12, string.digits)}-{self.letters(12, string.digits)}-{self.letters(24)}"
            ),
            "stripe": lambda: f"sk_live_{self.letters(24)}",
            "google": lambda: "AIza" + self.letters(35, ALNUM + "-_"),
            "openai": lambda: f"sk-proj-{self.letters(self.random.randint(60, 140), ALNUM + '-_')}x",
            "anthropic": lambda: f"sk-ant-api03-{self.letters(93, ALNUM + '-_')}AA",
            "hf": lambda: "hf_" + self.letters(34, string.ascii_letters),
            "sendgrid": lambda: f"SG.{self.letters(22)}.{self.letters(43)}",
            "gitlab": lambda: "glpat-" + self.letters(20),
            "telegram": lambda: f"{self.letters(9, '123456789')}:AA{self.letters(33)}",
            "databricks": lambda: "dapi" + self.letters(32, HEX),
            "jwt": self.token,
            "pem": self.pem,
        }
        kind = self.random.choice(sorted(kinds))
        return kind, kinds[kind]()

    def lookalike(self) -> str:
        """What detectors cry at and what is no secret."""
        kinds: tuple[Callable[[], str], ...] = (
            lambda: self.letters(40, HEX),  # a commit
            lambda: "sha256:" + self.letters(64, HEX),
            lambda: "-".join(self.letters(count, HEX) for count in (8, 4, 4, 4, 12)),  # an identifier
            lambda: "data:image/png;base64," + self.letters(400, ALNUM + "+/"),
            lambda: f"https://cdn.example.org/{self.word()}/{self.letters(24)}.js?v={self.letters(12)}",
            lambda: f"arn:aws:s3:::{self.word()}-{self.letters(8, HEX)}",
            lambda: "req_" + self.letters(24),
            lambda: "chatcmpl-" + self.letters(29),
            lambda: f"/home/{self.word()}/.cache/{self.letters(32, HEX)}/blob",
            lambda: "integrity sha512-" + self.letters(86, ALNUM + "+/") + "==",
            lambda: f"{self.word()}_{self.word()}_{self.word()}_{self.random.randint(1, 99)}",
            lambda: "ghp_" + self.letters(36),  # the check sum is wrong
            lambda: "AKIA" + "X" * 16,
            lambda: str(self.random.randrange(10**15, 10**18)),
        )
        return self.random.choice(kinds)()

    def plain_assignment(self) -> str:
        """A line that names a secret and holds none."""
        name = self.random.choice(("password", "token", "api_key", "SECRET", "client_secret", "auth_token"))
        value = self.random.choice(
            (
                'os.environ["API_KEY"]', "${DB_PASSWORD}", "<your-token>", "changeme", "example", "********",
                "get_token()",
                "None", "env:OPENAI_KEY", "self.config.password", "required", "hunter_example", "{{ vault.password }}",
                "settings.SECRET_KEY", "string", "true", f"{self.word()}-{self.word()}-{self.word()}",
                "vault:kv/db#password",
                "request.headers['x-token']", "user_password_hash", f"{self.word()}{self.word()}",
            )
        )  # fmt: skip
        return f"{name} = {value}" if self.random.random() < 0.7 else f'{name}: "{value}"'


def plant(count: int, seed: int = 7) -> Iterator[Document]:
    """So many documents; six in ten hold secrets."""
    drawer = Drawer(seed)
    for _ in range(count):
        text, secrets = "", []
        for _ in range(drawer.random.randint(3, 9)):
            before, secret, kind, after = line(drawer)
            text += before
            if secret:
                secrets.append((len(text), len(text) + len(secret), kind))
            text += secret + after + "\n"
        yield Document(text, secrets)


def line(drawer: Drawer) -> tuple[str, str, str, str]:
    """One line: what stands before a secret, the secret (empty: there is none), its kind, what stands after it."""
    chance = drawer.random
    draw = chance.random()
    if draw < 0.3:
        return f"{drawer.word()} {drawer.word()}: {drawer.lookalike()}", "", "", ""
    if draw < 0.5:
        return drawer.plain_assignment(), "", "", ""
    if draw < 0.72:
        first, second = drawer.word(), drawer.word()
        return f"See the {first} of the {second}, the password page and its token field.", "", "", ""
    if draw < 0.88:
        kind, secret = drawer.secret()
        before, after = chance.choice(
            (
                ("export KEY=", ""),
                ("here it is: ", " ok?"),
                ('{"key": "', '"}'),
                ("curl -H 'x-api-key: ", "'"),
                ("", ""),
            )
        )
        return before, secret, kind, after
    if draw < 0.95:
        name = chance.choice(
            ("DB_PASSWORD", "password", "client_secret", "api_key", "SECRET_KEY", "auth_token")
        )
        quote = chance.choice(('"', "'", ""))
        value = drawer.password() if "PASS" in name.upper() else drawer.letters(chance.randint(24, 48))
        if not quote:
            value = "".join(letter for letter in value if letter.isalnum())
        return f"{name}={quote}", value, "assigned", quote
    host = f"@db.{drawer.word()}.internal:5432/app"
    return f"postgresql://{drawer.word()}:", drawer.letters(16), "url", host
