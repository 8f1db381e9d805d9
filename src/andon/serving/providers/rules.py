"""Checks of a `Provider`, the target it becomes, and what a health check makes of its status. Pure.

A provider that fails its checks is still a target of last resort when all are unwell: that is for the caller to say.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from andon.control.kinds import Kind, Problem, World
from andon.kernel.loopback import is_loopback
from andon.kernel.references import WRITE_AS, parse_reference
from andon.kernel.snapshot import TargetEntry
from andon.serving.providers.model import PROVIDER, ProviderSpec, ProviderStatus
from andon.store.model import Record

_PATH = re.compile(r"(/[!-~]*)?")


def check_provider(spec: Any, record: Record, world: World) -> list[Problem]:
    """The URL may be used, and no secret stands in the file."""
    assert isinstance(spec, ProviderSpec)
    problems = _check_url(spec)
    if spec.credential and parse_reference(spec.credential) is None:
        # The value is not repeated: it may be the secret itself.
        problems.append(
            Problem(
                path="spec.credential",
                message="A credential is a reference, never the secret itself.",
                hint=WRITE_AS,
            )
        )
    if not _PATH.fullmatch(spec.health.path):
        problems.append(
            Problem(path="spec.health.path", message="A path begins with '/' and has no blanks in it.")
        )
    if spec.health.timeout_s > spec.health.period_s:
        problems.append(
            Problem(path="spec.health.timeoutS", message="A check must end before the next one begins.")
        )
    return problems


def _check_url(spec: ProviderSpec) -> list[Problem]:
    try:
        parts = urlsplit(spec.url)
        _ = parts.port
    except ValueError as error:
        return [Problem(path="spec.url", message=f"This is no URL: {error}.")]
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return [
            Problem(
                path="spec.url", message=f"'{spec.url}' is no http(s) URL.", hint="Write https://host/base."
            )
        ]
    problems: list[Problem] = []
    if parts.username is not None or parts.password is not None:
        problems.append(
            Problem(
                path="spec.url",
                message="The URL carries a user or password.",
                hint="Use spec.credential: secret:NAME, env:NAME or file:PATH.",
            )
        )
    if parts.query or parts.fragment:
        problems.append(Problem(path="spec.url", message="A base URL has no query and no fragment."))
    if parts.scheme == "http" and not spec.allow_insecure and not is_loopback(parts.hostname):
        problems.append(
            Problem(
                path="spec.url",
                message=f"http to {parts.hostname} would send keys and bodies in the open.",
                hint="Use https, or set allowInsecure: true on a network that you trust.",
            )
        )
    return problems


def target_of(name: str, spec: ProviderSpec, model: str = "") -> TargetEntry:
    """The provider as a target for a model as it is called here; empty = the endpoint's own name."""
    return TargetEntry(
        id=f"provider-{name}" if not model else f"provider-{name}-{model}",
        url=spec.url.rstrip("/"),
        protocol=spec.protocol,
        model=spec.models.get(model, model),
        credential=spec.credential,
        weight=spec.weight,
    )


def judge(spec: ProviderSpec, before: ProviderStatus, problem: str, now_ns: int) -> ProviderStatus:
    """The status after one more check; an empty problem means it answered well.

    One good answer makes it well again, `failures` bad ones in a row make it unwell.
    """
    if not problem:
        return ProviderStatus(healthy=True, checked_ns=now_ns)
    failures = before.failures + 1
    return ProviderStatus(
        healthy=before.healthy and failures < spec.health.failures,
        failures=failures,
        checked_ns=now_ns,
        reason=problem,
    )


PROVIDER_KIND = Kind(
    name=PROVIDER,
    plural="providers",
    short=("prov",),
    spec=ProviderSpec,
    summary="An upstream that others run: any OpenAI-compatible or Open Inference Protocol v2 URL.",
    check=check_provider,
    columns=(("PROTOCOL", "spec.protocol"), ("URL", "spec.url"), ("HEALTHY", "status.healthy")),
)
