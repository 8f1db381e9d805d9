"""The ledger from Python: SQL in; Arrow, pandas or Polars out. A home's own files, or a factory over HTTP.

A home is read as it lies there, whether or not anything runs: its tables and what is not sealed yet. Engines and
data frames are imported when first needed. Nothing is ever written.
"""

from __future__ import annotations

import http.client
import importlib
import json
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import quote, urlsplit

from andon.kernel.clock import Clock, SystemClock
from andon.kernel.errors import AndonError, Refused, Transient
from andon.kernel.units import duration_s
from andon.ledger.queries import Bounds, Parameters

FOLDER = ".andon"
ROWS = 1_000_000
SECONDS = 60.0
GRACE_S = 30.0  # for the answer to arrive, beyond what the query may take
EXTRA = "pip install 'andon[observer]'"


class Result:
    """Rows of a query."""

    def __init__(self, table: Any, truncated: bool) -> None:
        self._table = table
        self.truncated = truncated  # there are more rows than were asked for

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def arrow(self) -> Any:
        """A `pyarrow.Table`."""
        return self._table

    def pandas(self) -> Any:
        """A `pandas.DataFrame`; needs pandas."""
        _load("pandas", "pip install pandas")
        return self._table.to_pandas()

    def polars(self) -> Any:
        """A `polars.DataFrame`; needs polars."""
        return _load("polars", "pip install polars").from_arrow(self._table)

    def rows(self) -> list[dict[str, Any]]:
        """Plain values, each row by its columns."""
        rows: list[dict[str, Any]] = self._table.to_pylist()
        return rows


class _Source(Protocol):
    """Where a ledger is asked."""

    def ask(self, sql: str, parameters: Parameters, bounds: Bounds) -> Result: ...
    def story(self, id_: str) -> dict[str, Any]: ...
    def close(self) -> None: ...


class Ledger:
    """One ledger. May be used in a `with` block; thread-safe."""

    def __init__(self, source: _Source, clock: Clock) -> None:
        self._source = source
        self._clock = clock

    def query(
        self, sql: str, parameters: Parameters = (), *, seconds: float = SECONDS, rows: int = ROWS
    ) -> Result:
        """Rows by SQL over the views (docs/ledger.md). Raises `Refused`, `Transient`."""
        return self._source.ask(sql, parameters, Bounds(seconds=seconds, rows=rows))

    def requests(
        self,
        *,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        endpoint: str = "",
        release: str = "",
        limit: int = ROWS,
    ) -> Result:
        """Answered requests, oldest first. Times are spans before now ("7d"), ISO 8601, or datetimes with a zone."""
        conditions, values = [], list[Any]()
        for text, sign in ((since, ">="), (until, "<")):
            if text is not None:
                conditions.append(f"at_ns {sign} ?")
                values.append(moment_ns(text, self._clock))
        for column, value in (("endpoint", endpoint), ("release", release)):
            if value:
                conditions.append(f"{column} = ?")
                values.append(value)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return self.query(f"SELECT * FROM requests{where} ORDER BY at_ns", values, rows=limit)  # noqa: S608  constants

    def request(self, id_: str) -> dict[str, Any]:
        """The whole story of one request. Raises `Refused` (404) for one that the ledger does not know."""
        return self._source.story(id_)

    def close(self) -> None:
        """Let go of files and memory."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Files:
    """A home on this machine."""

    def __init__(self, state: Path, tables: str, environment: Mapping[str, str] | None) -> None:
        engine = _load("andon.ledger.tables.engine", EXTRA)
        place = tables or str(state / "tables")
        self._engine = engine.open_engine(
            state / "ledger", state / "facts", state / "bodies", place, environment
        )
        self._story = _load("andon.ledger.tables.story", EXTRA)

    def ask(self, sql: str, parameters: Parameters, bounds: Bounds) -> Result:
        answer = self._engine.answer(sql, parameters, bounds)
        return Result(answer.table, answer.truncated)

    def story(self, id_: str) -> dict[str, Any]:
        found: dict[str, Any] = self._story.tell(self._engine, id_)
        return found

    def close(self) -> None:
        self._engine.close()


class _Remote:
    """A factory over HTTP: its admin API and a key that may query."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._parts = urlsplit(url)
        self._key = key

    def ask(self, sql: str, parameters: Parameters, bounds: Bounds) -> Result:
        given = dict(parameters) if isinstance(parameters, Mapping) else list(parameters)
        asked = {
            "sql": sql,
            "parameters": given,
            "seconds": bounds.seconds,
            "rows": bounds.rows,
            "format": "arrow",
        }
        answer, body = self._send("POST", "/v1/queries", asked, bounds.seconds)
        table = _load("andon.ledger.tables.export", EXTRA).decode(body)
        return Result(table, answer.getheader("x-andon-truncated") == "true")

    def story(self, id_: str) -> dict[str, Any]:
        _, body = self._send("GET", f"/v1/requests/{quote(id_, safe='')}", None, SECONDS)
        found: dict[str, Any] = json.loads(body)
        return found

    def close(self) -> None:
        """Every call has a connection of its own."""

    def _send(
        self, method: str, path: str, body: Any, seconds: float
    ) -> tuple[http.client.HTTPResponse, bytes]:
        host, port, timeout = self._parts.hostname or "", self._parts.port, seconds + GRACE_S
        connection = (
            http.client.HTTPSConnection(host, port, timeout=timeout, context=ssl.create_default_context())
            if self._parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=timeout)
        )
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        raw = None if body is None else json.dumps(body, default=str).encode()
        try:
            connection.request(method, self._parts.path.rstrip("/") + path, raw, headers)
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Transient(
                "control_unreachable", f"{self._url} did not answer: {error}.", hint="andon status"
            ) from error
        finally:
            connection.close()
        if answer.status >= 400:
            raise _problem(answer.status, data)
        return answer, data


