"""Where releases can be reached, as dispatch needs it: prebuilt paths and headers, breakers, requests in flight.

Rebuilt from each snapshot; a target that stays keeps its breaker and its count. Choosing is pure and synchronous.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from andon.gateway.breakers import Breaker
from andon.gateway.retries import RetryBudget
from andon.gateway.settings import GatewaySettings
from andon.kernel.errors import AndonError, Refused
from andon.kernel.exchange import Operation
from andon.kernel.random import Random
from andon.kernel.snapshot import EndpointEntry, ReleaseEntry, Snapshot, TargetEntry

Credentials = Callable[
    [str], str
]  # resolves a reference from memory or file; raises AndonError when it cannot

_OPENAI_PATHS = (
    (Operation.CHAT, b"/chat/completions"),
    (Operation.COMPLETION, b"/completions"),
    (Operation.EMBEDDING, b"/embeddings"),
)


class Target:
    """One target of one endpoint, as it is now."""

    __slots__ = (
        "breaker",
        "broken",
        "endpoint",
        "entry",
        "headers",
        "in_flight",
        "model",
        "paths",
        "probe",
        "probe_failures",
    )

    def __init__(self, entry: TargetEntry, endpoint: str, settings: GatewaySettings) -> None:
        self.entry = entry
        self.endpoint = endpoint
        self.model = entry.model or endpoint
        self.breaker = Breaker(settings)
        self.in_flight = 0
        self.probe_failures = 0
        self.broken = ""  # why it can never be used as configured
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        if entry.protocol == "openai":
            # A base URL may or may not end in /v1, as clients of this dialect write it.
            root = b"" if entry.url.rstrip("/").endswith("/v1") else b"/v1"
            self.paths = {operation: root + path for operation, path in _OPENAI_PATHS}
            self.probe = root + b"/models"
        else:
            self.paths = {Operation.INFER: b"/v2/models/%b/infer" % self.model.encode()}
            self.probe = b"/v2/health/ready"

    def admits(self, now: float) -> bool:
        """Whether a request may be sent here now."""
        return not self.broken and self.breaker.admits(now)


class ReleaseTargets:
    """The targets of one release, with the header lines that name it to clients."""

    __slots__ = ("arm", "endpoint", "head", "id", "targets")

    def __init__(self, entry: ReleaseEntry, endpoint: EndpointEntry, targets: tuple[Target, ...]) -> None:
        self.id = entry.id
        self.arm = entry.arm
        self.endpoint = endpoint
        self.targets = targets
        self.head = b"x-andon-release: %b\r\nx-andon-arm: %b\r\n" % (entry.id.encode(), entry.arm.encode())


def pick(targets: Sequence[Target], tried: Sequence[Target], now: float, random: Random) -> Target | None:
    """A target not yet tried, None if none is left: the less busy, by weight, of two drawn by chance.

    Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.
    """
    if len(targets) == 1:
        only = targets[0]
        return only if not tried and only.admits(now) else None
    able = [target for target in targets if target not in tried and target.admits(now)]
    count = len(able)
    if count < 2:
        return able[0] if able else None
    first = int(random.uniform() * count)
    second = (first + 1 + int(random.uniform() * (count - 1))) % count
    one, other = able[first], able[second]
    if (one.in_flight + 1) * other.entry.weight <= (other.in_flight + 1) * one.entry.weight:
        return one
    return other


class Table:
    """Every release of a snapshot by endpoint and id."""

    __slots__ = ("budgets", "releases", "stable", "targets")

    def __init__(self) -> None:
        self.releases: dict[tuple[str, str], ReleaseTargets] = {}
        self.stable: dict[str, ReleaseTargets] = {}
        self.targets: dict[tuple[str, str, str], Target] = {}
        self.budgets: dict[str, RetryBudget] = {}


class Targets:
    """The table in force. Dropped targets finish what they have in flight and are forgotten."""

    def __init__(self, settings: GatewaySettings, credentials: Credentials) -> None:
        self._settings = settings
        self._credentials = credentials
        self.table = Table()

    def adopt(self, snapshot: Snapshot) -> Callable[[], None]:
        """Build the table of a snapshot; the function returned puts it in force."""
        table = Table()
        for endpoint in snapshot.endpoints:
            table.budgets[endpoint.name] = self.table.budgets.get(endpoint.name) or RetryBudget(
                self._settings.retry_share, self._settings.retry_reserve
            )
            for release in endpoint.releases:
                targets = tuple(self._target(table, endpoint, entry) for entry in release.targets)
                built = ReleaseTargets(release, endpoint, targets)
                table.releases[endpoint.name, release.id] = built
                if release.arm == "stable":
                    table.stable[endpoint.name] = built

        def put() -> None:
            self.table = table

        return put

    def _target(self, table: Table, endpoint: EndpointEntry, entry: TargetEntry) -> Target:
        key = (endpoint.name, entry.id, entry.url)
        target = Target(entry, endpoint.name, self._settings)
        kept = self.table.targets.get(key)
        if kept is not None and kept.entry == entry:
            target = kept  # its breaker and its count go on
        if entry.credential:
            try:
                secret = self._credentials(entry.credential).strip()
                if not secret.isascii() or not secret.isprintable():
                    raise Refused("credential_unusable", "It holds what no header can carry.")
                target.headers = ((b"authorization", b"Bearer " + secret.encode("ascii")),)
                target.broken = ""
            except AndonError as error:
                # One provider without its secret must not keep a snapshot from serving all the others. What was
                # sent before is not sent again: it may have been revoked.
                target.headers = ()
                target.broken = f"credential {entry.credential} cannot be read: {error}"
        table.targets[key] = target
        return target
