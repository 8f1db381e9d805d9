"""Sends parcels to the gateway and counts who answered how: python traffic.py [HOW_MANY].

Needs ANDON_KEY; ANDON_GATEWAY says where the gateway is, by default on this machine.
"""

from __future__ import annotations

import collections
import json
import os
import sys
import urllib.error
import urllib.request


def ask(weight_kg: float, distance_km: float) -> tuple[str, int]:
    """One prediction; the release that gave it and its status."""
    inputs = {"weight_kg": weight_kg, "distance_km": distance_km}
    body = {
        "inputs": [
            {"name": name, "datatype": "FP64", "shape": [1], "data": [value]}
            for name, value in inputs.items()
        ]
    }
    request = urllib.request.Request(
        os.environ.get("ANDON_GATEWAY", "http://127.0.0.1:8790") + "/v2/models/parcel/infer",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {os.environ['ANDON_KEY']}"},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.headers["x-andon-release"], answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.headers.get("x-andon-release", "-"), error.code


def main() -> None:
    """Send them, and print the counts."""
    how_many = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    counts = collections.Counter(ask(1 + n % 30, 10 * (n % 70)) for n in range(how_many))
    for (release, status), count in sorted(counts.items()):
        print(f"{release}  {status}  {count}")


if __name__ == "__main__":
    main()
