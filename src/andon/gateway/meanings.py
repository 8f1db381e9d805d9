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
        "andon_shed_total": "Requests refused because the gateway had more to do than it could.",
        "andon_penalties_addresses_total": "Times that an address was made to wait.",
        "andon_penalties_keys_total": "Times that a key was made to wait.",
        "andon_penalties_refused_total": "Requests refused because their address or caller must wait.",
        "andon_penalties_forgotten_total": "Offenders forgotten for want of room.",
        "andon_penalties_subjects": "Addresses and keys whose offences are remembered.",
        "andon_extraction_suspected_total": "Times that a caller's questions looked like the copying of a model.",
        "andon_extraction_forgotten_total": "Callers no longer watched for want of room.",
        "andon_extraction_watched": "Pairs of caller and endpoint that are watched.",
        "andon_listener_refused_total": "Connections and messages that the listener refused or gave up on.",
        "andon_in_flight_bound": "Requests that the gateway takes on at one time.",
        "andon_loop_lag_seconds": "How late the gateway's event loop was when last measured.",
        "andon_limits_store_away": "1 while the store of shared counters does not answer.",
        "andon_limits_asked_total": "Requests that the authority of shared counters was asked about.",
        "andon_limits_lent_total": "Requests granted from what the authority had lent.",
        "andon_limits_recalled_total": "Waits for what was lent to other gateways.",
        "andon_limits_outside_total": "Requests granted by declared mode while the store was away.",
        "andon_limits_closed_total": "Requests refused by declared mode while the store was away.",
        "andon_limits_lost_total": "Times that the store of shared counters was lost.",
        "andon_limits_fenced_total": "Times that a lease had run out and what was held was said again.",
        "andon_targets_open": "Targets that get no traffic: their breaker is open or they are broken.",
        "andon_policy_asked_total": "Decisions on access that policies were asked for, remembered ones left out.",
        "andon_policy_denied_total": "Requests that policies denied.",
        "andon_policy_barred_total": "Requests that policies kept away from a release.",
        "andon_policy_errors_total": "Policies that could not be evaluated on a request.",
        "andon_audit_lag_seconds": "Age of the oldest row that the audit log may not hold yet.",
        "andon_audit_unaudited_requests": "Requests served while the audit log was late or away.",
    }
)
