"""What makes a gateway of a proof a secured one: token, policies, guards in shadow and audit, on top of its limits.

Everything here is what a factory would apply: an issuer whose tokens carry roles and groups, eleven policies of the
kinds that the examples show, and every detector that is shipped with weights or forms, at every place. The auditor is
another process, off the path of requests, and not started: what the gateway does for it in closed mode is.
"""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from joserfc import jwt
from joserfc.jwk import KeySet

from andon.kernel.clock import SystemClock
from andon.kernel.snapshot import BindingEntry, GuardEntry, IssuerEntry, PolicyEntry, Snapshot
from andon.security.policy.model import PolicySpec, text_of
from andon.testing.issuer import make_key
from benchmarks.harness import PAYLOADS

HOUR_S: Final = 3600
# Above what an hour of any proof needs: no auditor runs here, and the mode is closed.
CLOSED: Final = {"ANDON_AUDIT_MODE": "closed", "ANDON_AUDIT_LAG_S": str(12 * HOUR_S)}
FRESH: Final = (
    b"order 00000000"  # a number in its place makes a text that nobody has seen; the stub repeats it
)
POLICIES: Final = """
@id("teams-call-their-own")
permit (principal, action in Action::"infer", resource is Endpoint)
when { principal.team != "" && principal.team == resource.team && context.labelRank <= principal.label };

@id("model-callers-call-all")
permit (principal in Role::"model-caller", action in Action::"infer", resource is Endpoint);

@id("everyone-sees-what-there-is")
permit (principal, action == Action::"models.list", resource);

@id("no-class-above-the-endpoint")
forbid (principal, action in Action::"infer", resource is Endpoint)
when { context.labelRank > resource.labelMax };

@id("trials-are-short")
forbid (principal in Role::"trial", action in Action::"infer", resource)
when { context.estimatedTokens > 8000 };

@id("contractors-in-day-shifts")
forbid (principal in Role::"contractor", action in Action::"infer", resource)
when { context.hour < 6 || context.hour > 20 };

@id("streams-are-bounded")
forbid (principal, action == Action::"infer.chat", resource)
when { context.stream && context.estimatedTokens > 100000 };

@id("pins-are-for-release-managers")
forbid (principal, action in Action::"infer", resource)
when { context.pathPinned }
unless { principal in Role::"release-manager" };

@id("stable-for-everyone")
permit (principal, action == Action::"serve", resource is Release)
when { resource.arm == "stable" };

@id("canary-for-those-who-want-it")
permit (principal in Role::"canary-tester", action == Action::"serve", resource is Release);

@id("no-answers-above-the-caller")
forbid (principal, action == Action::"serve", resource is Release)
when { resource.label > principal.label };
"""
GUARDS: Final = (
    GuardEntry(name="personal", detector="pii", places=("input", "context", "output"), action="redact"),
    GuardEntry(
        name="credentials", detector="secrets", places=("input", "context", "output"), action="redact"
    ),
    GuardEntry(name="attacks", detector="injection", places=("input", "context"), threshold=0.5),
)
_KEY: Final = make_key("proof", "ES256")
_ISSUER: Final = IssuerEntry(
    name="corp",
    issuer="https://sso.example.com/realms/factory",
    audiences=("andon",),
    authorised_parties=("crew-app",),
    keys=json.dumps(KeySet([_KEY]).as_dict(private=False)),
    roles_claim="realm_access.roles",
    groups_claim="groups",
    team_claim="team",
    label="confidential",
)


def _token() -> str:
    now_s = SystemClock().now_ns() // 10**9
    claims = {
        "iss": _ISSUER.issuer,
        "aud": "andon",
        "azp": "crew-app",
        "sub": "5f0c2a6e-9d0b-4a3c-8a0f-1f9f5f0e7a11",
        "preferred_username": "ann",
        "iat": now_s,
        "exp": now_s + 12 * HOUR_S,
        "team": "crew",
        "groups": ["/line/four", "/shift/early"],
        "realm_access": {"roles": ["canary-tester", "offline_access"]},
    }
    return jwt.encode({"alg": "ES256", "kid": "proof"}, claims, _KEY)


TOKEN_HEADER: Final[dict[str, str]] = {"authorization": f"Bearer {_token()}"}


def secure(content: Snapshot) -> Snapshot:
    """The same factory, secured."""
    text = text_of([PolicySpec(cedar=POLICIES, replaces=("role-model-user", "any-release"))])
    return msgspec.structs.replace(
        content,
        issuers=(_ISSUER,),
        bindings=(BindingEntry(name="line", subject="group:/line/four", roles=("operator",), issuer="corp"),),
        policy=PolicyEntry(digest=hashlib.sha256(text.encode()).hexdigest(), text=text),
        endpoints=tuple(_guarded(endpoint) for endpoint in content.endpoints),
    )


_guarded = partial(
    msgspec.structs.replace, guards=GUARDS, attributes={"team": "crew", "risk-tier": "high"}, label="internal"
)


def fresh_body(work: Path) -> Path:
    """The chat body with a place for a number in its user's text, so that no two requests say the same."""
    body = json.loads((PAYLOADS / "chat.json").read_bytes())
    said = body["messages"][-1]
    said["content"] = f"{FRESH.decode()}: {said['content'][len(FRESH) + 2 :]}"
    path = work / "fresh.json"
    path.write_text(json.dumps(body), encoding="utf-8")
    return path
