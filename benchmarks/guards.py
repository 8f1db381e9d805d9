"""The guards' proof: injection family by family, personal data and secrets, and that nothing is delivered unscanned.

Each part measures itself (`guard_injection`, `guard_pii`, `guard_coverage`); this file only joins their figures.
"""

from __future__ import annotations

from typing import Any

from benchmarks import guard_coverage, guard_injection, guard_pii
from benchmarks.harness import QUICK, conclude

KEYS = """inj_recall inj_fpr notinject_acc worst_family_recall pii_f2 secrets_precision p95_ms_512 coverage""".split()


def main() -> None:
    """Measure all parts, print the injection table, conclude. A figure whose data is not here is null."""
    found: dict[str, Any] = dict(guard_injection.measure(QUICK))
    for row in found.pop("table", []):
        print(*row, sep=" | ")
    for name, recall in found.pop("sources", {}).items():
        print(f"held-out source {name}: recall {recall}")
    found.update(guard_pii.measure(QUICK))
    found.update(guard_coverage.measure(QUICK))
    conclude({key: found.get(key) for key in KEYS})


if __name__ == "__main__":
    main()
