"""The way to a backend of OpenLineage over HTTP: one event at a time, as Marquez and its like take them.

Says of each batch what was taken. A batch that broke off is sent again from its beginning: events have ids of their
own by run and state, so a backend sees them at least once. Redirects are not followed: the key is for this address.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import requests

from andon.kernel.errors import Transient
from andon.kernel.telemetry import Taken

TIMEOUT_S: Final = 10.0
PATH: Final = "/api/v1/lineage"
_AGAIN: Final = frozenset((401, 403, 404, 408, 425, 429))  # a key or address that is put right later


class LineageSender:
    """One address. Blocking; used by one thread."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/") if urlsplit(url).path.strip("/") else url.rstrip("/") + PATH
        self._session = requests.Session()
        self._session.trust_env = False
        self.token = ""  # set before each batch

    def send(self, batches: Sequence[Sequence[dict[str, Any]]]) -> Taken:
        """Events in order. Raises `Transient` where they must be sent again."""
        sent, rejected, reason = 0, 0, ""
        for event in (event for batch in batches for event in batch):
            status = self._post(event)
            if status < 300:
                sent += 1
                continue
            if status in _AGAIN or status >= 500:
                raise Transient("lineage_unreachable", f"The lineage backend answered {status}.")
            rejected, reason = rejected + 1, f"status {status}"
        return Taken(sent, rejected, reason)

    def close(self) -> None:
        """Let go."""
        self._session.close()

    def _post(self, event: dict[str, Any]) -> int:
        headers = {"content-type": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        try:
            with self._session.post(
                self._url,
                data=msgspec.json.encode(event),
                headers=headers,
                timeout=TIMEOUT_S,
                allow_redirects=False,
                stream=True,  # the body of an answer is never read: it may be endless
            ) as answer:
                return answer.status_code
        except requests.RequestException as error:
            raise Transient("lineage_unreachable", "The lineage backend did not answer.") from error
