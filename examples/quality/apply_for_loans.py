"""Sends applicants to the gateway and writes what became of their loans: python apply_for_loans.py [HOW_MANY].

Needs ANDON_KEY; ANDON_GATEWAY says where the gateway is, by default on this machine. Each applicant has a number of
the bank's own, sent as x-andon-reference; labels.csv names the loans by it, because a bank does not keep request ids.
"""

from __future__ import annotations

import csv
import json
import math
import os
import random
import sys
import urllib.request


def ask(number: str, debt: float, income: float) -> None:
    """One decision."""
    inputs = {"debt": debt, "income": income}
    body = {
        "inputs": [
            {"name": name, "datatype": "FP64", "shape": [1], "data": [value]}
            for name, value in inputs.items()
        ]
    }
    request = urllib.request.Request(
        os.environ.get("ANDON_GATEWAY", "http://127.0.0.1:8790") + "/v2/models/loans/infer",
        json.dumps(body).encode(),
        {
            "content-type": "application/json",
            "authorization": f"Bearer {os.environ['ANDON_KEY']}",
            "x-andon-reference": number,
        },
    )
    with urllib.request.urlopen(request):
        pass


def main() -> None:
    """Send them; then time passes, and some of the loans are not paid back."""
    chance = random.Random(7)
    with open("labels.csv", "w", newline="") as file:
        labels = csv.writer(file)
        labels.writerow(["reference", "text"])
        for n in range(int(sys.argv[1]) if len(sys.argv) > 1 else 600):
            debt, income = chance.uniform(5, 60), chance.uniform(25, 60)
            ask(f"loan-{n}", debt, income)
            defaulted = chance.random() < 1 / (1 + math.exp(4 - 5 * debt / income))
            labels.writerow([f"loan-{n}", "bad" if defaulted else "good"])


if __name__ == "__main__":
    main()
