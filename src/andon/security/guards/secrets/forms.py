"""Forms of credentials that their makers gave a form: prefixes, lengths, check sums.

Pure. Each form is as its maker documents it; where a maker puts a check sum inside, a number that fails it is not one.
Patterns are linear and begin with a literal, so that a text without that literal costs one search.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from andon.security.identity.token import public_id

_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


PEM_MAX: Final = 20_000  # characters of one private key
_PEM_BEGIN: Final = "-----BEGIN "
_PEM_END: Final = "-----END "
_PEM_HEAD: Final = re.compile(r"-----BEGIN (?:[A-Z0-9]{2,12} ){0,2}PRIVATE KEY(?: BLOCK)?-----")


class Form(NamedTuple):
    """One kind of credential. `group` of the pattern is the secret part."""

    entity: str
    literal: str  # in lower case; without it in the text the pattern is not tried
    pattern: re.Pattern[str]
    check: Callable[[str], bool] | None = None
    group: int = 0
    score: float = 0.99


def github(token: str) -> bool:
    """The last six characters are the CRC-32 of the thirty before them, in base 62 (GitHub, 2021)."""
    body = token.partition("_")[2]
    number = zlib.crc32(body[:-6].encode())
    spelt = ""
    for _ in range(6):
        number, rest = divmod(number, 62)
        spelt = _BASE62[rest] + spelt
    return spelt == body[-6:]


def json_web_token(token: str) -> bool:
    """The first part is a JSON object that names an algorithm (RFC 7515)."""
    head = token.partition(".")[0]
    try:
        found = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, binascii.Error):
        return False
    return isinstance(found, dict) and "alg" in found


def andon_key(token: str) -> bool:
    """A key of this product, by its own check sum."""
    return public_id(token.encode()) is not None


def varied(token: str) -> bool:
    """Not one letter again and again, nor a run such as abcdef or 123456: what examples are made of."""
    body = re.sub(r"[^A-Za-z0-9]", "", token)
    steps = {ord(right) - ord(left) for left, right in pairwise(body)}
    return len(set(body)) >= min(8, len(body) // 2) and len(steps) > 3


def password_in_url(password: str) -> bool:
    """Not a place for one: `user:password@`, `${PASSWORD}`, `<password>`, `***`."""
    lower = password.lower()
    return lower not in (
        "password",
        "pass",
        "passwd",
        "pwd",
        "secret",
        "token",
        "xxx",
        "xxxx",
        "user",
        "example",
    ) and not re.fullmatch(r"[*.xX]+|[<{$%\[].*", password)


def private_keys(text: str) -> Iterator[tuple[int, int]]:
    """Private keys in PEM (RFC 7468); one without its end reaches as far as a key could, or to the end of the text."""
    after = 0
    while True:
        begin = text.find(_PEM_BEGIN, after)
        if begin < 0:
            return
        head = _PEM_HEAD.match(text, begin)
        after = begin + len(_PEM_BEGIN)
        if head is None:
            continue
        limit = begin + PEM_MAX
        foot = text.find(_PEM_END, head.end(), limit)
        end = min(limit, len(text))
        if foot >= 0:
            dashes = text.find("-----", foot + len(_PEM_END), foot + 80)
            end = dashes + 5 if dashes >= 0 else min(foot + 80, len(text))
        yield begin, end
        after = end


def _of(pattern: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(pattern, flags)


FORMS: Final = (
    Form("andon_key", "sk-andon-", _of(r"\bsk-andon-[0-9a-z]{10}-[0-9A-Za-z]{33}-[0-9A-Za-z]{6}\b"), andon_key),
    *(Form("aws_access_key", kind.lower(), _of(rf"\b{kind}[A-Z2-7]{{16}}\b"), varied)
      for kind in ("AKIA", "ASIA", "ABIA", "ACCA")),
    Form("github_token", "gh", _of(r"\bgh[pousr]_[A-Za-z0-9]{36}\b"), github),
    Form("github_token", "github_pat_", _of(r"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b"), varied),
    Form("gitlab_token", "glpat-", _of(r"\bglpat-[A-Za-z0-9_-]{20,}"), varied),
    Form("slack_token", "xox", _of(r"\bxox[abeoprs]-(?:\d{8,14}-){1,3}[A-Za-z0-9]{16,64}\b"), varied),
    Form("slack_webhook", "hooks.slack.com",
         _of(r"hooks\.slack\.com/(?:services|workflows)/T[A-Z0-9]{7,12}/[A-Z0-9]{7,12}/[A-Za-z0-9]{16,32}")),
    *(Form("stripe_key", f"k_{mode}_", _of(rf"\b(?:sk|rk)_{mode}_[A-Za-z0-9]{{16,110}}\b"), varied)
      for mode in ("live", "test")),
    Form("stripe_webhook_secret", "whsec_", _of(r"\bwhsec_[A-Za-z0-9+/]{24,64}=*"), varied),
    Form("google_api_key", "aiza", _of(r"\bAIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"), varied),
    Form("google_oauth_secret", "gocspx-", _of(r"\bGOCSPX-[A-Za-z0-9_-]{28}(?![A-Za-z0-9_-])"), varied),
    Form("google_oauth_token", "ya29.", _of(r"\bya29\.[A-Za-z0-9_-]{30,300}"), varied),
    Form("anthropic_key", "sk-ant-", _of(r"\bsk-ant-[a-z0-9]{3,10}-[A-Za-z0-9_-]{80,120}"), varied),
    Form("openai_key", "sk-", _of(r"\bsk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,200}"), varied),
    Form("openai_key", "t3blbkfj", _of(r"\bsk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}\b"), varied),
    Form("huggingface_token", "hf_", _of(r"\bhf_[A-Za-z]{34}\b"), varied),
    Form("npm_token", "npm_", _of(r"\bnpm_[A-Za-z0-9]{36}\b"), github),
    Form("pypi_token", "pypi-", _of(r"\bpypi-AgE[A-Za-z0-9_-]{50,250}"), varied),
    Form("sendgrid_key", "sg.", _of(r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])"), varied),
    Form("twilio_key", "sk", _of(r"\bSK[0-9a-f]{32}\b"), varied, 0, 0.8),
    Form("mailgun_key", "key-", _of(r"\bkey-[0-9a-f]{32}\b"), varied, 0, 0.85),
    Form("telegram_token", ":aa", _of(r"\b\d{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])"), varied),
    Form("discord_token", ".", _of(r"\b[MNO][A-Za-z\d_-]{23,25}\.[A-Za-z\d_-]{6}\.[A-Za-z\d_-]{27,38}(?![A-Za-z\d_-])"),
         varied, 0, 0.9),
    Form("digitalocean_token", "_v1_", _of(r"\bdo[opr]_v1_[0-9a-f]{64}\b"), varied),
    Form("databricks_token", "dapi", _of(r"\bdapi[0-9a-f]{32}(?:-\d)?\b"), varied),
    Form("shopify_token", "shp", _of(r"\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}\b"), varied),
    Form("vault_token", "hvs.", _of(r"\bhvs\.[A-Za-z0-9_-]{24,120}"), varied),
    Form("linear_key", "lin_api_", _of(r"\blin_api_[A-Za-z0-9]{40}\b"), varied),
    Form("azure_storage_key", "accountkey", _of(r"(?i)\bAccountKey=([A-Za-z0-9+/]{86}==)"), varied, 1),
    Form("age_key", "age-secret-key-", _of(r"\bAGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}\b")),
    Form("json_web_token", "eyj", _of(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{4,8000}"
             r"(?:\.[A-Za-z0-9_-]{0,1400})?"),
         json_web_token, 0, 0.95),
    Form("password_in_url", "://",
         _of(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@\"'<>]{1,80}:([^\s:/@\"'<>]{3,100})@[\w.-]"),
         password_in_url, 1, 0.9),
    Form("basic_credentials", "basic ",
         _of(r"(?i)\bauthorization[\"']?\s*[:=]\s*[\"']?basic ([A-Za-z0-9+/]{8,400}={0,2})"),
         None, 1, 0.95),
    Form("bearer_token", "bearer ",
         _of(r"(?i)\bauthorization[\"']?\s*[:=]\s*[\"']?bearer ([A-Za-z0-9._~+/-]{20,2000}=*)"),
         varied, 1, 0.9),
)  # fmt: skip
