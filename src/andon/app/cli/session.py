"""What every verb of the command line stands on: which factory, how to reach it, how to print.

Made once from the global options; nothing is read from disk before a verb asks.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from andon.app.cli.client import Client
from andon.app.cli.commands import load
from andon.app.cli.table import shown
from andon.kernel.errors import Refused

FORMATS = ("table", "wide", "json", "yaml", "name")
FACTORY_FILE = "factory.yaml"


@dataclass(frozen=True)
class Session:
    """The global options, and what follows from them."""

    home_given: Path | None = None
    url_given: str = ""
    roots_given: Path | None = None
    output: str = "table"
    colour: bool = False

    def home(self) -> Path:
        """The folder of the factory: the one given, else the nearest parent that holds one, else this folder."""
        if self.home_given is not None:
            return self.home_given
        here = Path.cwd()
        for folder in (here, *here.parents):
            if (folder / ".andon").is_dir() or (folder / FACTORY_FILE).is_file():
                return folder
        return here

    def client(self) -> Client:
        """A client of the control process; raises `Refused` if there is none or its key is unreadable."""
        return Client(self._url(), self.token() or self._admin_key(), roots=self.roots())

    def stranger(self) -> Client:
        """A client for somebody who has not signed in."""
        return Client(self._url(), "", roots=self.roots())

    def token(self) -> str:
        """The session of whoever has signed in to this factory; empty where nobody has."""
        given = os.environ.get("ANDON_TOKEN", "").strip()
        return given or str(self._tokens().get(self._url(), ""))

    def keep_token(self, token: str) -> None:
        """Remember a session, or forget it, in a file that only this user can read."""
        tokens = self._tokens()
        tokens.pop(self._url(), None)
        if token:
            tokens[self._url()] = token
        place = self._token_file()
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = place.with_name(f"{place.name}.{os.getpid()}")
            with open(draft, "x", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                json.dump(tokens, file)
            draft.replace(place)
        except OSError as error:
            raise Refused(
                "file_unwritable",
                f"{place} cannot be written: {error.strerror}.",
                hint="Make its folder yours.",
            ) from error

    def _tokens(self) -> dict[str, Any]:
        try:
            found = json.loads(self._token_file().read_text())
        except (OSError, ValueError):  # none was kept, or the file is damaged: then nobody is signed in
            return {}
        return found if isinstance(found, dict) else {}

    def _token_file(self) -> Path:
        folder = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
        return Path(folder) / "andon" / "sessions.json"

    def _url(self) -> str:
        return self.url_given or self._place("url")

    def roots(self) -> Path:
        """The certificates to trust besides the system's: as said, else the factory's own authority."""
        return self.roots_given or self.home() / ".andon" / "certificates" / "ca.pem"

    def gateway_url(self) -> str:
        """Where the gateway listens; raises `Refused` if nothing runs."""
        return self._place("gateway_url")

    def note(self, text: str) -> None:
        """Say something to a person, beside the result."""
        sys.stderr.write((shown(text) if sys.stderr.isatty() else text) + "\n")

    def interactive(self) -> bool:
        """Whether a person can be asked."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def pause(self, seconds: float) -> None:
        """Wait before looking again."""
        clock = load("andon.kernel.clock").SystemClock()
        load("asyncio").run(clock.sleep(seconds))

    def now_s(self) -> float:
        """Seconds since the epoch, for ages."""
        return float(load("andon.kernel.clock").SystemClock().now_ns()) / 1e9

    def _place(self, name: str) -> str:
        path = self.home() / ".andon" / "run" / "control.json"
        try:
            places: dict[str, Any] = json.loads(path.read_text())
            return str(places[name])
        except (OSError, ValueError, KeyError) as error:
            raise Refused(
                "control_not_running",
                f"No factory is running in {self.home()}.",
                hint="Start it with: andon up",
                internal=str(error),
            ) from error

    def _admin_key(self) -> str:
        path = self.home() / ".andon" / "admin.key"
        try:
            return path.read_text().strip()
        except FileNotFoundError as error:
            raise Refused(
                "admin_key_unreadable",
                f"There is no administrator's key at {path}.",
                hint="Run andon up in this folder, or say where the factory is: --home FOLDER",
            ) from error
        except OSError as error:
            raise Refused(
                "admin_key_unreadable",
                f"{path} cannot be read: {error.strerror}.",
                hint="Run this as the user that started the factory.",
            ) from error
