"""What happened: the append-only log of requests, one row per attempt; and the way to ask about it from Python.

    import andon.ledger as ledger
    ledger.open(".").query("SELECT count(*) FROM requests").pandas()

See ARCHITECTURE.md for where this room stands and whom it may know.
"""

from __future__ import annotations

import importlib
from typing import Any


def open(home: str = ".", **more: Any) -> Any:  # noqa: A001  it is called as ledger.open
    """The ledger of a home, or of a factory at a URL: a `client.Ledger`; see there for what may be given.

    Imported when called: whoever writes the log must not pay for whoever reads it.
    """
    return importlib.import_module("andon.ledger.client").connect(home, **more)
