"""A client of the admin API on the standard library: JSON in, JSON out, problems as the kernel's errors.

One connection for each call; it never retries, because only the caller knows whether a verb may run twice.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from andon.kernel.errors import AndonError, Refused, Transient

TIMEOUT_S = 130.0  # longer than control waits for the observer, so that control can say who is away
SESSION_PREFIX = "andon-session-"  # of what `andon login` keeps; keys begin otherwise
LINE_BYTES_MAX = 16 * 2**20


class RemoteError(AndonError):
    """A problem that the server stated, with the fields at fault."""

    def __init__(self, problem: dict[str, Any], status: int) -> None:
        super().__init__(
            str(problem.get("code", "unknown")),
            str(problem.get("detail", f"The server answered {status}.")),
            hint=str(problem.get("hint", "")),
            status=status,
            param=problem.get("param"),
        )
        self.faults: list[dict[str, Any]] = problem.get("errors", [])


class Client:
    """Calls one control process."""

    def __init__(self, url: str, key: str, timeout_s: float = TIMEOUT_S, roots: Path | None = None) -> None:
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None:
            raise Refused(
                "url_invalid",
                "The address carries a user or password, which every process of this machine can read.",
                hint="Change that password; the key is read from .andon/admin.key.",
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Refused(
                "url_invalid",
                "What was given as --url is not an address.",
                hint="Write it as http://127.0.0.1:8791",
            )
        self.url = url
        self._parts = parts
        self._key = key
        self._timeout_s = timeout_s
        self._roots = roots  # certificates to trust besides the system's, if that file is there

    def within(self, timeout_s: float) -> Client:
        """The same calls, for one who would rather hear nothing than wait longer."""
        return Client(self.url, self._key, timeout_s, self._roots)

    def get(self, path: str, /, **query: Any) -> Any:
        """The decoded answer of a GET. Query values that are None or empty are left out."""
        return self._exchange("GET", path, query, None)

    def post(self, path: str, body: Any = None) -> Any:
        """The decoded answer of a POST."""
        return self._exchange("POST", path, {}, {} if body is None else body)

    def send(self, path: str, body: bytes, media_type: str) -> Any:
        """The decoded answer of a POST whose body is not JSON."""
        return self._exchange("POST", path, {}, body, media_type)

    def download(self, path: str, body: Any) -> tuple[bytes, bool]:
        """The answer of a POST as it came, and whether it was cut short."""
        connection, answer = self._send("POST", path, {}, body)
        try:
            if answer.status >= 400:
                raise self._problem(answer)
            return answer.read(), answer.getheader("x-andon-truncated") == "true"
        except (OSError, http.client.HTTPException) as error:
            raise _away(self.url, error) from error
        finally:
            connection.close()

    def follow(self, path: str, /, **query: Any) -> Iterator[dict[str, Any]]:
        """The data of each server-sent event, until the server or the caller ends it."""
        connection, answer = self._send("GET", path, {**query, "follow": "true"}, None)
        try:
            if answer.status >= 400:
                raise self._problem(answer)
            for line in _lines(answer):
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])
        except (OSError, http.client.HTTPException) as error:
            raise _away(self.url, error) from error
        finally:
            connection.close()

    def _exchange(
        self, method: str, path: str, query: dict[str, Any], body: Any, media_type: str = "application/json"
    ) -> Any:
        connection, answer = self._send(method, path, query, body, media_type)
        try:
            if answer.status >= 400:
                raise self._problem(answer)
            raw = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise _away(self.url, error) from error
        finally:
            connection.close()
        return json.loads(raw) if raw else None

    def _problem(self, answer: http.client.HTTPResponse) -> AndonError:
        error = _error(answer)
        if error.status == 401 and self._key.startswith(SESSION_PREFIX):
            return Refused(
                "session_over",
                f"Your session at {self.url} has ended.",
                hint="Sign in again: andon login. With andon logout, .andon/admin.key counts again.",
                status=401,
            )
        return error

    def _send(
        self, method: str, path: str, query: dict[str, Any], body: Any, media_type: str = "application/json"
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = connect(self.url, self._timeout_s, self._roots)
        given = {name: value for name, value in query.items() if value not in (None, "", False)}
        target = self._parts.path.rstrip("/") + path + ("?" + urlencode(given) if given else "")
        headers = {"accept": "application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        raw = None
        if body is not None:
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers["content-type"] = media_type
        try:
            connection.request(method, target, raw, headers)
            return connection, connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _away(self.url, error) from error


def connect(url: str, timeout_s: float, roots: Path | None) -> http.client.HTTPConnection:
    """A connection that will be opened by its first request; https trusts the system's roots and `roots`."""
    parts = urlsplit(url)
    if parts.scheme != "https":
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    context = ssl.create_default_context()
    if roots is not None and roots.is_file():
        context.load_verify_locations(roots)
    return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout_s, context=context)


def segment(text: str) -> str:
    """A value as one segment of a path."""
    return quote(text, safe="")


def _lines(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while line := answer.readline(LINE_BYTES_MAX):
        yield line.rstrip(b"\r\n")


def _error(answer: http.client.HTTPResponse) -> AndonError:
    raw = answer.read(LINE_BYTES_MAX)
    try:
        problem = json.loads(raw)
    except ValueError:
        problem = {}
    return RemoteError(problem if isinstance(problem, dict) else {}, answer.status)


def _away(url: str, error: Exception) -> AndonError:
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return Transient(
            "control_not_running",
            f"Nothing answers at {url}: the factory is not running.",
            hint="Start it with: andon up",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return Refused(
            "certificate_untrusted",
            f"The certificate of {url} is not one that is trusted here: {error.verify_message}.",
            hint="Give the factory's ca.pem with --ca FILE (or ANDON_CA_FILE), and an address that it names.",
        )
    return Transient(
        "control_unreachable",
        f"The control process at {url} did not answer: {error}.",
        hint="Look at it with: andon status",
    )
