"""Stands in for whatever wakes people: prints each notification that it is sent: python pager.py [PORT]."""

from __future__ import annotations

import http.server
import json
import sys


class Pager(http.server.BaseHTTPRequestHandler):
    """Answers 200 to everything; 0 as port takes any that is free and says which."""

    def do_POST(self) -> None:
        """One notification, in the form of Alertmanager's webhooks."""
        told = json.loads(self.rfile.read(int(self.headers["content-length"])))
        for alert in told["alerts"]:
            words = alert["annotations"].get("summary", "")
            print(alert["status"].upper(), alert["labels"]["alertname"], words, flush=True)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing else."""


def main() -> None:
    """Listen until interrupted."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8799
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Pager) as server:
        print(f"listening at http://127.0.0.1:{server.server_address[1]}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
