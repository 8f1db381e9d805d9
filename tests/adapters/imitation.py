"""An imitation of AWS on this machine, for tests of what is sent to it."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator

from moto.server import ThreadedMotoServer


@contextlib.contextmanager
def imitating_aws() -> Iterator[str]:
    """A server on a free port; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()
        recorder = sys.modules.get("aws_xray_sdk.core")
        if recorder is not None:  # moto loads it, and it leaves a socket of its own open
            recorder.xray_recorder.emitter._socket.close()