def connect(
    home: str | Path = ".",
    *,
    key: str = "",
    tables: str = "",
    environment: Mapping[str, str] | None = None,
    clock: Clock | None = None,
) -> Ledger:
    """The ledger of a home (its folder, or the `.andon` in it), or of a factory at a URL with an administrator's key.

    `tables` says where a home's tables are if not in it: s3://bucket/prefix, reached as `environment` says in the
    names of the AWS tools. Raises `Refused` if there is none.
    """
    place, clock = str(home), clock or SystemClock()
    if place.startswith(("http://", "https://")):
        return Ledger(_Remote(place, key), clock)
    folder = Path(place)
    state = folder if folder.name == FOLDER else folder / FOLDER
    if not state.is_dir():
        raise Refused(
            "home_missing",
            f"There is no factory's home in {folder}.",
            hint="Give the folder that andon up was run in, or a URL with a key.",
        )
    return Ledger(_Files(state, tables, environment), clock)


def moment_ns(text: str | datetime, clock: Clock) -> int:
    """Wall time of "7d" (before now), of ISO 8601, or of a datetime; what has no zone is UTC. Raises `Refused`."""
    if isinstance(text, str):
        try:
            return clock.now_ns() - int(duration_s(text) * 1e9)
        except ValueError:
            pass  # not a span, so it is a moment
        try:
            text = datetime.fromisoformat(text)
        except ValueError as error:
            raise Refused(
                "moment_invalid",
                f"'{text}' is neither a span nor a moment.",
                hint="Write 30m, 7d, or 2026-11-22T10:00:00Z.",
            ) from error
    seconds = (text if text.tzinfo else text.replace(tzinfo=UTC)).timestamp()
    return int(seconds * 1e6) * 1000


def _problem(status: int, data: bytes) -> AndonError:
    try:
        problem = json.loads(data)
    except ValueError:
        problem = {}
    kind = Transient if status in (429, 502, 503, 504) else Refused
    return kind(
        str(problem.get("code", "unknown")),
        str(problem.get("detail", f"The server answered {status}.")),
        hint=str(problem.get("hint", "")),
        status=status,
        param=problem.get("param"),
    )


def _load(module: str, install: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise Refused(
            "extra_missing", f"This needs {error.name}, which is not installed.", hint=install
        ) from error
