"""The gateway's process: `python -m andon.app.gateway_process --home DIR`.

Decides which form of the hot path is used, compiled or interpreted, and only then imports it. Serving itself is
`app/gateway_serving`, which must not be imported before.
"""

from __future__ import annotations

import os

from andon.app import compiled
from andon.app.cli.commands import load


def main() -> None:
    """The command line of the process."""
    compiled.use(os.environ)
    load("andon.app.gateway_serving").main()


if __name__ == "__main__":
    main()
