"""What the gateway's single figures mean, as `# HELP` lines say it: those of itself and of the logs it writes.

Read by `gateway/meters` when somebody scrapes. A figure without a line here is a defect that a test finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_OF_A_LOG = {
    "rows_total": "Rows made durable",
    "bytes_total": "Bytes made durable",
    "commits_total": "Commits to disk",
    "waits_total": "Waits for a commit that were resolved",
    "sync_seconds_total": "Time spent writing and syncing commits",
    "failures_total": "Commits that the disk refused",
    "dropped_total": "Rows refused or given up for want of room",
}
_LOGS = {"andon_ledger": "in the log of requests", "andon_bodies": "in the log of recorded bodies"}

MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        **{
            f"{log}_{name}": f"{what} {where}."
            for log, where in _LOGS.items()
            for name, what in _OF_A_LOG.items()
        },
        "andon_ledger_sync_seconds_max": "Longest commit to disk since the start.",
        "andon_ledger_pending_bytes": "Rows in memory that are not durable yet.",
        "andon_ledger_lag_seconds": "Age of the oldest row that is not durable.",
        "andon_ledger_in_trouble": "1 while new requests are refused because rows cannot be written.",
        "andon_bodies_removed_segments_total": "Segments of recorded bodies removed to stay within the limit.",
        "andon_bodies_used_bytes": "Disk that recorded bodies take.",
        "andon_bodies_limit_bytes": "Disk that recorded bodies may take.",
        "andon_bodies_lag_seconds": "Age of the oldest recorded body that is not durable.",
        "andon_snapshot_version": "Version of the configuration snapshot in force.",
        "andon_control_connected": "1 while control answers.",
        "andon_targets": "Targets that the snapshot names.",
        "andon_targets_open": "Targets that get no traffic: their breaker is open or they are broken.",
    }
)
