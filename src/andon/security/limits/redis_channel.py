"""The authority in Redis or Valkey: one connection, one script, batches in order.

Loaded only where `limits_url` is set (extra `redis`). Every failure of the store leaves here as OSError, so that there
is one way to be away. It never logs an address with a password.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio.connection import ConnectionPool
from redis.exceptions import MovedError, NoScriptError, RedisError

from andon.security.limits.script import SCRIPT

ANSWERS_KEPT_MS: Final = 600_000


class RedisChannel:
    """A `Channel`. `identity` names this run of the gateway: a later one must not be taken for it."""

    def __init__(
        self, url: str, factory: str, identity: str, *, password: str = "", ca_file: str = ""
    ) -> None:
        self._url = url
        self._options: dict[str, Any] = {"socket_timeout": None, "socket_connect_timeout": 1.0}
        if password:
            self._options["password"] = password
        if ca_file:
            self._options["ssl_ca_certs"] = ca_file
        tag = f"andon:{{{factory}}}"
        self._identity = identity
        self._held = f"{tag}:held:"
        self._own = (f"{tag}:alive", f"{self._held}{identity}", f"{tag}:answers:{identity}")
        self._place: dict[str, Any] = {}  # where a cluster has sent us
        self._connection: Any = None
        self._digest = ""

    async def open(self) -> None:
        """Connect, authenticate and load the script. Raises OSError."""
        try:
            options = {**self._options, **self._place}
            pool: Any = ConnectionPool.from_url(self._url, **options)
            self._connection = pool.make_connection()
            await self._connection.connect()
            await self._connection.send_command("SCRIPT", "LOAD", SCRIPT)
            found = await self._connection.read_response()
            self._digest = found.decode() if isinstance(found, bytes) else str(found)
        except RedisError as error:
            raise OSError(f"the store of counters: {error}") from error

    async def send(self, number: int, keys: Sequence[str], payload: bytes) -> None:
        """Write one batch. Raises OSError."""
        connection = self._connection
        words = (
            *("EVALSHA", self._digest, 3 + len(keys), *self._own, *keys),
            *(self._identity, number, payload, self._held, ANSWERS_KEPT_MS),
        )
        try:
            await connection.send_packed_command(connection.pack_command(*words), check_health=False)
        except RedisError as error:
            raise OSError(f"the store of counters: {error}") from error

    async def receive(self) -> bytes:
        """The answer to the oldest batch without one. Raises OSError."""
        try:
            answer: bytes = await self._connection.read_response(disable_decoding=True)
        except MovedError as error:
            self._place = {"host": error.host, "port": error.port}
            raise OSError("the store's slot is at another node") from error
        except NoScriptError as error:  # somebody flushed the scripts: `open` loads it again
            raise OSError("the store has forgotten the script") from error
        except RedisError as error:
            self._place = {}
            raise OSError(f"the store of counters: {error}") from error
        return answer

    async def close(self) -> None:
        """Let go of the connection, whatever state it is in."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
