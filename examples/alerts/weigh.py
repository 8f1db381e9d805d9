"""Sends parcels to the gateway and counts the answers: python weigh.py [HOW_MANY] [WEIGHT_KG].

Needs ANDON_KEY; ANDON_GATEWAY says where the gateway is, by default on this machine.
"""

from __future__ import annotations

import collections
import json
import os
import sys
import urllib.error
import urllib.request


def weigh(weight_kg: float) -> int:
    """The status of one answer."""
    body = {"inputs": [{"name": "weight_kg", "datatype": "FP64", "shape": [1], "data": [weight_kg]}]}
    request = urllib.request.Request(
        os.environ.get("ANDON_GATEWAY", "http://127.0.0.1:8790") + "/v2/models/stamps/infer",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {os.environ['ANDON_KEY']}"},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def main() -> None:
    """Send them, and print the counts."""
    how_many = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    weight_kg = float(sys.argv[2]) if len(sys.argv) > 2 else 1.2
    for status, count in sorted(collections.Counter(weigh(weight_kg) for _ in range(how_many)).items()):
        print(f"{status}  {count}")


if __name__ == "__main__":
    main()
