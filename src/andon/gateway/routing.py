"""Which path means what, and which name means which endpoint: tables built from each snapshot, looked up per request.

Used by `gateway/gateway`. Names of models are part of paths in the Open Inference Protocol, so those paths are in the
table too; everything else is answered by `gateway/metadata` or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from andon.gateway.dialects import oip, openai
from andon.kernel.errors import Refused
from andon.kernel.exchange import Dialect, Exchange, Operation
from andon.kernel.snapshot import EndpointEntry, ReleaseEntry, Snapshot

Read = Callable[[Exchange], Refused | None]
BODY_BYTES_MAX: Final = 64 * 1024  # of a request whose path no endpoint has

OPENAI_ROUTES: Final = (
    (b"/v1/chat/completions", Operation.CHAT, openai.read_chat),
    (b"/v1/completions", Operation.COMPLETION, openai.read_completion),
    (b"/v1/embeddings", Operation.EMBEDDING, openai.read_embedding),
)


class Route:
    """A path that asks for inference (POST only)."""

    __slots__ = ("dialect", "endpoint", "name", "operation", "read", "release", "version")

    def __init__(self, dialect: Dialect, operation: Operation, read: Read) -> None:
        self.dialect = dialect
        self.operation = operation
        self.read = read
        self.name = ""  # known from the path; empty = it is in the body
        self.endpoint: EndpointEntry | None = None
        self.release: ReleaseEntry | None = None  # the version that the path pins
        self.version = ""  # as the path writes it, where no release has it


class Routes:
    """One snapshot's paths and names."""

    __slots__ = ("body_bytes_max", "names", "paths", "snapshot")

    def __init__(self, snapshot: Snapshot | None) -> None:
        self.snapshot = snapshot
        self.paths: dict[bytes, Route] = {
            path: Route(Dialect.OPENAI, operation, read) for path, operation, read in OPENAI_ROUTES
        }
        self.names: dict[str, EndpointEntry] = {}
        self.body_bytes_max = BODY_BYTES_MAX
        for endpoint in snapshot.endpoints if snapshot is not None else ():
            if endpoint.protocol == "openai":
                self.body_bytes_max = max(self.body_bytes_max, endpoint.body_bytes_max)
            for name in (endpoint.name, *endpoint.aliases):
                self.names[name] = endpoint
                if endpoint.protocol == "oip":
                    self._add(endpoint, name)

    def _add(self, endpoint: EndpointEntry, name: str) -> None:
        model = quote(name, safe="").encode()
        self._put(b"/v2/models/%b/infer" % model, endpoint, name, None)
        for release in endpoint.releases:
            version = quote(oip.version_of(release.id), safe="").encode()
            self._put(b"/v2/models/%b/versions/%b/infer" % (model, version), endpoint, name, release)

    def _put(self, path: bytes, endpoint: EndpointEntry, name: str, release: ReleaseEntry | None) -> None:
        route = Route(Dialect.OIP, Operation.INFER, oip.read_infer)
        route.endpoint, route.name, route.release = endpoint, name, release
        self.paths[path] = route

    def find(self, path: bytes) -> Route | None:
        """The route of a path that the table does not have as it was written: escaped, or of an unknown model."""
        parts = path.split(b"/")
        if parts[:3] != [b"", b"v2", b"models"] or parts[-1] != b"infer" or len(parts) not in (5, 7):
            return None
        if len(parts) == 7 and parts[4] != b"versions":
            return None
        plain = [quote(unquote_to_bytes(part), safe="").encode() for part in parts]
        known = self.paths.get(b"/".join(plain))
        if known is not None:
            return known
        route = Route(Dialect.OIP, Operation.INFER, oip.read_infer)
        route.name = unquote_to_bytes(parts[3]).decode("utf-8", "replace")
        if len(parts) == 7:
            route.version = unquote_to_bytes(parts[5]).decode("utf-8", "replace")
        return route


class Router:
    """The routes in force."""

    def __init__(self) -> None:
        self.routes = Routes(None)

    def adopt(self, snapshot: Snapshot) -> Callable[[], None]:
        """Build the tables of a snapshot; the function returned puts them in force."""
        routes = Routes(snapshot)

        def put() -> None:
            self.routes = routes

        return put
