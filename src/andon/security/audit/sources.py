"""Where a log is read from: its folder, or an address that serves the same paths.

Reads only, and only what the layout knows; every answer is bounded. It trusts nothing: whoever calls checks hashes.
"""

from __future__ import annotations

import http.client
import ssl
from collections import OrderedDict
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from andon.kernel.errors import Refused, Transient
from andon.kernel.loopback import is_loopback
from andon.security.audit import tiles
from andon.security.audit.hashing import HASH_BYTES, node_hash
from andon.security.audit.tiles import HEIGHT, WIDTH

BYTES_MAX: Final = 2**26
TIMEOUT_S: Final = 10.0
TILES_KEPT: Final = 256
LOOKS: Final = 5  # at a file that its writer may be replacing


class LogSource(Protocol):
    """A log as others see it."""

    def read(self, path: str) -> bytes | None:
        """The bytes at a path of the layout; None where there is nothing. Raises `Transient`."""
        ...


class FolderSource:
    """A log in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        """Raises `Refused` if there is none."""
        if not folder.is_dir():
            raise Refused(
                "audit_log_missing", f"There is no log in {folder}.", hint="Give its folder or address."
            )
        self.folder = folder

    def read(self, path: str) -> bytes | None:
        """As the port says."""
        try:
            with (self.folder / path).open("rb") as file:
                data = file.read(BYTES_MAX + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Transient(
                "audit_log_unreadable",
                f"{self.folder / path} cannot be read: {error.strerror}.",
                hint="See to it.",
            ) from error
        return None if len(data) > BYTES_MAX else data


class HttpSource:
    """A log behind an address, such as http://127.0.0.1:8791/v1/audit/log."""

    def __init__(self, url: str, key: str = "", authority: Path | None = None) -> None:
        """`key` is sent as bearer; `authority` is a file of certificates to trust. Raises `Refused`."""
        parts = urlsplit(url.rstrip("/"))
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Refused(
                "url_invalid", f"'{url}' is not an address.", hint="Such as https://host:8791/v1/audit/log"
            )
        if key and parts.scheme == "http" and not is_loopback(parts.hostname):
            raise Refused(
                "url_invalid",
                f"http to {parts.hostname} would send the key in the open.",
                hint="Use https, or read the log's folder.",
            )
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path
        self._tls = (
            ssl.create_default_context(cafile=None if authority is None else str(authority))
            if parts.scheme == "https"
            else None
        )
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._url = url

    def read(self, path: str) -> bytes | None:
        """As the port says."""
        connection = (
            http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
            if self._tls is None
            else http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=self._tls)
        )
        try:
            connection.request("GET", f"{self._path}/{path}", headers=self._headers)
            answer = connection.getresponse()
            data = answer.read(BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            raise Transient(
                "audit_log_unreadable", f"{self._url} does not answer: {error}.", hint="Try again later."
            ) from error
        finally:
            connection.close()
        if answer.status == 404:
            return None
        if answer.status != 200 or len(data) > BYTES_MAX:
            raise Transient(
                "audit_log_unreadable",
                f"{self._url} answered {answer.status}.",
                hint="401 and 403: give a key that may read the log.",
            )
        return data


def open_source(place: str, key: str = "", authority: Path | None = None) -> LogSource:
    """A log by its folder (or the home around it) or its address. Raises `Refused`."""
    if place.startswith(("http://", "https://")):
        return HttpSource(place, key, authority)
    folder = Path(place)
    for inner in (folder / ".andon" / "audit", folder / "audit"):
        if not (folder / tiles.CHECKPOINT).exists() and (inner / tiles.CHECKPOINT).exists():
            return FolderSource(inner)
    return FolderSource(folder)


class Nodes:
    """Nodes of the tree of `size` leaves, computed from tiles. Looks up by (height, index)."""

    def __init__(self, source: LogSource, size: int) -> None:
        self._source = source
        self.size = size
        self._tiles: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    def __call__(self, height: int, index: int) -> bytes:
        """Raises `Refused` (`audit_tile_missing`) where the log does not have what it should."""
        level, inner = divmod(height, HEIGHT)
        number, at = divmod(index << inner, WIDTH)
        tile = self._tile(level, number)
        hashes = [tile[HASH_BYTES * one : HASH_BYTES * (one + 1)] for one in range(at, at + (1 << inner))]
        if len(hashes[-1]) != HASH_BYTES:
            raise missing(tiles.tile_path(level, number))
        while len(hashes) > 1:
            hashes = [node_hash(hashes[one], hashes[one + 1]) for one in range(0, len(hashes), 2)]
        return hashes[0]

    def _tile(self, level: int, number: int) -> bytes:
        kept = self._tiles.get((level, number))
        if kept is not None:
            self._tiles.move_to_end((level, number))
            return kept
        width = tiles.width_at(self.size, level, number)
        data = read_part(self._source, tiles.tile_path(level, number), width) if width else None
        if data is None:
            raise missing(tiles.tile_path(level, number, width or WIDTH))
        self._tiles[(level, number)] = data[: HASH_BYTES * width]
        if len(self._tiles) > TILES_KEPT:
            self._tiles.popitem(last=False)
        return self._tiles[(level, number)]


def read_part(source: LogSource, path: str, width: int) -> bytes | None:
    """A tile or bundle that should hold `width`; the full one where the partial one has gone."""
    if width < WIDTH:
        partial = source.read(f"{path}.p/{width}")
        if partial is not None:
            return partial
    return source.read(path)


def read_entries(source: LogSource, number: int, size: int) -> list[bytes]:
    """The entries of a bundle in a log of `size`. Raises `Refused` where they are not there."""
    width = tiles.width_at(size, 0, number)
    data = read_part(source, tiles.entries_path(number), width)
    if data is None:
        raise missing(tiles.entries_path(number, width))
    entries = tiles.unpack_entries(data)
    if len(entries) < width:
        raise missing(tiles.entries_path(number, width))
    return entries[:width]


def read_payloads(folder: Path, number: int, size: int) -> dict[int, bytes]:
    """The ciphertexts of a bundle, from the log's own folder, which may grow meanwhile. Raises `Refused`."""
    width = tiles.width_at(size, 0, number)
    path = folder / tiles.payload_path(number)
    for _ in range(LOOKS):
        partial = path.with_name(path.name + ".p")
        widths = [int(one.name) for one in partial.glob("*") if one.name.isdecimal()]
        places = [path, *([partial / str(max(widths))] if widths else [])]
        for place in places:
            try:
                payloads = tiles.unpack_payloads(place.read_bytes())
            except FileNotFoundError:
                continue  # there is none, or a wider one has just taken its place
            return {at: data for at, data in payloads.items() if at < width}
        if not widths:
            break
    return {}


def missing(path: str) -> Refused:
    """What is said of a file that a log of its size must have."""
    return Refused(
        "audit_tile_missing", f"{path} is missing or too short.", hint="Compare the log with a copy."
    )
