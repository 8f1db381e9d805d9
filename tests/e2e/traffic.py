"""Clients that keep going: keep-alive connections, each request answered before the next, every failure remembered.

A request that found its kept connection closed before any byte of an answer is sent again on a new one, as HTTP
clients do (RFC 9110 §9.2.2, with the server's word that it closes only idle connections). So is one that could not
connect at all, while a process is being started again. Everything else is a failure that a user would have seen.
"""

from __future__ import annotations

import collections
import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Self

RESTART_S = 15.0


def rows(value: float = 1.0) -> bytes:
    """One row for a model of four features."""
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [value] * 4}
    return json.dumps({"inputs": [tensor]}).encode()


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """One client with one connection."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: bytes) -> Answer:
        """One exchange. Raises OSError or http.client.HTTPException for what a user would have seen."""
        deadline = time.monotonic() + RESTART_S
        while True:
            kept = self._connection is not None
            connection = self._connection or http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
            try:
                if not kept:
                    connection.connect()
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
                continue
            self._connection = None
            try:
                connection.request("POST", path, body, self._headers)
                response = connection.getresponse()
            except (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected):
                connection.close()
                if kept:
                    continue
                raise
            answer = Answer(
                response.status, {n.lower(): v for n, v in response.getheaders()}, response.read()
            )
            if response.will_close:
                connection.close()
            else:
                self._connection = connection
            return answer

    def infer(self, endpoint: str, value: float = 1.0) -> Answer:
        """One row through an endpoint."""
        return self.post(f"/v2/models/{endpoint}/infer", rows(value))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


@dataclass
class Traffic:
    """Several callers of one endpoint in threads, between `with` and its end."""

    port: int
    key: str
    endpoint: str
    callers: int = 4
    value: float = 1.0
    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    arms: collections.Counter[str] = field(default_factory=collections.Counter)
    failures: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(self.callers)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    @property
    def answered(self) -> int:
        return sum(self.statuses.values())

    def _call(self) -> None:
        caller = Caller(self.port, self.key)
        while not self._ending.is_set():
            try:
                answer = caller.infer(self.endpoint, self.value)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                continue
            self.statuses[answer.status] += 1
            self.arms[answer.headers.get("x-andon-arm", "")] += 1
            if answer.status != 200:
                self.failures.append(f"{answer.status} {answer.body[:200]!r}")
            self._ending.wait(0.002)  # two cores carry a whole factory and its clients
        caller.close()
